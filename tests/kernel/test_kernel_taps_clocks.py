"""The machine's clocks held against each other: nobody sets them here, so they are told what to say."""

from __future__ import annotations

import time

import pytest

from netemu.kernel.taps import clocks
from netemu.kernel.taps.clocks import Clocks

SECOND = 10**9


def test_a_clock_that_nobody_set_is_in_no_doubt():
    before = Clocks.now()
    assert abs(before.epoch + time.monotonic_ns() - time.time_ns()) < SECOND
    assert before.doubt() == ""


@pytest.mark.parametrize("step", [2_000_000, -2_000_000, 3600 * SECOND, -3600 * SECOND])
@pytest.mark.parametrize("clock", ["epoch", "tai"])
def test_a_clock_that_was_set_leaves_times_in_doubt(clock, step):
    before = Clocks.now()
    before = before._replace(**{clock: getattr(before, clock) - step})
    assert "clock was set meanwhile" in before.doubt()


@pytest.mark.parametrize(
    ("apart", "behind"), [(0, 0), (37 * SECOND, 37 * SECOND), (37 * SECOND - 400_000, 37 * SECOND)]
)
def test_the_epoch_is_whole_seconds_behind(apart, behind):
    assert Clocks(10**18, 10**18 + apart).behind == behind


def test_clocks_are_looked_at_again_where_the_thread_had_to_wait_in_between(monkeypatch):
    """A second between two looks would put all frames of a lane's look a second off."""
    right, look, waited, waits = Clocks.now(), time.clock_gettime_ns, [0], iter([SECOND])

    def late(clock: int) -> int:
        waited[0] += next(waits, 0)
        return look(clock) + waited[0]

    monkeypatch.setattr(clocks.time, "monotonic_ns", lambda: look(time.CLOCK_MONOTONIC) + waited[0])
    monkeypatch.setattr(clocks.time, "clock_gettime_ns", late)
    found = Clocks.now()
    assert waited == [SECOND]
    assert abs(found.epoch - right.epoch) < 1_000_000
    assert abs(found.tai - right.tai) < 1_000_000
