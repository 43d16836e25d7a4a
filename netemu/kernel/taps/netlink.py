"""Raw nfnetlink sockets: datagrams are only stored while traffic runs, and understood afterwards.

They are taken many at a time (recvmmsg): one by one, the calls from Python would cost as much again as the kernel's
work (docs/performance.md). Where the kernel lets us, even that is saved (outlet.py).
"""

from __future__ import annotations

import errno
import select
import socket
import struct
import threading
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from netemu.errors import CaptureError
from netemu.kernel.ebpf.outlet import LEAD, PLACE, Outlet, alike, end_of, first_ahead, gather, one_by_one, said, whole
from netemu.kernel.keeping.store import Room, Store
from netemu.kernel.spaces.descriptors import moved
from netemu.kernel.spaces.namespace import NetworkNamespace
from netemu.kernel.taps.buffers import set_buffer
from netemu.kernel.taps.reader import PACE, PATIENCE
from netemu.kernel.taps.slots import AT_ONCE, NARROW, Batch, Lengths, Slots, packed
from netemu.record.frames import Datagrams

NETLINK_NETFILTER = 12
_SOL_NETLINK = 270
_ADD_MEMBERSHIP, _DROP_MEMBERSHIP = 1, 2
_SO_MEMINFO, _MEMINFO_DROPS = 55, 8
_SLOTS = Slots()
_ROOMY = 32 << 20
"""Bytes of a socket's buffer that has room for what may come while it is left alone."""
_LEAST = 512
"""Bytes that a datagram takes of it, at least: its struct sk_buff alone is half of that, and its data are another."""
_ON_ITS_WAY = 0.1
"""Seconds that a datagram which another core is about to queue has for it: it takes microseconds."""


def netfilter_socket(net: NetworkNamespace) -> socket.socket:
    """A NETLINK_NETFILTER socket that lives in `net`."""
    with net.entered():
        sock = moved(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER))
    sock.bind((0, 0))
    return sock


class GroupReader:
    """Stores the datagrams of multicast groups, in the order in which they came. For any thread."""

    def __init__(self, net: NetworkNamespace, groups: tuple[int, ...], buffer: int, room: Room | None = None) -> None:
        self._room = room or Room()
        self._store = Store(self._room)
        self._batches: list[Batch] = []
        self._lock = threading.Lock()
        self._lost_before = 0
        self._not_kept = 0
        self._groups = groups
        self._outlet: Outlet | None = None
        self._dequeued = self._seen_dropped = 0
        self.count = 0
        self.sock = netfilter_socket(net)
        self.patience = PACE
        try:
            set_buffer(self.sock, buffer)
            self._holds = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
            self._roomy = self._holds >= _ROOMY
            self.patience = PATIENCE if self._roomy else PACE
            self._listen(_ADD_MEMBERSHIP)
        except OSError as error:
            self.sock.close()
            raise CaptureError(f"host {net.name}: the kernel has no netfilter events: {error.strerror}") from error

    def open(self, size: int) -> None:
        """Have the datagrams in a ring of `size` bytes from now on, where the kernel can do that and lets us.

        With a size of 0 they are left in the socket. What comes while this goes on may be missed, uncounted: `forget`
        afterwards, or open it before anything can come.
        """
        with self._lock:
            if not size or self.sock.fileno() < 0 or self._outlet is not None:
                return
            self._listen(_DROP_MEMBERSHIP)  # else the ring could fill, and count what is taken here as what came before
            try:
                while self._receive_queued():
                    pass
                self._outlet = Outlet(self.sock, size)
                self._seen_dropped = self._dropped()
            except OSError:
                pass  # it is as good without, only slower
            finally:
                self._listen(_ADD_MEMBERSHIP)

    def _listen(self, option: int) -> None:
        for group in self._groups:
            self.sock.setsockopt(_SOL_NETLINK, option, group)

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What can be polled for datagrams."""
        return (self.sock.fileno(), *((self._outlet.descriptor,) if self._outlet else ()))

    @property
    def awake(self) -> bool:
        """Never: it can be polled."""
        return False

    def receive(self) -> bool:
        """Take some hundred datagrams, or a whole ring's; False if none is left of those that were there."""
        with self._lock:
            return self._receive()

    def crowded(self) -> bool:
        """Whether an eighth of its ring waits to be taken."""
        with self._lock:
            if self.sock.fileno() < 0 or (outlet := self._outlet) is None:
                return False
            return outlet.end - outlet.begin >= outlet.size // 8

    def drain(self) -> None:
        """Take everything that came before this call; what comes meanwhile may be left."""
        with self._lock:
            if self.sock.fileno() < 0:
                return
            if (outlet := self._outlet) is None:
                most = self._holds // _LEAST // AT_ONCE + 1
                while most and self._receive():
                    most -= 1
                return
            queued, end = outlet.queued, outlet.end
            while (outlet.begin < end or self._dequeued < queued) and self._receive():
                pass

    def datagrams(self) -> Datagrams:
        """All that was stored; from now on anew."""
        with self._lock:
            slabs, batches = self._store.take(), self._batches
            self._batches, self.count = [], 0
        return packed(slabs, batches, self._room.array)

    def lost(self) -> int:
        """How many messages were dropped since the last `forget`, as the kernel counts them, or could not be kept."""
        return self._dropped() - self._lost_before + self._not_kept

    def forget(self) -> None:
        """Begin anew: nothing stored, nothing lost."""
        self.drain()
        with self._lock:
            self._store.clear()
            self._batches, self.count, self._not_kept = [], 0, 0
            self._lost_before = self._dropped()

    def close(self) -> None:
        """Close the socket; once is enough, twice does no harm."""
        with self._lock:
            self.sock.close()
            if self._outlet is not None:
                self._outlet.close()

    @property
    def picks(self) -> bool:
        """Whether `wanted` is asked at the moment: what is asked nothing of is kept a call's datagrams at a time."""
        return False

    def wanted(self, datagrams: list[bytes]) -> list[bytes]:
        """Those that are to be kept."""
        return datagrams

    def _dropped(self) -> int:
        words = struct.unpack("9I", self.sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 36))
        return int(words[_MEMINFO_DROPS])

    def _receive(self) -> bool:
        if self.sock.fileno() < 0:
            return False
        outlet = self._outlet
        if outlet is None:
            return self._receive_queued() > 0
        queued, end = outlet.queued, outlet.end  # in this order: all that was queued by now is behind records up to end
        self.patience = PATIENCE if self._roomy and end - outlet.begin < outlet.size // 8 else PACE
        left = self._receive_kept(outlet, end)
        if waits := outlet.first_waits_for(self._dequeued, end):
            self._dequeue(waits)  # so many at most as one call takes: other taps' rings fill meanwhile
            left = self._receive_kept(outlet, end)
        if outlet.overflows and not left:
            outlet.reopen()  # records say what they have to wait for: the sooner, the less is queued
        if queued > self._dequeued and not left:
            self._dequeue(queued - self._dequeued)
        if self._dequeued >= queued:
            self._take_strays(outlet, queued)
        return left or queued > self._dequeued

    def _take_strays(self, outlet: Outlet, queued: int) -> None:
        """Take what is still queued though all was counted as taken: one was counted that came later, or never.

        What was there before that count was looked at again is a stray; what is there after it may have come since.
        """
        while self._readable(0) and outlet.queued == queued and self._receive_queued(1):
            pass
        self._dequeued = min(self._dequeued, outlet.queued)

    def _receive_kept(self, outlet: Outlet, end: int) -> bool:
        """Take the ring's records up to the first that is not whole, or has to wait; whether there is one."""
        with outlet.records(end) as records:
            taken = self._keep_records(records)
            outlet.release(taken)
            return taken < len(records)

    def _keep_records(self, records: memoryview) -> int:
        """Keep them up to the first that is not whole, or has to wait: how many bytes they are."""
        if not self.picks:
            if says := alike(records):
                number = first_ahead(says[1], self._dequeued)
                if number:
                    self._put_alike(records[: number * PLACE], says[0][:number])
                return number * PLACE
            starts = whole(records)
            if len(starts):
                lengths, before = said(records, starts)
                number = first_ahead(before, self._dequeued)
                return self._put_mixed(records, starts[:number], lengths[:number]) if number else 0
        taken, found = one_by_one(records, self._dequeued)
        if taken:
            self._put(*_one_behind_the_other(self.wanted(found)))
        return taken

    def _dequeue(self, most: int) -> None:
        """Take datagrams that the ring had no room for, or know that the kernel dropped them.

        One that is not there is on its way, on another core; what does not come then is lost.
        """
        taken = self._receive_queued(most)
        dropped = self._dropped() if not taken else self._seen_dropped
        self._dequeued += taken + dropped - self._seen_dropped
        if not taken and dropped == self._seen_dropped and not self._readable():
            self._not_kept += most
            self._dequeued += most
        self._seen_dropped = dropped

    def _readable(self, within: float = _ON_ITS_WAY) -> bool:
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        return bool(poll.poll(within * 1000))

    def _receive_queued(self, most: int = AT_ONCE) -> int:
        """Take some hundred datagrams from the socket's queue: how many."""
        taken = 0
        while True:
            try:
                taken = _SLOTS.fill(self.sock, most)
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise  # else some were dropped: the kernel counts them
        if not taken:
            return 0
        self.patience = PATIENCE if self._roomy and taken < AT_ONCE else PACE
        self._not_kept += _SLOTS.truncated(taken)
        lengths = _SLOTS.lengths(taken)
        if not self.picks and int(lengths.max()) <= NARROW:
            self._put(Batch(lengths, NARROW), _SLOTS.side_by_side(taken))
        else:
            self._put(*_one_behind_the_other(self.wanted(_SLOTS.each(lengths.tolist()))))
        return taken

    def _put(self, batch: Batch, data: memoryview) -> None:
        self._keep(batch, lambda: self._store.put(data))

    def _put_alike(self, records: memoryview, lengths: Lengths) -> None:
        """Keep records of one size in places that the longest datagram just fits: new memory is what costs most."""
        batch = _side_by_side(lengths)

        def copy() -> None:
            rows = np.frombuffer(records, np.uint8).reshape(-1, PLACE)
            self._rows(batch)[:] = rows[:, LEAD : LEAD + batch.place]

        self._keep(batch, copy)

    def _put_mixed(self, records: memoryview, starts: NDArray[np.int64], lengths: Lengths) -> int:
        """The same of records of both sizes; where they end."""
        batch = _side_by_side(lengths)
        self._keep(batch, lambda: gather(records, starts, lengths, self._rows(batch)))
        return end_of(starts, lengths)

    def _rows(self, batch: Batch) -> NDArray[np.uint8]:
        return self._store.place(batch.size).reshape(-1, batch.place)

    def _keep(self, batch: Batch, keep: Callable[[], None]) -> None:
        try:
            keep()
        except (OSError, MemoryError):
            self._not_kept += len(batch.lengths)  # the disk is full, or so is memory
            return
        self._batches.append(batch)
        self.count += len(batch.lengths)


def _side_by_side(lengths: Lengths) -> Batch:
    return Batch(lengths, -(-int(lengths.max()) // 8) * 8)


def _one_behind_the_other(datagrams: list[bytes]) -> tuple[Batch, memoryview]:
    lengths = np.fromiter(map(len, datagrams), np.uint32, len(datagrams))
    return Batch(lengths), memoryview(b"".join(datagrams))
