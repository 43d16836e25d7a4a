"""Clock offsets: the truth is always within the uncertainty, and what can't be told is not."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netemu.record.sides.clock import FIRST, Clock, after, estimate

SECOND = 1_000_000_000


def seen(seed: int, offset: int, drift: float = 0.0, span: int = SECOND, count: int = 400):
    """True times and delays as two clocks saw them."""
    random = Random(seed)
    there, here, forward = [], [], []
    for _ in range(count):
        time, onward = 10**18 + random.randint(0, span), random.random() < 0.5
        arrived = time + random.randint(10**6, 10**7)
        mine, theirs = (time, arrived) if onward else (arrived, time)
        there.append(mine)
        here.append(theirs + offset + round((theirs - 10**18) * drift))
        forward.append(onward)
    return np.array(there), np.array(here), np.array(forward)


@given(st.integers(0, 2**32), st.integers(-(10**15), 10**15))
def test_the_offset_is_within_its_uncertainty_however_large_it_is(seed: int, offset: int) -> None:
    clock = estimate(*seen(seed, offset, count=40))
    if clock.offset_ns is not None:
        assert abs(clock.offset_ns - offset) <= clock.uncertainty_ns


@pytest.mark.parametrize("drift", [5e-5, -5e-5, 2e-4])
def test_a_drift_is_found_and_taken_out(drift: float) -> None:
    there, here, forward = seen(7, 3600 * SECOND, drift, span=600 * SECOND, count=5000)
    clock = estimate(there, here, forward)
    assert clock.drift == pytest.approx(drift, rel=0.1)
    truth = 10**18 + ((here - 3600 * SECOND - 10**18) / (1 + drift)).astype(np.int64)
    assert np.abs(clock.corrected(here) - truth).max() <= clock.uncertainty_ns + 100_000


def test_a_short_capture_tells_no_drift() -> None:
    assert estimate(*seen(7, 5, 5e-5)).drift is None


def test_packets_that_go_one_way_give_a_bound_and_no_offset() -> None:
    there, here, forward = seen(3, 77 * SECOND)
    there_on, here_on = there[forward], here[forward]
    onward = estimate(there_on, here_on, np.ones(len(there_on), np.bool_))
    back = estimate(there[~forward], here[~forward], np.zeros((~forward).sum(), np.bool_))
    assert (onward.offset_ns, back.offset_ns) == (None, None)
    assert back.least_ns <= 77 * SECOND <= onward.most_ns


def test_a_clock_that_was_set_meanwhile_has_no_offset() -> None:
    there, here, forward = seen(3, 0)
    here = here + np.where(there > np.median(there), 5 * SECOND, 0)
    clock = estimate(there, here, forward)
    assert clock.offset_ns is None
    assert "moved" in clock.note


def test_no_packet_in_common_tells_nothing() -> None:
    nothing = np.empty(0, np.int64)
    assert estimate(nothing, nothing, nothing == 0).offset_ns is None


def test_offsets_add_up_over_files_drift_included() -> None:
    first = Clock(100 * SECOND, 10, 1e-5, 10**18)
    second = Clock(-30 * SECOND, 5, -2e-5, 10**18 + 400 * SECOND)
    both = after(first, second)
    times = 10**18 + np.arange(0, 1000, 100) * SECOND
    step_by_step = first.corrected(second.corrected(times))
    assert np.abs(both.corrected(times) - step_by_step).max() < 1000
    assert both.uncertainty_ns == 15
    assert after(FIRST, second).corrected(times).tolist() == second.corrected(times).tolist()


def test_a_bound_behind_a_known_clock_is_a_bound_on_the_first() -> None:
    assert after(Clock(100, 10), Clock(None, most_ns=7)) == Clock(None, most_ns=117)
    assert after(Clock(100, 10), Clock(None, least_ns=7)) == Clock(None, least_ns=97)
    assert after(Clock(None, note="?"), Clock(5, 1)).offset_ns is None
