"""Frames' columns that grow while frames come: what was written stays, and to end a record copies none of it.

Memory that is new to a process costs more than all else that is done with a short frame: the kernel clears it, and
under a hypervisor it may have to be had from the host first. So each byte of a frame is to have one place only.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from netemu.kernel.keeping.packing import Alike, Packed
from netemu.record.frames import Frames, Offsets, offsets

_FIRST, _READY = 256 << 10, 64 << 10
"""Bytes of a column's room at first, and of what is had from the machine at once, as it is about to be written."""
_POPULATE_WRITE = 23
"""MADV_POPULATE_WRITE (linux/mman.h), since Linux 5.14: many pages for half of what it costs to fault in each."""


class Column:
    """One array that grows at its end. Its room is moved by the kernel's page tables (mremap(2)), never copied.

    Until `array` is called nobody may hold on to what `place` gave.
    """

    def __init__(self, kind: DTypeLike) -> None:
        self.kind = np.dtype(kind)
        self.used = self._ready = 0
        self._map = mmap.mmap(-1, _FIRST, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)

    def place(self, count: int) -> NDArray[Any]:
        """Room for `count` more, for the caller to write before anything else is done. Raises OSError."""
        begin, self.used = self.used, self.used + count * self.kind.itemsize
        size = len(self._map)
        if self.used > size:
            while size < self.used:
                size *= 2
            try:
                self._map.resize(size)
            except (OSError, MemoryError):
                self.used = begin
                raise
        if self.used > self._ready:
            self._get_ready()
        return np.frombuffer(self._map, self.kind, count, begin)

    def _get_ready(self) -> None:
        begin, self._ready = self._ready, -(-self.used // _READY) * _READY
        with suppress(OSError):  # an older kernel: page by page, then; so too where memory is short
            self._map.madvise(_POPULATE_WRITE, begin, self._ready - begin)

    def forget(self, count: int) -> None:
        """Let go of the last so many."""
        self.used -= count * self.kind.itemsize

    def array(self) -> NDArray[Any]:
        """All of it. It grows no more."""
        return np.frombuffer(self._map, self.kind, self.used // self.kind.itemsize)


class Columns:
    """The columns of frames, as `Frames` has them. Not for two threads at once."""

    def __init__(self) -> None:
        numbers = Column(np.int64), Column(np.int32), Column(np.int32)
        self._columns = (*numbers, Column(np.uint8), Column(np.uint8), Column(np.uint8))
        self._lengths: list[tuple[int, int] | NDArray[np.int64]] = []
        self.size = 0
        """Bytes that were written."""

    def append(self, frames: Alike) -> None:
        """Take frames that are alike. OSError, MemoryError: nothing is taken."""
        count, captured = len(frames), frames.captured
        places = time_ns, interface, length, kind, status, data = self._place((*[count] * 5, count * captured))
        try:
            frames.fill(Packed(time_ns, interface, length, kind, status, data.reshape(count, captured)))
        except MemoryError:
            self._forget(places)
            self.size -= sum(place.nbytes for place in places)
            raise
        if self._lengths and isinstance(last := self._lengths[-1], tuple) and last[1] == captured:
            self._lengths[-1] = (last[0] + count, captured)
        else:
            self._lengths.append((count, captured))

    def add(self, frames: Frames) -> None:
        """Take a few frames of any lengths. OSError, MemoryError: nothing is taken."""
        count, lengths = len(frames), np.diff(frames.offset)
        places = self._place((count, count, count, count, count, len(frames.data)))
        columns = (frames.time_ns, frames.interface, frames.length, frames.kind, frames.status, frames.data)
        for place, values in zip(places, columns, strict=True):
            place[:] = values
        self._lengths.append(lengths)

    def frames(self) -> Frames:
        """All of them, sharing the columns' memory: nothing can be taken afterwards."""
        time_ns, interface, length, kind, status, data = (column.array() for column in self._columns)
        return Frames(time_ns, interface, kind, length, status, data, self._offset())

    def _place(self, counts: tuple[int, ...]) -> list[NDArray[Any]]:
        places: list[NDArray[Any]] = []
        try:
            for column, count in zip(self._columns, counts, strict=True):
                places.append(column.place(count))
        except (OSError, MemoryError):
            self._forget(places)
            raise
        self.size += sum(place.nbytes for place in places)
        return places

    def _forget(self, places: Sequence[NDArray[Any]]) -> None:
        """Take the last places back."""
        for column, place in zip(self._columns, places, strict=False):
            column.forget(len(place))

    def _offset(self) -> Offsets:
        if len(self._lengths) == 1 and isinstance(only := self._lengths[0], tuple):
            count, length = only
            return np.arange(0, (count + 1) * length, length) if length else np.zeros(count + 1, np.int64)
        several = [np.full(each[0], each[1]) if isinstance(each, tuple) else each for each in self._lengths]
        return offsets(np.concatenate(several) if several else np.empty(0, np.int64))
