"""How a lab is recorded: what its taps take, how much they may hold, and where they keep it."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Self

from netemu.errors import TopologyError, UsageError
from netemu.kernel.keeping.store import Room, usual_memory
from netemu.kernel.spaces.limits import available_memory
from netemu.kernel.taps.filters import LONGEST, compiled
from netemu.kernel.taps.lane import lane_memory
from netemu.kernel.taps.ring import HAND_OVER, SIZE
from netemu.topology.load import Source
from netemu.topology.recording import SHORTEST, Recording
from netemu.topology.units import size

BUFFER = 64 << 20
"""Bytes each netlink socket may hold before it drops."""
_RINGS, _SMALLEST_RING = 128 << 20, 256 << 10
"""Bytes of all hosts' rings together, and of one at least."""
_EVENTS, _FEWEST_EVENTS, _MOST_EVENTS = 32 << 20, 64 << 10, 16 << 20
"""The same of the rings of trace events, and of one at most: what they have no room for, the socket's buffer has.

But that is slower for all who have a part in it: a ring has to bear until a busy machine lets its reader come.
"""
_LEAST_BUFFER = 2 << 20
"""Bytes of a socket's buffer with which there is a ring beside it."""
_MOST_BYTES, _LARGEST_SOCKET = 1 << 40, 1 << 30
"""More than any machine has; and what the kernel takes for a socket's buffer (INT_MAX / 2, net/core/sock.c)."""
_BYTES = "a number of bytes, such as 8 << 20"
_KINDS = (
    ("filter", (str,), "a text in pcap's language"),
    ("snap_length", (int,), "a number of bytes"),
    ("ring", (int, NoneType), _BYTES),
    ("buffer", (int,), _BYTES),
    ("memory", (int, NoneType), _BYTES),
    ("folder", (str, os.PathLike, NoneType), "a folder's path"),
    ("ask_conntrack", (bool, NoneType), "True, False or None"),
)
_BOUNDS = (
    ("snap_length", SHORTEST, LONGEST),
    ("ring", 1, _MOST_BYTES),
    ("buffer", 1, _LARGEST_SOCKET),
    ("memory", 0, _MOST_BYTES),
)


@dataclass(frozen=True, slots=True)
class Taps:
    """How a lab is recorded; without anything said, everything is, whole.

    `filter` (pcap's language) and `snap_length` (bytes of each frame) hold for wire taps: packets that a filter leaves
    out can't be followed, and a check that touches them is unproven. `ring` is how many bytes each host's ring of
    frames has, by default as many as that number of hosts leaves room for; `buffer` how many the socket of each hook
    and conntrack tap may hold. All taps keep up to `memory` bytes in memory, by default an eighth of what is free
    (from 256 MiB to 1 GiB), and more in files without a name in `folder` (by default where temporary files go).
    `ask_conntrack` makes hook taps ask for the conntrack state, as they must before Linux 6.16.

    Raises UsageError for a value that can't be. Whether `filter` is one, and `folder` takes files, is seen by `prove`.
    """

    filter: str = ""
    snap_length: int = LONGEST
    ring: int | None = None
    buffer: int = BUFFER
    memory: int | None = None
    folder: str | os.PathLike[str] | None = None
    ask_conntrack: bool | None = None

    def __post_init__(self) -> None:
        """Refuse what can't be."""
        for name, kinds, due in _KINDS:
            value = getattr(self, name)
            if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
                raise UsageError(f"Taps: {name} is {due}, not {value!r}")
        for name, least, most in _BOUNDS:
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise UsageError(f"Taps: {name} is {least} bytes or more, {most:,} at most, not {value}")

    @classmethod
    def of(cls, said: Recording, beside: str | os.PathLike[str] | None) -> Self:
        """As a topology says; its folder is relative to that of the file `beside`, if there is one."""
        buffer = BUFFER if said.buffer is None else size(said.buffer)
        memory = None if said.memory is None else size(said.memory)
        folder = said.folder
        if folder is not None:
            folder = os.path.abspath(Path(beside).parent / folder if beside is not None else folder)
        ring = None if said.ring is None else size(said.ring)
        return cls(said.filter, said.snap_length, ring, buffer, memory, folder)

    def prove(self, source: Source | None = None, hosts: int = 1) -> None:
        """See whether the filter is one, files can be made in the folder, and there is memory for the hosts' rings.

        Raises UsageError, MachineError.

        Where all this was said by a topology, it is a TopologyError that says where in its `source`.
        """
        proofs = (
            ("filter", self._prove_filter),
            ("folder", self._prove_folder),
            ("ring", lambda: self._prove_ring(hosts)),
        )
        for key, prove in proofs:
            try:
                prove()
            except UsageError as error:
                if source is None:
                    raise
                raise TopologyError(source.problem(str(error), ("record", key))) from error

    def _prove_filter(self) -> None:
        if self.filter:
            compiled(self.filter)

    def _prove_ring(self, hosts: int) -> None:
        """Rings are the kernel's memory: they can't be swapped out, and what ends others for it is the machine's."""
        if self.ring is None:
            return
        lane = lane_memory(self.ring)
        if 0 < (most := available_memory() // 2) < (self.ring + lane) * hosts:
            what = f"{hosts} rings of {self.ring:,} bytes" if hosts > 1 else f"a ring of {self.ring:,} bytes"
            what += ", with a lane beside each," if lane else ""
            raise UsageError(f"taps: {what} would take more than half of this machine's free memory: {most:,} at most")

    def _prove_folder(self) -> None:
        if self.folder is not None:
            try:
                with tempfile.TemporaryFile(dir=self.folder):
                    pass
            except (OSError, ValueError) as error:
                why = getattr(error, "strerror", None) or error
                raise UsageError(f"taps can't keep files in the folder '{self.folder}': {why}") from error

    @property
    def left_out(self) -> str:
        """What is said of wire taps that do not take everything; empty if they do."""
        return f"takes only what fits '{self.filter}'" if self.filter else ""

    def room(self) -> Room:
        """Where they keep what they take."""
        memory = usual_memory() if self.memory is None else self.memory
        return Room(memory, None if self.folder is None else os.fspath(self.folder))

    def ring_for(self, hosts: int) -> tuple[int, int]:
        """The bytes of each host's ring, and after how many milliseconds a begun block of it is handed over.

        Rings are the kernel's memory, and each has a timer that always runs: many hosts get smaller and slower ones.
        """
        size = min(max(_RINGS // max(hosts, 1), _SMALLEST_RING), SIZE) if self.ring is None else self.ring
        return size, max(hosts // 8, HAND_OVER)

    def events_for(self, hosts: int, traces: bool = True) -> int:
        """The bytes of a host's ring of trace events, if so many hosts trace: a power of two.

        A host that does not trace leaves its share to them. A ring is no more than the socket may hold; 0 bytes where
        that is so little that there is to be no ring.
        """
        share = max(_EVENTS // max(hosts, 1), _FEWEST_EVENTS) if traces else _FEWEST_EVENTS
        size = min(share, _MOST_EVENTS, self.buffer)
        return 1 << size.bit_length() - 1 if self.buffer >= _LEAST_BUFFER else 0
