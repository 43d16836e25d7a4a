"""Frames of a ring's blocks that are alike, as rows: blocks of frames that lie at equal steps, one behind the other."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from netemu.kernel.keeping.blocks import BLOCK_FRAMES, BLOCK_LENGTH
from netemu.kernel.keeping.packing import FEWEST, Packed
from netemu.record.capture import UNFINISHED, VOUCHED

_FIRST = 12
"""Words of a block before its first frame, where nobody has room of their own there (BLK_HDR_LEN, af_packet.c)."""
_HEADS = [BLOCK_FRAMES, BLOCK_LENGTH, _FIRST]
"""Words of a block that tell whether its frames may be alike; the last is the step to its second frame, or 0."""
ENOUGH = 2048
"""Frames that are enough to be packed together."""
_SECONDS, _NANOSECONDS, _CAPTURED, _LENGTH, _STATUS, _DATA, _INTERFACE = 1, 2, 3, 4, 5, 6, 13
"""Words of a frame's header in a block (blocks.py), its data's place in the lower half of one."""
_SAYS = 7
"""Every third of the first so many words: the step to the next frame, bytes captured, place of the data."""
_KIND = 58
_VLAN_VALID = 1 << 4


@dataclass(frozen=True, slots=True)
class Rows:
    """Frames of a ring's blocks that `rows_of` found alike, with their headers, as rows of words."""

    words: NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.words)

    @property
    def captured(self) -> int:
        """Bytes of each frame."""
        return int(self.words[0, _CAPTURED])

    def fill(self, into: Packed) -> None:
        """Write them into columns of their number."""
        rows = self.words
        np.multiply(rows[:, _SECONDS], 1_000_000_000, out=into.time_ns, dtype=np.int64)
        into.time_ns += rows[:, _NANOSECONDS]
        into.interface[:] = rows[:, _INTERFACE]
        into.length[:] = rows[:, _LENGTH]
        octets, start = rows.view(np.uint8), int(rows[0, _DATA]) & 0xFFFF
        into.kind[:] = octets[:, _KIND]
        np.bitwise_and(rows[:, _STATUS], UNFINISHED | VOUCHED, out=into.status, casting="unsafe")
        into.data[:] = octets[:, start : start + into.data.shape[1]]


def alike(blocks: NDArray[np.uint32], apart: bytes, at: int) -> Rows | None:
    """The frames of whole blocks where they can be packed, and are worth it: see packing.py and `rows_of`."""
    frames, length, steps = blocks[:, _HEADS].T.tolist()
    if sum(frames) < FEWEST:
        return None
    step = steps[0] // 4 or length[0] // 4 - _FIRST
    each = zip(blocks, frames, length, strict=True)
    areas = [area(block[_FIRST : size // 4], count, step) for block, count, size in each]
    equal = [found for found in areas if found is not None]
    return rows_of(equal, apart, at) if len(equal) == len(areas) else None


def area(words: NDArray[np.uint32], count: int, step: int) -> NDArray[np.uint32] | None:
    """The words of a block from its first frame on, as rows, where its frames may be at equal steps, else None."""
    return words.reshape(count, step) if step and count * step == len(words) else None


def rows_of(areas: Sequence[NDArray[np.uint32]], apart: bytes, at: int) -> Rows | None:
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
    first, last = says[0], says[-1]
    captured, start = int(first[1]), int(first[2]) & 0xFFFF
    if captured < at + 2 or (says[:-1] != first).any() or (last[1:] != first[1:]).any():
        return None
    if start % 2 or int(np.bitwise_or.reduce(rows[:, _STATUS])) & _VLAN_VALID:
        return None
    pairs = rows.view(np.uint16)[:, (start + at) // 2]
    return None if (pairs == int.from_bytes(apart, sys.byteorder)).any() else Rows(rows)


def groups(frames: list[int]) -> Iterator[tuple[int, int]]:
    """Blocks that have so many frames, in groups, from one to another, that are enough to be packed together."""
    begin, together, left = 0, 0, sum(frames)
    for end, count in enumerate(frames, 1):
        together += count
        left -= count
        if end == len(frames) or (together >= ENOUGH and left >= ENOUGH // 2):
            yield begin, end
            begin, together = end, 0
