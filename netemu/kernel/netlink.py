"""Raw nfnetlink sockets: datagrams are only stored while traffic runs, and understood afterwards."""

from __future__ import annotations

import errno
import socket
import struct

from netemu.errors import CaptureError
from netemu.kernel.namespace import NetworkNamespace
from netemu.kernel.reader import SO_MEMINFO, SocketReader

NETLINK_NETFILTER = 12
_SOL_NETLINK = 270
_ADD_MEMBERSHIP = 1
_MEMINFO_DROPS = 8
_DATAGRAM = 65536


def netfilter_socket(net: NetworkNamespace) -> socket.socket:
    """A NETLINK_NETFILTER socket that lives in `net`."""
    with net.entered():
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
    sock.bind((0, 0))
    return sock


class GroupReader(SocketReader):
    """Stores the datagrams of multicast groups, in the order in which they came."""

    def __init__(self, net: NetworkNamespace, groups: tuple[int, ...], buffer: int) -> None:
        super().__init__(netfilter_socket(net), buffer)
        self.datagrams: list[bytes] = []
        self._lost_before = 0
        try:
            for group in groups:
                self.sock.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
        except OSError as error:
            self.sock.close()
            raise CaptureError(f"host {net.name}: the kernel has no netfilter events: {error.strerror}") from error

    def take(self, datagram: bytes) -> None:
        """Keep one datagram."""
        self.datagrams.append(datagram)

    def lost(self) -> int:
        """How many messages the socket dropped since the last `forget`, as the kernel counts them (SO_MEMINFO)."""
        return self._dropped() - self._lost_before

    def forget(self) -> None:
        """Begin anew: nothing stored, nothing lost."""
        self.drain()
        self.datagrams = []
        self._lost_before = self._dropped()

    def _dropped(self) -> int:
        words = struct.unpack("9I", self.sock.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 36))
        return int(words[_MEMINFO_DROPS])

    def _receive(self) -> bool:
        try:
            self.take(self.sock.recv(_DATAGRAM))
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
        return True
