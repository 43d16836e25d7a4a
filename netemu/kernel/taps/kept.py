"""What a ring's frames are kept as: columns as long as they are alike, else blocks that are understood in the end.

Few blocks with frames of other kinds among them (neighbours that are looked for, an error) are put into the columns
too, at once; where many come, all from there on is kept as blocks, packed where they can be.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from netemu.kernel.taps.blocks import frames_of
from netemu.kernel.taps.columns import Columns
from netemu.kernel.taps.packing import captured_of, pack, packed_size
from netemu.kernel.taps.store import Room, Store
from netemu.record.frames import Bytes, Frames

_FEW, _ONE_IN = 64 << 10, 8
"""Bytes of blocks that may be understood in the thread that takes them, and their part of what it has in columns."""


class Kept:
    """The frames of one ring, in the order in which they were put. Not for two threads at once.

    `apart` are byte strings: frames that have one of them at `at` are canaries, and left out.
    """

    def __init__(self, room: Room, at: int) -> None:
        self.room = room
        self.at = at
        self.apart: Sequence[bytes] = ()
        self._blocks = Store(room)
        self._waiting = 0
        self._columns: Columns | None = None
        self._alike = True

    def put(self, block: Bytes) -> None:
        """Keep a copy of a block. OSError if there is no room for it."""
        self._blocks.put(block.data)
        self._waiting += len(block)

    def put_rows(self, rows: NDArray[np.uint32]) -> None:
        """Keep the rows of blocks that packing.rows_of took for alike. OSError if there is no room for them."""
        if not self._alike or not self._in_columns(rows):
            pack(rows, self._blocks.place(packed_size(rows)))

    def take(self) -> tuple[Columns | None, list[Bytes]]:
        """All that was put, for `whole` to make frames of; from now on anew."""
        taken = self._columns, self._blocks.take()
        self._begin()
        return taken

    def whole(self, taken: tuple[Columns | None, list[Bytes]]) -> Frames:
        """What was taken, as frames."""
        columns, blocks = taken
        if columns is None:
            return frames_of(blocks, self.apart, self.at, self.room.array)
        size = sum(map(len, blocks))
        if size > columns.size or columns.size + size > self.room.memory:
            return frames_of(blocks, self.apart, self.at, self.room.array, columns.frames())
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

    def _in_columns(self, rows: NDArray[np.uint32]) -> bool:
        """Put rows, and the few blocks before them, into the columns; False if those have come to their end."""
        before = self._columns.size if self._columns else 0
        few = self._waiting <= max(_FEW, before // _ONE_IN)
        self._alike = few and self.room.bears(packed_size(rows) + self._waiting)
        if not self._alike:
            return False
        try:
            columns = self._columns = self._columns or Columns()
            if self._waiting:
                columns.add(frames_of(self._blocks.held(), self.apart, self.at))
                self._blocks.clear()
                self._waiting = 0
            columns.append(rows, captured_of(rows))
        except (OSError, MemoryError):
            self._alike = False
        if self._columns:
            self.room.taken += self._columns.size - before
        return self._alike
