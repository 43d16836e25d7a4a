"""Frames of a lane that lie behind each other: what is told of them, and how they are kept."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from netemu.kernel.ebpf.btf import Facts
from netemu.kernel.ebpf.lane_program import CHECKSUM, INTERFACE, KIND, LENGTH, PIECE, PLACE, STAMPED, TAG, TIME
from netemu.kernel.keeping.packing import FEWEST, Packed, list_block, listed_size
from netemu.record.capture import OUTGOING, UNFINISHED, VOUCHED
from netemu.record.frames import Bytes

_UNNECESSARY, _PARTIAL = 1, 3
"""CHECKSUM_UNNECESSARY and CHECKSUM_PARTIAL (linux/skbuff.h)."""


def places_of(entries: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """The number of each frame's first piece."""
    places: NDArray[np.uint32] = entries[:, PLACE] & np.uint32(STAMPED - 1)
    return places


@dataclass(frozen=True, slots=True)
class Stretch:
    """Entries of a lane and its pieces from the first one's to the last's, sharing its memory until it is given back.

    `behind` is how many nanoseconds the epoch's clock is behind CLOCK_TAI.
    """

    entries: NDArray[np.uint32]
    pieces: Bytes
    facts: Facts
    behind: int

    def __len__(self) -> int:
        return len(self.entries)

    def alike(self, apart: bytes, at: int) -> Even | None:
        """The frames where they can be packed, and are worth it: see packing.py and rows.rows_of."""
        lengths = self.entries[:, LENGTH]
        captured = int(lengths[0])
        if len(self) < FEWEST or captured < at + 2 or (lengths != captured).any() or self.entries[:, TAG].any():
            return None
        rows = self.pieces.reshape(len(self), -1)
        pairs = rows.view(np.uint16)[:, at // 2]
        return None if (pairs == int.from_bytes(apart, sys.byteorder)).any() else Even(self, rows, captured)

    @property
    def listed_size(self) -> int:
        """Bytes of a listed block of the frames."""
        return listed_size(len(self), len(self.pieces))

    def list(self, place: Bytes) -> None:
        """Write them as a listed block to its `place`, of `listed_size` bytes."""
        into = list_block(place, len(self))
        self.tell(into.time_ns, into.interface, into.length, into.kind, into.status)
        into.tag[:] = self.entries[:, TAG]
        places = places_of(self.entries)
        np.multiply(places - places[0], np.uint32(PIECE), out=into.start)
        into.data[:] = self.pieces

    def block(self) -> Bytes:
        """A listed block of them."""
        place = np.empty(self.listed_size, np.uint8)
        self.list(place)
        return place

    def tell(
        self,
        time_ns: NDArray[np.int64],
        interface: NDArray[np.int32],
        length: NDArray[np.int32],
        kind: NDArray[np.uint8],
        status: NDArray[np.uint8],
    ) -> None:
        """Write what is told of each frame: its status as a ring has it (tpacket_rcv, net/packet/af_packet.c)."""
        stamped = self.entries[:, PLACE] & np.uint32(STAMPED) != 0
        behind = self.behind if not stamped.any() else np.where(stamped, 0, self.behind)
        np.subtract(self.entries.view(np.int64)[:, TIME // 2], behind, out=time_ns)
        interface[:] = self.entries[:, INTERFACE]
        length[:] = self.entries[:, LENGTH]
        kind[:] = self.entries[:, PLACE] >> np.uint32(KIND)
        partial, unnecessary = (np.uint32(each << self.facts.summed) for each in (_PARTIAL, _UNNECESSARY))
        valid = np.uint32(1 << self.facts.valid)
        said = self.entries[:, CHECKSUM] & (partial | valid)
        summed = said & partial
        if (said == said[0]).all() and (said[0] == 0 or summed[0] == partial):
            status[:] = UNFINISHED if said[0] else 0
            return
        vouched = (summed == unnecessary) | (said & valid != 0)
        status[:] = np.where(summed == partial, UNFINISHED, np.where(vouched & (kind != OUTGOING), VOUCHED, 0))


@dataclass(frozen=True, slots=True)
class Even:
    """Frames of a stretch that are alike: their bytes are the first `captured` of each of `rows`."""

    stretch: Stretch
    rows: NDArray[np.uint8]
    captured: int

    def __len__(self) -> int:
        return len(self.rows)

    def fill(self, into: Packed) -> None:
        """Write them into columns of their number."""
        self.stretch.tell(into.time_ns, into.interface, into.length, into.kind, into.status)
        into.data[:] = self.rows[:, : self.captured]
