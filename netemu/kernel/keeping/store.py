"""Where taps keep what they take off their sockets: in memory up to a bound, beyond it in files without a name.

Such a file is on disk, in nobody's folder, and goes with its last holder: nothing to clean up, nothing to find.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from dataclasses import dataclass

import numpy as np

from netemu.kernel.spaces.limits import available_memory
from netemu.record.frames import Bytes

MEMORY, _MOST_MEMORY, _SHARE = 256 << 20, 1 << 30, 8
"""Bytes that all taps of a lab keep in memory together: that part of the free memory, but from one to the other."""
_SMALLEST, _LARGEST, _FILE = 64 << 10, 4 << 20, 16 << 20
"""Sizes of slabs: a quiet tap takes little; each file costs a descriptor."""
_LARGE = 2 << 20
"""Bytes of an array for which numpy may ask for huge pages."""


def in_memory(size: int) -> Bytes:
    """An array of `size` bytes, in pages of the ordinary size.

    A huge page that the machine has not used for a while costs most in virtual machines: their host has been given it
    back (free page reporting, Documentation/mm/free_page_reporting.rst), and has to find and clear it first; ordinary
    pages are rarely given back. A record writes to pages that are new to its process, and to each once.
    """
    if size < _LARGE:
        return np.empty(size, np.uint8)
    return np.frombuffer(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), np.uint8)


def usual_memory() -> int:
    """The bytes that all taps of a lab keep in memory together where nobody says how many, as things are now."""
    return min(max(available_memory() // _SHARE, MEMORY), _MOST_MEMORY)


@dataclass(slots=True)
class Slab:
    """A piece of room, filled from its beginning; `mapped` is its file, if it is in one."""

    data: Bytes
    mapped: mmap.mmap | None = None
    used: int = 0


class Room:
    """The room that all taps of a lab share. Files are made in `folder`, by default where temporary ones go."""

    def __init__(self, memory: int = MEMORY, folder: str | None = None) -> None:
        self.memory = memory
        self.folder = folder
        self.taken = 0
        self.spilled = 0

    def slab(self, size: int) -> Slab:
        """Room for `size` bytes or more; OSError if there is none on disk either."""
        if not self.bears(size):
            return self._file(max(size, _FILE))
        self.taken += size
        return Slab(in_memory(size))

    def array(self, size: int) -> Bytes:
        """An array of `size` bytes for what was kept: in a file where the memory bound says so."""
        return in_memory(size) if size <= self.memory else self._file(size).data[:size]

    def bears(self, size: int) -> bool:
        """Whether `size` bytes more can be kept in memory."""
        return self.taken + size <= self.memory

    def give_back(self, slab: Slab) -> None:
        """Let go of a slab: its room is there for others."""
        if slab.mapped is None:
            self.taken -= len(slab.data)
        else:
            self.spilled -= len(slab.data)

    def _file(self, size: int) -> Slab:
        with tempfile.TemporaryFile(dir=self.folder) as file:
            os.posix_fallocate(file.fileno(), 0, size)  # a full disk is told here and now, not by a signal later
            mapped = mmap.mmap(file.fileno(), size)
        self.spilled += size
        return Slab(np.frombuffer(mapped, np.uint8), mapped)


class Store:
    """Bytes in the order in which they were put, in slabs. Not for two threads at once."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.slabs: list[Slab] = []

    def put(self, data: memoryview) -> None:
        """Keep a copy of `data`, in one piece. OSError if there is no room for it.

        The copy does not let other threads run: to wait for its turn again would cost a tap more than the copy.
        """
        self.place(len(data)).data[:] = data

    def place(self, size: int) -> Bytes:
        """Keep `size` bytes that are yet to be written there, by who called. OSError if there is no room for them."""
        slab = self.slabs[-1] if self.slabs else None
        if slab is None or slab.used + size > len(slab.data):
            slab = self._next(size)
        slab.used += size
        return slab.data[slab.used - size : slab.used]

    def give_back(self, size: int) -> None:
        """Let go of the last `size` bytes, a place that could not be written."""
        self.slabs[-1].used -= size

    def held(self) -> list[Bytes]:
        """All that was put so far, slab by slab."""
        return [slab.data[: slab.used] for slab in self.slabs]

    def take(self) -> list[Bytes]:
        """All that was put so far, slab by slab; the store is empty then."""
        taken = self.held()
        self.clear()
        return taken

    def clear(self) -> None:
        """Forget everything."""
        for slab in self.slabs:
            self.room.give_back(slab)
        self.slabs = []

    def _next(self, size: int) -> Slab:
        wanted = _SMALLEST
        if self.slabs:
            full = self.slabs[-1]
            wanted = min(2 * len(full.data), _LARGEST)
            if full.mapped is not None:
                full.mapped.madvise(mmap.MADV_DONTNEED)  # it is in the file
        slab = self.room.slab(max(size, wanted))
        self.slabs.append(slab)
        return slab
