"""How a lab is recorded: what its taps take, how much they may hold, and where they keep it."""

from __future__ import annotations

from dataclasses import dataclass

from netemu.kernel.filters import LONGEST
from netemu.kernel.ring import HAND_OVER, SIZE
from netemu.kernel.store import MEMORY

BUFFER = 64 << 20
"""Bytes each netlink socket may hold before it drops."""
_RINGS, _SMALLEST_RING = 128 << 20, 256 << 10
"""Bytes of all hosts' rings together, and of one at least."""
_EVENTS, _FEWEST_EVENTS, _MOST_EVENTS = 16 << 20, 64 << 10, 2 << 20
"""The same of the rings of trace events, and of one at most: what they have no room for, the socket's buffer has."""


@dataclass(frozen=True, slots=True)
class Taps:
    """How a lab is recorded; without anything said, everything is, whole.

    `filter` (pcap's language) and `snap_length` (bytes of each frame) hold for wire taps: packets that a filter leaves
    out can't be followed, and a check that touches them is unproven. `ring` is how many bytes each host's ring of
    frames has, by default as many as that number of hosts leaves room for; `buffer` how many the socket of each hook
    and conntrack tap may hold. All taps keep up to `memory` bytes in memory, and more in files without a name in
    `folder` (by default where temporary files go). `ask_conntrack` makes hook taps ask for the conntrack state, as
    they must before Linux 6.16.
    """

    filter: str = ""
    snap_length: int = LONGEST
    ring: int | None = None
    buffer: int = BUFFER
    memory: int = MEMORY
    folder: str | None = None
    ask_conntrack: bool | None = None

    @property
    def left_out(self) -> str:
        """What is said of wire taps that do not take everything; empty if they do."""
        return f"takes only what fits '{self.filter}'" if self.filter else ""

    def ring_for(self, hosts: int) -> tuple[int, int]:
        """The bytes of each host's ring, and after how many milliseconds a begun block of it is handed over.

        Rings are the kernel's memory, and each has a timer that always runs: many hosts get smaller and slower ones.
        """
        size = min(max(_RINGS // max(hosts, 1), _SMALLEST_RING), SIZE) if self.ring is None else self.ring
        return size, max(hosts // 8, HAND_OVER)

    def events_for(self, hosts: int) -> int:
        """The bytes of each host's ring of trace events, a power of two; 0 where the sockets may hold less than one."""
        size = max(_EVENTS // max(hosts, 1), _FEWEST_EVENTS)
        return min(1 << size.bit_length() - 1, _MOST_EVENTS) if self.buffer >= _MOST_EVENTS else 0
