"""How far the making of a lab is, told to whoever wants to show it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from netemu.topology import steps

Tell = Callable[[int, int], None]
"""Called with how many things are made, and how many there are to make; never the same or less twice."""
_WAITED_FOR = (steps.MakeNetwork, steps.MakeHost, steps.MakeEnd, steps.BringUp, steps.StartService)


class Progress:
    """Counts what takes a lab its time: namespaces, ends of links, interfaces going up, services, and taps."""

    def __init__(self, plan: Sequence[steps.Step], taps: bool, tell: Tell | None) -> None:
        counted = (*_WAITED_FOR, steps.OpenTaps) if taps else _WAITED_FOR
        self._counted = counted
        self._total = sum(isinstance(step, counted) for step in plan)
        self._group = 0
        self._done = self._told = 0
        self._tell = tell

    def advance(self, count: int = 1) -> None:
        """So many more are made."""
        self._done += count
        if self._tell is not None and self._done > self._told:
            self._told = self._done
            self._tell(self._done, self._total)

    def begin(self, group: Sequence[steps.Step]) -> None:
        """From here on steps of one kind are carried out."""
        self._group = self._done + (len(group) if isinstance(group[0], self._counted) else 0)

    def finish(self) -> None:
        """They all are, whether or not that was said of each."""
        self.advance(self._group - self._done)
