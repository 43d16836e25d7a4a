"""Raw nfnetlink sockets: datagrams are only stored while traffic runs, and understood afterwards.

They are taken many at a time (recvmmsg): one by one, the calls from Python would cost as much again as the kernel's
work (docs/performance.md).
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
import threading

import numpy as np

from netemu.errors import CaptureError
from netemu.kernel.buffers import set_buffer
from netemu.kernel.namespace import NetworkNamespace
from netemu.kernel.store import Room, Store
from netemu.record.frames import Datagrams, offsets

NETLINK_NETFILTER = 12
_SOL_NETLINK = 270
_ADD_MEMBERSHIP = 1
_SO_MEMINFO, _MEMINFO_DROPS = 55, 8
_AT_ONCE, _SLOT = 512, 2048
"""How many datagrams one call takes, and the longest that events have: names in them are at most 128 bytes."""
_SLOT_WORDS = 16
"""struct mmsghdr in words of 4 bytes."""


class _Slots(threading.local):
    """Where a thread's calls of recvmmsg put what they take, and the structures that say so."""

    def __init__(self) -> None:
        self.bytes = np.empty(_AT_ONCE * _SLOT, np.uint8)
        self._vectors = np.empty((_AT_ONCE, 2), np.uint64)
        self._vectors[:, 0] = self.bytes.ctypes.data + np.arange(_AT_ONCE, dtype=np.uint64) * _SLOT
        self._vectors[:, 1] = _SLOT
        self.headers = np.zeros((_AT_ONCE, _SLOT_WORDS), np.uint32)
        wide = self.headers.view(np.uint64)
        wide[:, 2] = self._vectors.ctypes.data + np.arange(_AT_ONCE, dtype=np.uint64) * 16
        wide[:, 3] = 1
        self.recvmmsg = ctypes.CDLL(None, use_errno=True).recvmmsg
        self.recvmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)

    def fill(self, sock: socket.socket) -> int:
        """Take datagrams: how many, 0 if there is none. Raises OSError."""
        taken = self.recvmmsg(sock.fileno(), self.headers.ctypes.data, _AT_ONCE, socket.MSG_DONTWAIT, None)
        if taken >= 0:
            return int(taken)
        error = ctypes.get_errno()
        if error == errno.EAGAIN:
            return 0
        raise OSError(error, os.strerror(error))

    def lengths(self, taken: int) -> np.ndarray[tuple[int], np.dtype[np.uint32]]:
        """Each datagram's length."""
        return self.headers[:taken, 14].copy()

    def truncated(self, taken: int) -> int:
        """How many were longer than a slot."""
        return int(np.count_nonzero(self.headers[:taken, 12] & socket.MSG_TRUNC))


_SLOTS = _Slots()


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
        self._lengths: list[np.ndarray[tuple[int], np.dtype[np.uint32]]] = []
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
            slabs, lengths = self._store.take(), self._lengths
            self._lengths, self.count = [], 0
        if not slabs:
            return Datagrams.of()
        offset = offsets(np.concatenate(lengths))
        if len(slabs) == 1:
            return Datagrams(slabs[0], offset)
        return Datagrams(np.concatenate(slabs, out=self._room.array(int(offset[-1]))), offset)

    def lost(self) -> int:
        """How many messages were dropped since the last `forget`, as the kernel counts them, or could not be kept."""
        return self._dropped() - self._lost_before + self._not_kept

    def forget(self) -> None:
        """Begin anew: nothing stored, nothing lost."""
        self.drain()
        with self._lock:
            self._store.clear()
            self._lengths, self.count, self._not_kept = [], 0, 0
            self._lost_before = self._dropped()

    def close(self) -> None:
        """Close the socket; once is enough, twice does no harm."""
        with self._lock:
            self.sock.close()

    def wanted(self, datagrams: list[memoryview]) -> list[memoryview]:
        """Those that are to be kept: all."""
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
        lengths, whole = _SLOTS.lengths(taken), memoryview(_SLOTS.bytes.data)
        starts = range(0, taken * _SLOT, _SLOT)
        each = [whole[start : start + length] for start, length in zip(starts, lengths.tolist(), strict=True)]
        kept = self.wanted(each)
        if len(kept) < taken:
            lengths = np.fromiter(map(len, kept), np.uint32, len(kept))
        self._store.put(memoryview(b"".join(kept)))
        self._lengths.append(lengths)
        self.count += len(kept)
