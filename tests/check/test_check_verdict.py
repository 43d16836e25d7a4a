"""pass, fail or unproven: never pass on missing evidence."""

from __future__ import annotations

import itertools

import pytest

from netemu.check.verdict import Check, Verdict, believed, overall
from netemu.record.capture import TapHealth
from netemu.record.record import Record

PASS, FAIL, UNPROVEN = Verdict.PASS, Verdict.FAIL, Verdict.UNPROVEN


@pytest.mark.parametrize(
    ("verdicts", "taken_together"),
    [
        ([], UNPROVEN),
        ([PASS], PASS),
        ([PASS, PASS], PASS),
        ([PASS, UNPROVEN], UNPROVEN),
        ([PASS, FAIL], FAIL),
        ([UNPROVEN, FAIL], FAIL),
        ([PASS, UNPROVEN, FAIL], FAIL),
    ],
)
def test_one_fail_fails_and_without_one_one_unproven_is_unproven(verdicts: list[Verdict], taken_together: Verdict):
    for order in itertools.permutations(verdicts):
        assert overall(order) is taken_together


def test_verdicts_read_as_the_words_of_the_design():
    assert [str(verdict) for verdict in Verdict] == ["pass", "fail", "unproven"]


@pytest.mark.parametrize("verdict", list(Verdict))
def test_sound_taps_leave_a_check_as_it_is(verdict: Verdict):
    check = Check("name", verdict, reason="why")
    assert believed(check, Record(health=[TapHealth("wire", "B")]), {"B"}) is check


@pytest.mark.parametrize("verdict", list(Verdict))
@pytest.mark.parametrize(
    ("tap", "told"),
    [
        (TapHealth("hooks", "B", 3), "B's hooks tap lost 3"),
        (TapHealth("wire", "B", 0, alive=False), "B's wire tap was not alive throughout"),
    ],
)
def test_an_unsound_tap_makes_any_verdict_unproven_and_says_what_it_would_have_been(verdict, tap, told):
    check = believed(Check("name", verdict, reason="why"), Record(health=[tap]), {"A", "B"})
    assert (check.verdict, check.reason) == (UNPROVEN, f"{told}; without that it would be {verdict}: why")


def test_an_unsound_tap_of_another_host_has_no_effect():
    check = Check("name", PASS)
    assert believed(check, Record(health=[TapHealth("hooks", "C", 3)]), {"A", "B"}) is check


def test_every_unsound_tap_is_told():
    taps = [TapHealth("wire", "A", 1), TapHealth("hooks", "B", 0, alive=False)]
    reason = believed(Check("name", PASS), Record(health=taps), {"A", "B"}).reason
    assert "A's wire tap lost 1; B's hooks tap was not alive throughout" in reason
