"""What a ring's frames are kept as: columns as long as they are alike, else blocks that are understood in the end.

Few blocks with frames of other kinds among them (neighbours that are looked for, an error) are put into the columns
too, at once; where many come, all from there on is kept as blocks, packed where they can be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from netemu.kernel.keeping.blocks import BLOCK_FRAMES, BLOCK_LENGTH, frames_of
from netemu.kernel.keeping.columns import Columns
from netemu.kernel.keeping.packing import Alike, pack, packed_size
from netemu.kernel.keeping.rows import alike
from netemu.kernel.keeping.store import Room, Store
from netemu.kernel.keeping.stretch import Stretch
from netemu.record.frames import Bytes, Frames

_FEW, _ONE_IN = 64 << 10, 8
"""Bytes of blocks that may be understood in the thread that takes them, and their part of what it has in columns."""


class Taken(NamedTuple):
    """What was put: columns and blocks behind them, and whether the order is that of the frames' times."""

    columns: Columns | None
    blocks: list[Bytes]
    mingled: bool


class Kept:
    """The frames of one ring, in the order in which they were put. Not for two threads at once.

    `apart` are byte strings: frames that have one of them at `at` are canaries, and left out. All begin with the two
    bytes `mark`.
    """

    def __init__(self, room: Room, at: int, mark: bytes) -> None:
        self.room = room
        self.at = at
        self.mark = mark
        self.apart: Sequence[bytes] = ()
        self._blocks = Store(room)
        self._waiting = 0
        self._columns: Columns | None = None
        self._alike = True
        self.from_ring = self.from_lane = False
        """Where what was put comes from: if from both, the order is that of the frames' times."""

    def put(self, block: Bytes) -> None:
        """Keep a copy of a block. OSError if there is no room for it."""
        self._blocks.put(block.data)
        self._waiting += len(block)

    def put_alike(self, frames: Alike) -> None:
        """Keep frames that are alike. OSError if there is no room for them."""
        if not self._alike or not self._in_columns(frames):
            self._write(packed_size(frames), partial(pack, frames))

    def put_stretch(self, frames: Stretch) -> None:
        """Keep frames of a lane: together, or with a list. OSError, MemoryError if there is no room for them."""
        if (even := frames.alike(self.mark, self.at)) is not None:
            self.put_alike(even)
            return
        self._write(frames.listed_size, frames.list)
        self._waiting += frames.listed_size

    def ways(self, blocks: NDArray[np.uint32]) -> Iterator[tuple[int, Callable[[], None]]]:
        """How a ring's blocks are kept, with the frames of each part: all together, or each block as it is."""
        if (rows := alike(blocks, self.mark, self.at)) is not None:
            yield len(rows), partial(self.put_alike, rows)
            return
        for block in blocks:
            whole = block[: int(block[BLOCK_LENGTH]) // 4].view(np.uint8)
            yield int(block[BLOCK_FRAMES]), partial(self.put, whole)

    def _write(self, size: int, write: Callable[[Bytes], None]) -> None:
        """Have a block written; what could not be is not there."""
        place = self._blocks.place(size)
        try:
            write(place)
        except MemoryError:
            self._blocks.give_back(size)
            raise

    def take(self) -> Taken:
        """All that was put, for `whole` to make frames of; from now on anew."""
        taken = Taken(self._columns, self._blocks.take(), self.from_ring and self.from_lane)
        self._begin()
        return taken

    def whole(self, taken: Taken) -> Frames:
        """What was taken, as frames."""
        columns, blocks, mingled = taken
        if columns is None:
            return frames_of(blocks, self.apart, self.at, self.room.array, by_time=mingled)
        size = sum(map(len, blocks))
        if size > columns.size or columns.size + size > self.room.memory or mingled:
            return frames_of(blocks, self.apart, self.at, self.room.array, columns.frames(), by_time=mingled)
        columns.add(frames_of(blocks, self.apart, self.at))
        return columns.frames()

    def clear(self) -> None:
        """Forget everything."""
        self._blocks.clear()
        self._begin()

    def _begin(self) -> None:
        if self._columns:
            self.room.taken -= self._columns.size
        self._columns, self._waiting, self._alike = None, 0, True
        self.from_ring = self.from_lane = False

    def _in_columns(self, frames: Alike) -> bool:
        """Put frames, and the few blocks before them, into the columns; False if those have come to their end."""
        before = self._columns.size if self._columns else 0
        few = self._waiting <= max(_FEW, before // _ONE_IN)
        self._alike = few and self.room.bears(packed_size(frames) + self._waiting)
        if not self._alike:
            return False
        try:
            columns = self._columns = self._columns or Columns()
            if self._waiting:
                columns.add(frames_of(self._blocks.held(), self.apart, self.at))
                self._blocks.clear()
                self._waiting = 0
            columns.append(frames)
        except (OSError, MemoryError):
            self._alike = False
        if self._columns:
            self.room.taken += self._columns.size - before
        return self._alike
