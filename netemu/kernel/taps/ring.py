"""A packet socket with a memory-mapped ring (TPACKET_V3): the kernel fills blocks of frames, one copy keeps each whole.

V3 packs frames of any length one behind the other, V2 gives each a place of the longest one's size: for short frames
the same ring holds ten times as many, and keeping a record costs less than half (docs/performance.md). A block is
handed over when it is full, or some milliseconds after it was begun.
"""

from __future__ import annotations

import mmap
import os
import select
import struct
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

import numpy as np
from numpy.typing import NDArray

from netemu.errors import CaptureError
from netemu.kernel.keeping.blocks import BLOCK_FRAMES, BLOCK_LENGTH, BLOCK_STATUS, frames_of
from netemu.kernel.keeping.kept import Kept
from netemu.kernel.keeping.rows import groups
from netemu.kernel.keeping.store import Room
from netemu.kernel.keeping.stretch import Stretch
from netemu.kernel.spaces.descriptors import moved
from netemu.kernel.spaces.namespace import NetworkNamespace
from netemu.kernel.taps.lane import Lane, entries_beside
from netemu.kernel.taps.packet import CANARY, MACS, What, bind, dropped, set_option, unbound_socket
from netemu.kernel.taps.reader import PACE, SLOW_PACE
from netemu.record.frames import Frames

_BLOCK, _SMALL_BLOCK = 128 << 10, 16 << 10
"""Bytes of a block. The longest frame, 64 KiB on a loopback interface, fits the larger; the smaller would cut it."""
_BLOCKS = 64
"""A block that is handed over before it is full is no smaller for that: a ring should have many."""
SIZE = _BLOCKS * _BLOCK
"""Bytes of a ring: 58,000 short frames, or 64 blocks handed over early."""
_ROOMY = SIZE // 4
"""Bytes of a ring that has room for what may come while it is left alone."""
HAND_OVER = 5
"""Milliseconds after which a begun block is handed over: 64 of them are 0.3 s in which nobody has to take any."""
_PATIENCE = 0.12
"""Seconds for which a ring of this size may be left alone: 24 blocks, handed over for their age alone."""
_LANE_PACE = 0.015
"""The same while a lane fills that quickly: the more is taken at once, the less it costs, and the ring is there too."""
_CROWDED, _MOST = 1 / 4, 5 / 8
"""Parts of a ring: not to fill up, beside what is handed over for its age, while it is left alone; and in any case."""
_QUICKLY = 1 / 8
"""The part of a ring that may come until the next look; where more does, there are many looks."""
_VERSION, _RX_RING = 10, 5
_V3 = 2
_FULL = 1
"""TP_STATUS_USER: the block is ours."""
_DRAIN_WITHIN = 1.0
"""Seconds for the kernel to hand a begun block over; it does after a few milliseconds."""


def _nobody(_frames: Frames) -> None:
    pass


class Ring:
    """Frames of one namespace, taken block by block. `open` makes it ready; every method may be called in any thread.

    While `watched` is set, blocks that hold it are told to `found` as they are taken, by the thread that takes them.
    """

    def __init__(
        self,
        net: NetworkNamespace,
        what: What | None = None,
        room: Room | None = None,
        size: int = SIZE,
        *,
        lane: bool = True,
    ) -> None:
        self.net = net
        self.what = what or What()
        self.block = min(max(size // _BLOCKS, _SMALL_BLOCK), _BLOCK) if size >= 2 * _SMALL_BLOCK else mmap.PAGESIZE
        self.block -= self.block % mmap.PAGESIZE
        self.blocks = max(size // self.block, 2)
        self.sock = moved(unbound_socket(net, self.what))
        self._kept = Kept(room or Room(), MACS, CANARY.to_bytes(2, "big"))
        self._lock = threading.Lock()
        self._next = 0
        self._lost = 0
        self._looked = 0.0
        self._hand_over = HAND_OVER
        self._roomy = size >= _ROOMY
        self.patience = _PATIENCE if self._roomy else PACE
        self.watched = b""
        self.found: Callable[[Frames], None] = _nobody
        self._map: mmap.mmap | None = None
        self._entries = entries_beside(size) if lane and not self.what.program else 0
        self._lane: Lane | None = None

    def open(self, hand_over: int = HAND_OVER) -> None:
        """Set the ring up and bind it; begun blocks are handed over after about `hand_over` milliseconds.

        Raises CaptureError; `close` it nevertheless.
        """
        size = self.block * self.blocks
        request = struct.pack("=7I", self.block, self.blocks, self.block, self.blocks, hand_over, 0, 0)
        with self._lock:
            if self.sock.fileno() < 0:
                return  # it was closed meanwhile
            self._hand_over = hand_over
            try:
                set_option(self.sock, _VERSION, struct.pack("=i", _V3))
                set_option(self.sock, _RX_RING, request)
                mapped = mmap.mmap(self.sock.fileno(), size)
                self._map, self._array = mapped, np.frombuffer(mapped, np.uint8)
                self._flat = memoryview(mapped).cast("I")
                self._words = self._array.view(np.uint32).reshape(self.blocks, self.block // 4)
                self._open_lane()
                bind(self.sock, self.what.interface)
            except OSError as error:
                raise CaptureError(f"host {self.net.name}: no ring of {size} bytes: {error.strerror}") from error

    def _open_lane(self) -> None:
        """Have a lane beside the ring, where everything is taken and the kernel can do that and lets us."""
        if self._entries:
            with suppress(OSError):  # it is as good without, only slower
                self._lane = Lane(self.sock, self._entries)

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What can be polled for frames."""
        lane = self._lane
        return (self.sock.fileno(), *((lane.bell,) if lane is not None else ()))

    @property
    def awake(self) -> bool:
        """Whether it has to be looked at, whatever can be polled says."""
        lane = self._lane
        return lane is not None and lane.awake

    def receive(self) -> bool:
        """Take the frames of the lane and the blocks that are full, at most one round of them; False if none is left.

        For who looks again while it is `awake`.
        """
        with self._lock:
            busy = self._lane is not None and self._lane.filled > 0
            left = self._receive()
            if self._lane is not None:
                self._lane.looked(busy)
            return left

    def crowded(self) -> bool:
        """Whether so much of the ring is full that it is not to be left alone any longer."""
        with self._lock:
            if self._map is None:
                return False
            if self._lane is not None and self._lane.filled > _CROWDED:
                return True
            aged = (time.monotonic() - self._looked) * 1000 / self._hand_over
            ahead = (self._next + int(min(self.blocks * _CROWDED + aged, self.blocks * _MOST))) % self.blocks
            return bool(self._flat[ahead * self.block // 4 + BLOCK_STATUS] & _FULL)

    def drain(self) -> None:
        """Take all that came before this call: waits, some milliseconds, until the begun block is handed over."""
        until = time.monotonic() + _DRAIN_WITHIN
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        with self._lock:
            end = self._lane.end if self._lane is not None else 0
            first = self._next
        while True:
            with self._lock:
                self._receive()
                begun = self._map is not None and self._words[self._next, BLOCK_FRAMES]
                copied = self._lane is None or self._lane.reached(end)
            if not begun and copied:
                return
            if time.monotonic() > until:
                self._count_late(first, end)
                return
            if copied:
                poll.poll(_DRAIN_WITHIN * 1000)
            else:
                os.sched_yield()  # another core is about to write it

    def _count_late(self, first: int, end: int) -> None:
        """What was not handed over in time counts as lost: of the block `first`, and of the lane up to `end`."""
        with self._lock:
            if self._map is not None and self._next == first:
                self._lost += int(self._words[first, BLOCK_FRAMES])
            if self._lane is not None and not self._lane.reached(end):
                self._lost += self._lane.waiting(end)

    def leave_out(self, strings: Sequence[bytes]) -> None:
        """Frames that have one of these behind their MACs, canaries all, are not to be among `frames`."""
        self._kept.apart = strings

    def frames(self) -> Frames:
        """All frames taken so far, but for those that are left out; from now on anew."""
        with self._lock:
            taken = self._kept.take()
        return self._kept.whole(taken)

    def lost(self) -> int:
        """How many frames were dropped, or could not be kept, since `forget`."""
        with self._lock:
            if self.sock.fileno() >= 0:
                self._lost += dropped(self.sock)
            if self._lane is not None:
                self._lost += self._lane.take_unread()
            return self._lost

    def forget(self) -> None:
        """Begin anew: nothing taken, nothing lost."""
        self.drain()
        self.lost()
        with self._lock:
            self._kept.clear()
            self._lost = 0

    def close(self) -> None:
        """Close the socket and let go of the ring, which takes an RCU grace period; what was taken can still be had."""
        with self._lock:
            mapped, self._map = self._map, None
            if mapped is not None:
                self._flat.release()
                del self._words, self._array
                mapped.close()
            self.sock.close()
            if self._lane is not None:
                self._lane.close()
                self._lane = None

    def _receive(self) -> bool:
        if self._map is None:
            return False
        since, self._looked = self._looked, time.monotonic()
        filled = self._take_lane()
        taken, full = 0, self._full()
        while full:
            first = self._next
            for begin, end in groups(self._words[first : first + full, BLOCK_FRAMES].tolist()):
                these = self._words[first + begin : first + end]
                if self.watched:
                    self._watch(these)
                self._kept.from_ring = True
                self._keep_all(these)
                these[:, BLOCK_FRAMES] = 0
                these[:, BLOCK_STATUS] = 0
                self._next = (first + end) % self.blocks
            taken += full
            full = 0 if self._next or taken >= self.blocks else self._full()
        quickly = _QUICKLY * (self._looked - since) / SLOW_PACE
        often = PACE if taken / self.blocks > quickly or not self._roomy else _LANE_PACE
        self.patience = _PATIENCE if self._roomy and max(taken / self.blocks, filled) <= quickly else often
        return bool(self._words[self._next, BLOCK_STATUS] & _FULL)

    def _take_lane(self) -> float:
        """Take what the lane has; what part of it that was."""
        if self._lane is None:
            return 0.0
        filled = self._lane.filled
        if filled:
            for stretch in self._lane.stretches():
                self._keep_stretch(stretch)
            self._kept.from_lane = True
        return filled

    def _full(self) -> int:
        """How many of the next blocks, up to the ring's end, are full."""
        status = self._words[self._next :, BLOCK_STATUS] & _FULL
        return len(status) if status.all() else int(status.argmin())

    def _watch(self, blocks: NDArray[np.uint32]) -> None:
        """Tell of the blocks that have what is watched for."""
        for block in blocks:
            raw = block[: int(block[BLOCK_LENGTH]) // 4].view(np.uint8)
            if self.watched in raw.tobytes():
                self.found(frames_of([raw.copy()]))

    def _keep_stretch(self, stretch: Stretch) -> None:
        """Keep frames of the lane, and tell of them if they have what is watched for."""
        if self.watched and self.watched in stretch.pieces.tobytes():
            self.found(frames_of([stretch.block()]))
        self._keep(len(stretch), partial(self._kept.put_stretch, stretch))

    def _keep_all(self, blocks: NDArray[np.uint32]) -> None:
        """Keep blocks."""
        for frames, keep in self._kept.ways(blocks):
            self._keep(frames, keep)

    def _keep(self, frames: int, keep: Callable[[], None]) -> None:
        try:
            keep()
        except (OSError, MemoryError):
            self._lost += frames  # the disk is full, or so is memory
