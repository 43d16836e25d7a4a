"""Wire taps: one scapy packet socket a namespace, which sees every interface there, in and out.

It is bound to no interface: such a socket is there before an interface comes up, and misses none of its packets.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Mapping
from typing import cast

from scapy.arch.linux import L2ListenSocket
from scapy.packet import Packet

from netemu.errors import CaptureError
from netemu.kernel.namespace import NetworkNamespace
from netemu.kernel.reader import SocketReader
from netemu.record.capture import OUTGOING
from netemu.record.frames import RawFrame

ETH_P_ALL = 0x0003
CANARY = b"\x88\xb5"
"""The ethertype of canaries: IEEE 802's for local experiments, which no stack answers."""
_LINK_LOCAL_GROUP = bytes.fromhex("0180c200000e")
"""A destination that no bridge passes on (IEEE 802.1D, reserved addresses)."""
_EVERYBODY = b"\xff" * 6

_SOL_PACKET = 263
_PACKET_STATISTICS = 6
_SIOCGIFINDEX = 0x8933
_PACKET_AUXDATA = 8
_SO_TIMESTAMPNS = 35
_VLAN_VALID, _VLAN_TPID_VALID = 1 << 4, 1 << 6
_FRAME = 65536 + 32
_ANCILLARY = socket.CMSG_SPACE(16) + socket.CMSG_SPACE(20)


class PacketSocket(L2ListenSocket):  # type: ignore[misc]
    """A scapy listening socket on all interfaces of a namespace; scapy's own binds to a single one."""

    def __init__(self, net: NetworkNamespace) -> None:
        self.iface, self.type, self.promisc, self.outs = None, ETH_P_ALL, False, None
        with net.entered():
            self.ins = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self.ins.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
        self.ins.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self.auxdata_available = True

    @property
    def LL(self) -> type[Packet]:  # noqa: N802  scapy's name
        """The class that scapy dissects frames with."""
        from scapy.layers.l2 import Ether

        return cast(type[Packet], Ether)

    def receive(self) -> RawFrame:
        """The next frame, with its interface, packet type and time to the nanosecond. BlockingIOError if none."""
        data, ancillary, _, (name, _, kind, *_) = self.ins.recvmsg(_FRAME, _ANCILLARY)
        time_ns = 0
        for level, what, value in ancillary:
            if level == socket.SOL_SOCKET and what == _SO_TIMESTAMPNS:
                seconds, nanoseconds = struct.unpack("=qq", value)
                time_ns = seconds * 1_000_000_000 + nanoseconds
            elif level == _SOL_PACKET and what == _PACKET_AUXDATA:
                status, _, _, _, _, tci, tpid = struct.unpack("=IIIHHHH", value)
                if status & _VLAN_VALID:
                    tag = struct.pack("!HH", tpid if status & _VLAN_TPID_VALID else 0x8100, tci)
                    data = data[:12] + tag + data[12:]
        return RawFrame(time_ns, self._index(name), kind, data)

    def _index(self, name: str) -> int:
        """An interface's number in the socket's namespace; 0 if it is gone already."""
        try:
            answer = fcntl.ioctl(self.ins, _SIOCGIFINDEX, struct.pack("16si20x", name.encode(), 0))
        except OSError:
            return 0
        return int(struct.unpack_from("16si", answer)[1])


def send_canary(sock: socket.socket, nonce: bytes, interface: str, everybody: bool = False) -> None:
    """Send a canary from a packet socket: to the other end of an interface's wire, or to everybody on its segment."""
    destination = _EVERYBODY if everybody else _LINK_LOCAL_GROUP
    source = b"\x02" + nonce[:5]
    try:
        sock.sendto(destination + source + CANARY + nonce.ljust(46, b"\0"), (interface, 0))
    except OSError as error:
        raise CaptureError(f"interface {interface}: no canary can be sent: {error.strerror}") from error


def sending_socket(net: NetworkNamespace) -> socket.socket:
    """A packet socket that only sends."""
    with net.entered():
        return socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)


class WireTap(SocketReader):
    """Stores every frame of one host's interfaces, and knows its own canaries."""

    def __init__(self, net: NetworkNamespace, buffer: int) -> None:
        try:
            self.packets = PacketSocket(net)
        except OSError as error:
            raise CaptureError(f"host {net.name}: no packet socket: {error.strerror}") from error
        try:
            super().__init__(self.packets.ins, buffer)
        except OSError as error:
            self.packets.ins.close()
            raise CaptureError(f"host {net.name}: no packet socket: {error.strerror}") from error
        self.frames: list[RawFrame] = []
        self._nonce = b""
        self._nonces: set[bytes] = set()
        self._missing: set[tuple[int, bool]] = set()
        self._names: Mapping[int, str] = {}
        self._proven = asyncio.Event()
        self._dropped = 0

    def expect_canaries(self, nonce: bytes, interfaces: Mapping[int, str]) -> None:
        """From now on, canaries with `nonce` are looked out for: one out of and one into each of these interfaces."""
        self._nonce = nonce
        self._nonces.add(nonce)
        self._names = interfaces
        self._missing = {(index, outgoing) for index in interfaces for outgoing in (True, False)}
        self._proven.clear()
        if not self._missing:
            self._proven.set()

    def give_up(self) -> None:
        """There will be a canary that is never seen: `proven` does not return for this nonce."""
        self._missing.add((0, True))
        self._proven.clear()

    async def proven(self) -> None:
        """Return once every canary was seen."""
        await self._proven.wait()

    @property
    def missing(self) -> list[str]:
        """The points at which no canary has been seen yet."""
        return sorted(
            f"{self._names.get(index, index)} {'out' if outgoing else 'in'}" for index, outgoing in self._missing
        )

    def lost(self) -> int:
        """How many frames the socket dropped since the last `forget`, as the kernel counts them."""
        _, dropped = struct.unpack("II", self.sock.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))
        self._dropped += dropped  # the kernel's count starts anew with each look
        return self._dropped

    def forget(self) -> None:
        """Begin anew: nothing stored, nothing lost."""
        self.drain()
        self.lost()
        self.frames = []
        self._dropped = 0

    def _receive(self) -> bool:
        try:
            frame = self.packets.receive()
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno != errno.ENETDOWN:
                raise
            return True  # an interface went down: the socket says so once, and goes on
        if frame.data[12:14] == CANARY and frame.data[14:30] in self._nonces:
            self._canary(frame)
        else:
            self.frames.append(frame)
        return True

    def _canary(self, frame: RawFrame) -> None:
        if frame.data[14:30] != self._nonce:
            return  # a late one of an earlier proof
        self._missing.discard((frame.interface, frame.kind == OUTGOING))
        if not self._missing:
            self._proven.set()


def new_nonce() -> bytes:
    """Sixteen bytes that no other canary has."""
    return os.urandom(16)
