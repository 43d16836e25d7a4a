"""A lane beside a socket's ring: memory that an eBPF filter on the socket copies frames to, instead of the ring.

What a packet socket costs is mostly its ring: locks that all cores share, and headers that are longer than a short
frame. A lane takes one atomic addition a frame, 32 bytes for what is told of it, and no lock (lane_program.py). What
is long or has no room is left to the ring: nothing is lost that the ring would not lose. The reader is rung for the
first frame after it went to sleep, and looks by itself while it is awake.

Frames are in the order in which they were counted; between the lane and the ring their times tell it, of one clock.
"""

from __future__ import annotations

import errno
import mmap
import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from netemu.kernel.ebpf import bpf
from netemu.kernel.ebpf.btf import Facts, packet_facts
from netemu.kernel.ebpf.lane_program import (
    AWAKE,
    BELL,
    CORES,
    ENTRY,
    FRAMES,
    HEAD,
    INDEX,
    LENGTH,
    MOST,
    PIECE,
    RUNG,
    SEQUENCE,
    SEQUENCES,
    TAIL,
    UNREAD,
    Layout,
    program,
)
from netemu.kernel.keeping.stretch import Stretch, places_of
from netemu.kernel.spaces.descriptors import out_of_the_way
from netemu.kernel.taps.clocks import Clocks

_SMALLEST = 2 << 20
"""Bytes of a ring beside which there is a lane: who has less is not to spend as much again."""
_FRAME = 128
"""Bytes of a ring that a short frame takes, about: there is an entry for each such frame, and a piece for its bytes."""
_FACTS = threading.Lock()
"""Rings are opened side by side: one of them looks for the facts."""
_ORDERED = "x86_64"
"""A frame's number is its last word to be written, and the first to be read: on this machine that is also seen so."""
_ATTACH_BPF = 50
_AT_ONCE = 8192
"""Frames that are looked at together: what was copied of them is still in the processor's cache then."""
_LONG = (1 << 64) - 1
_PIECES = (1 << FRAMES) - 1
_ASLEEP = 2
"""So many looks at a lane that found nothing, and nobody is looking any more."""


class Lane:
    """The lane of one socket: made, it is in use; `close` it after the socket. Not for two threads at once.

    `entries` is a power of two. Raises OSError where the kernel has no such thing, or does not let us.
    """

    def __init__(self, sock: socket.socket, entries: int) -> None:
        self.layout = layout = Layout(entries)
        if os.uname().machine != _ORDERED:
            raise OSError(errno.ENOSYS, "what one core writes last another may see first here")
        if (os.cpu_count() or CORES) > CORES:
            raise OSError(errno.ENOSYS, f"more than {CORES} cores may reserve more than is spared for them")
        self.bell = -1
        opened = list[int]()
        try:
            opened.append(bpf.shared_bytes(layout.size))
            opened.append(bpf.ring_buffer(mmap.PAGESIZE))
            shared, bell = opened
            with _FACTS:
                self._facts = packet_facts()
            opened.append(_filter(layout, shared, bell, self._facts))
            self._memory = mmap.mmap(shared, -(-layout.size // mmap.PAGESIZE) * mmap.PAGESIZE)
            self._heard = mmap.mmap(bell, mmap.PAGESIZE)
            sock.setsockopt(socket.SOL_SOCKET, _ATTACH_BPF, struct.pack("=i", opened[2]))
        except BaseException:
            for each in opened:
                os.close(each)
            raise
        os.close(opened[0])
        os.close(opened[2])
        self.bell = out_of_the_way(bell)
        self._longs = memoryview(self._memory)[:INDEX].cast("Q")
        self._consumed = memoryview(self._heard)[:8].cast("Q")
        self._entries = np.frombuffer(self._memory, np.uint32, entries * ENTRY // 4, INDEX).reshape(entries, -1)
        self._data = np.frombuffer(self._memory, np.uint8, layout.size - layout.data, layout.data)
        self._quiet, self._unread = _ASLEEP, 0

    @property
    def awake(self) -> bool:
        """Whether the reader has to look at it, as nothing rings for what comes now."""
        return self._quiet < _ASLEEP

    def looked(self, busy: bool) -> None:
        """The reader looked, and will again while it is `awake`; where all is quiet it is rung for what comes then.

        Who saw nothing once looks once more: what was counted before the bell was asked for rings nobody. What was
        heard of the bell is told first: who rings from then on is heard again.
        """
        self._consumed[0] = BELL * self._longs[RUNG // 8]
        rung = self._longs[AWAKE // 8]
        self._longs[AWAKE // 8] = busy
        self._quiet = 0 if busy else 1 if rung else min(self._quiet + 1, _ASLEEP)

    @property
    def end(self) -> int:
        """Up to where frames were counted: for `reached`."""
        return self._longs[HEAD // 8]

    def reached(self, end: int) -> bool:
        """Whether all up to an `end` of before were taken."""
        return (self._longs[TAIL // 8] - end & _LONG) < 1 << 63

    @property
    def filled(self) -> float:
        """What part of it waits to be taken; 0 if nothing does."""
        waiting = self._longs[HEAD // 8] - self._longs[TAIL // 8] & _LONG
        return max(waiting >> FRAMES, waiting & _PIECES) / self.layout.entries

    def waiting(self, end: int) -> int:
        """How many frames up to an `end` of before wait to be taken, those that are not written yet among them."""
        return (end - self._longs[TAIL // 8] & _LONG) >> FRAMES

    def take_unread(self) -> int:
        """How many frames there were since the last call whose bytes could not be had: they are zeros."""
        before, self._unread = self._unread, self._longs[UNREAD // 8]
        return self._unread - before

    def stretches(self) -> Iterator[Stretch]:
        """Take what is whole, up to where it is filled now; each stretch is to be kept before the next is asked for."""
        end, tail = self._longs[HEAD // 8], self._longs[TAIL // 8]
        behind = Clocks.now().behind if tail != end else 0
        while tail != end:
            first, count = tail >> FRAMES, (end >> FRAMES) - (tail >> FRAMES) & SEQUENCES
            place = first & self.layout.entries - 1
            entries = self._entries[place : place + min(count, _AT_ONCE)]
            entries = self._whole(entries, first)
            if not len(entries):
                return
            stretch, pieces = self._together(entries, behind)
            yield stretch
            tail = tail + (len(stretch) << FRAMES) + pieces & _LONG
            self._longs[TAIL // 8] = tail

    def close(self) -> None:
        """Let go of it; once is enough, twice does no harm."""
        if self.bell < 0:
            return
        self._longs.release()
        self._consumed.release()
        del self._entries, self._data
        self._memory.close()
        self._heard.close()
        os.close(self.bell)
        self.bell = -1

    def _whole(self, entries: NDArray[np.uint32], first: int) -> NDArray[np.uint32]:
        """Those entries up to the first that is still being written; the first one's number is `first`."""
        expected = np.arange(first + 1, first + 1 + len(entries), dtype=np.uint32) & np.uint32(SEQUENCES)
        written = entries[:, SEQUENCE] == expected
        return entries if written.all() else entries[: int(written.argmin())]

    def _together(self, entries: NDArray[np.uint32], behind: int) -> tuple[Stretch, int]:
        """The entries whose pieces lie behind the first one's, without going round, and how many pieces they take."""
        places = places_of(entries)
        if places[-1] < places[0]:
            entries = entries[: int((places < places[0]).argmax())]
        last = len(entries) - 1
        begin, end = int(places[0]), int(places[last]) + -(-int(entries[last, LENGTH]) // PIECE)
        return Stretch(entries, self._data[begin * PIECE : end * PIECE], self._facts, behind), end - begin


def _filter(layout: Layout, shared: int, bell: int, facts: Facts) -> int:
    """The program, loaded: the quicker one, if the kernel takes that."""
    if facts.cast:
        with suppress(OSError):
            return bpf.socket_filter(program(layout, shared, bell, facts))
    return bpf.socket_filter(program(layout, shared, bell, replace(facts, cast=0)))


def entries_beside(ring: int) -> int:
    """How many entries the lane beside a ring of so many bytes has; 0 where there is to be none."""
    return min(1 << (ring // _FRAME).bit_length() - 1, MOST) if ring >= _SMALLEST else 0


def lane_memory(ring: int) -> int:
    """Bytes of the kernel's memory that the lane beside a ring of so many takes, where there is one."""
    entries = entries_beside(ring)
    return Layout(entries).size if entries else 0
