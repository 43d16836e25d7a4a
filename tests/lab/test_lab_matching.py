"""Matching in bounded time: what its timer may interrupt, and what no longer."""

from __future__ import annotations

import re
import signal

import pytest

from netemu.errors import UsageError
from netemu.lab.matching import any_matches


class Seen:
    """As a pattern; notes what the timer's signal would do while it searches."""

    pattern = "seen"

    def search(self, line: str) -> None:
        self.handler = signal.getsignal(signal.SIGVTALRM)


def test_a_signal_that_is_still_on_its_way_when_the_search_is_over_does_nothing():
    seen = Seen()
    assert not any_matches(seen, ["a line"])
    seen.handler(signal.SIGVTALRM, None)


def test_one_that_comes_while_it_searches_ends_it():
    class Interrupted(Seen):
        def search(self, line: str) -> None:
            signal.raise_signal(signal.SIGVTALRM)

    with pytest.raises(UsageError, match="'seen' takes too long"):
        any_matches(Interrupted(), ["a line"])


def test_its_timer_and_its_handler_go_with_the_search():
    before = signal.getsignal(signal.SIGVTALRM)
    assert any_matches(re.compile("b+$"), ["aab"])
    assert (signal.getsignal(signal.SIGVTALRM), signal.getitimer(signal.ITIMER_VIRTUAL)) == (before, (0.0, 0.0))
