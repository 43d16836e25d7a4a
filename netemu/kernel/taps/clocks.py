"""The machine's clocks held against each other: how far the epoch's is behind CLOCK_TAI, and whether one was set.

CLOCK_MONOTONIC can't be set, and runs as fast as the others whatever corrects their rate (clock_gettime(2)): the
others' distance to it changes only when somebody sets them, or the machine slept.
"""

from __future__ import annotations

import time
from typing import NamedTuple

_AT_ONE_MOMENT = 500_000
"""Nanoseconds within which two clocks are looked at; else this thread had to wait in between."""
_SET = 2 * _AT_ONE_MOMENT
"""Nanoseconds more or less between two clocks than before, and one was set."""


class Clocks(NamedTuple):
    """How many nanoseconds the epoch's clock and CLOCK_TAI are before CLOCK_MONOTONIC."""

    epoch: int
    tai: int

    @classmethod
    def now(cls) -> Clocks:
        """At this moment."""
        return cls(_ahead(time.CLOCK_REALTIME), _ahead(time.CLOCK_TAI))

    @property
    def behind(self) -> int:
        """Nanoseconds, in whole seconds, that the epoch's clock is behind CLOCK_TAI."""
        return round((self.tai - self.epoch) / 1e9) * 1_000_000_000

    def doubt(self) -> str:
        """What is in doubt of times since that moment: something where somebody set one of the clocks, else nothing."""
        now = self.now()
        if max(abs(now.epoch - self.epoch), abs(now.tai - self.tai)) <= _SET:
            return ""
        return "the machine's clock was set meanwhile: the times of frames, and their order by them, are in doubt"


def _ahead(clock: int) -> int:
    while True:
        before = time.monotonic_ns()
        found = time.clock_gettime_ns(clock)
        if time.monotonic_ns() - before < _AT_ONE_MOMENT:
            return found - before
