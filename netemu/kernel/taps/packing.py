"""Many frames that are all equally long, packed as their blocks are taken: columns and bytes, without the rest.

Half of a short frame's place in a block is headers of which a record keeps little. What is packed at once, while it is
in the processor's cache, is less to keep, and to end a record only has to lay it side by side.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Self

import numpy as np
from numpy.typing import NDArray

from netemu.record.capture import UNFINISHED, VOUCHED
from netemu.record.frames import Bytes

PACKED = 0x4E45544D
"""The first word of a packed block; others have TPACKET_V3's version there. Words 3 and 5 mean the same in both."""
FEWEST, ENOUGH = 128, 2048
"""Frames that are worth it (less are understood in bulk, later), and that are enough to be packed together."""
CAPTURED = 6
"""Which word of a packed block says how many bytes each of its frames has."""
_HEADER = 32
_SECONDS, _NANOSECONDS, _CAPTURED, _LENGTH, _STATUS, _DATA, _INTERFACE = 1, 2, 3, 4, 5, 6, 13
"""Words of a frame's header in a block (blocks.py), its data's place in the lower half of one."""
_SAYS = 7
"""Every third of the first so many words: the step to the next frame, bytes captured, place of the data."""
_KIND = 58
_VLAN_VALID = 1 << 4


@dataclass(slots=True)
class Packed:
    """The frames of a packed block, all of `data.shape[1]` bytes."""

    time_ns: NDArray[np.int64]
    interface: NDArray[np.int32]
    length: NDArray[np.int32]
    kind: NDArray[np.uint8]
    status: NDArray[np.uint8]
    data: NDArray[np.uint8]

    @classmethod
    def of(cls, block: Bytes, count: int, captured: int) -> Self:
        """The columns of a packed block, sharing its bytes."""
        ends = [_HEADER + each * count for each in (0, 8, 12, 16, 17, 18, 18 + captured)]
        time_ns, interface, length, kind, status, data = (block[ends[n] : ends[n + 1]] for n in range(6))
        words = interface.view(np.int32), length.view(np.int32)
        return cls(time_ns.view(np.int64), *words, kind, status, data.reshape(count, captured))

    @property
    def whole(self) -> NDArray[np.int64]:
        """How long each frame is."""
        return np.full(len(self.data), self.data.shape[1])

    def copy(self, data: Bytes, offset: NDArray[np.int64]) -> None:
        """Copy the frames' bytes to their places in `data`: they lie one behind the other there too."""
        data[offset[0] : offset[0] + self.data.size] = self.data.reshape(-1)


def area(words: NDArray[np.uint32], count: int, step: int) -> NDArray[np.uint32] | None:
    """The words of a block from its first frame on, as rows, where its frames may be at equal steps, else None."""
    return words.reshape(count, step) if step and count * step == len(words) else None


def rows_of(areas: Sequence[NDArray[np.uint32]], apart: bytes, at: int) -> NDArray[np.uint32] | None:
    """The frames of areas that have one step, as rows of words, where they can be packed together, else None.

    All must be equally long, behind each other at equal steps, without VLAN tags beside them, and none may have the
    two bytes `apart` at `at`, an even place.
    """
    rows = areas[0]
    if len(areas) > 1:
        rows = np.concatenate(areas)
        ends = [end - 1 for end in accumulate(map(len, areas))]
        rows[ends, 0] = 4 * rows.shape[1]  # a block's last frame has no next one
    says = rows[:, :_SAYS:3]
    alike, last = says[0], says[-1]
    captured, start = int(alike[1]), int(alike[2]) & 0xFFFF
    if captured < at + 2 or (says[:-1] != alike).any() or (last[1:] != alike[1:]).any():
        return None
    if start % 2 or int(np.bitwise_or.reduce(rows[:, _STATUS])) & _VLAN_VALID:
        return None
    pairs = rows.view(np.uint16)[:, (start + at) // 2]
    return None if (pairs == int.from_bytes(apart, sys.byteorder)).any() else rows


def captured_of(rows: NDArray[np.uint32]) -> int:
    """Bytes of each frame of rows that `rows_of` gave."""
    return int(rows[0, _CAPTURED])


def packed_size(rows: NDArray[np.uint32]) -> int:
    """Bytes that these rows will have as a packed block: whole words of 64 bits."""
    return -(-(_HEADER + (18 + captured_of(rows)) * len(rows)) // 8) * 8


def pack(rows: NDArray[np.uint32], place: Bytes) -> None:
    """Write rows that `rows_of` gave as a packed block to its `place`, of `packed_size` bytes."""
    count, captured = len(rows), captured_of(rows)
    struct.pack_into("=8I", place.data, 0, PACKED, 0, 0, count, 0, len(place), captured, 0)
    fill(rows, Packed.of(place, count, captured))


def fill(rows: NDArray[np.uint32], into: Packed) -> None:
    """Write rows that `rows_of` gave into columns of their number."""
    np.multiply(rows[:, _SECONDS], 1_000_000_000, out=into.time_ns, dtype=np.int64)
    into.time_ns += rows[:, _NANOSECONDS]
    into.interface[:] = rows[:, _INTERFACE]
    into.length[:] = rows[:, _LENGTH]
    octets, start = rows.view(np.uint8), int(rows[0, _DATA]) & 0xFFFF
    into.kind[:] = octets[:, _KIND]
    np.bitwise_and(rows[:, _STATUS], UNFINISHED | VOUCHED, out=into.status, casting="unsafe")
    into.data[:] = octets[:, start : start + into.data.shape[1]]
