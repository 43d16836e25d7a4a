"""Raw nfnetlink sockets: datagrams are only stored while traffic runs, and understood afterwards.

They are taken many at a time (recvmmsg): one by one, the calls from Python would cost as much again as the kernel's
work (docs/performance.md).
"""

from __future__ import annotations

import errno
import socket
import struct
import threading

import numpy as np

from netemu.errors import CaptureError
from netemu.kernel.buffers import set_buffer
from netemu.kernel.namespace import NetworkNamespace
from netemu.kernel.slots import NARROW, Lengths, Slots, packed
from netemu.kernel.store import Room, Store
from netemu.record.frames import Datagrams

NETLINK_NETFILTER = 12
_SOL_NETLINK = 270
_ADD_MEMBERSHIP = 1
_SO_MEMINFO, _MEMINFO_DROPS = 55, 8
_SLOTS = Slots()


def netfilter_socket(net: NetworkNamespace) -> socket.socket:
    """A NETLINK_NETFILTER socket that lives in `net`."""
    with net.entered():
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
    sock.bind((0, 0))
    return sock


class GroupReader:
    """Stores the datagrams of multicast groups, in the order in which they came. For any thread."""

    def __init__(self, net: NetworkNamespace, groups: tuple[int, ...], buffer: int, room: Room | None = None) -> None:
        self._room = room or Room()
        self._store = Store(self._room)
        self._batches: list[tuple[Lengths, bool]] = []
        self._lock = threading.Lock()
        self._lost_before = 0
        self._not_kept = 0
        self.count = 0
        self.sock = netfilter_socket(net)
        try:
            set_buffer(self.sock, buffer)
            for group in groups:
                self.sock.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
        except OSError as error:
            self.sock.close()
            raise CaptureError(f"host {net.name}: the kernel has no netfilter events: {error.strerror}") from error

    def receive(self) -> bool:
        """Take some hundred datagrams; False if there was none."""
        with self._lock:
            return self._receive()

    def drain(self) -> None:
        """Take everything that the socket holds at this moment."""
        while self.receive():
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
        try:
            taken = _SLOTS.fill(self.sock)
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            return True  # some were dropped: the kernel counts them
        if not taken:
            return False
        self._not_kept += _SLOTS.truncated(taken)
        try:
            self._keep(taken)
        except (OSError, MemoryError):
            self._not_kept += taken  # the disk is full, or so is memory
        return True

    def _keep(self, taken: int) -> None:
        lengths = _SLOTS.lengths(taken)
        narrow = not self.picks and int(lengths.max()) <= NARROW
        if narrow:
            data = _SLOTS.side_by_side(taken)
        else:
            kept = self.wanted(_SLOTS.each(lengths.tolist()))
            lengths = np.fromiter(map(len, kept), np.uint32, len(kept))
            data = memoryview(b"".join(kept))
        self._store.put(data)
        self._batches.append((lengths, narrow))
        self.count += len(lengths)
