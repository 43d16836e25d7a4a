"""A scapy socket that lives in a namespace: for sniff, AsyncSniffer, sr1, sendp, fuzzers, and as a tap for few packets.

It hands frames over one by one; beyond a few thousand a second it drops, and counts what it dropped.
"""

from __future__ import annotations

import errno
import fcntl
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from typing import cast

from scapy.arch.linux import L2Socket
from scapy.packet import Packet

from netemu.errors import CaptureError
from netemu.kernel.spaces.namespace import NetworkNamespace
from netemu.kernel.taps.buffers import set_buffer
from netemu.kernel.taps.packet import ETH_P_ALL, MACS, SOL_PACKET, What, bind, dropped, unbound_socket
from netemu.kernel.taps.reader import PACE
from netemu.record.frames import Frames, RawFrame

BUFFER = 4 << 20
"""Bytes that wait in the socket for whoever reads it."""
_AUXDATA = 8
_SO_TIMESTAMPNS = 35
_SIOCGIFINDEX = 0x8933
_VLAN_VALID, _VLAN_TPID_VALID = 1 << 4, 1 << 6
_FRAME = 65536 + 32
_ANCILLARY = socket.CMSG_SPACE(16) + socket.CMSG_SPACE(20)


def _nobody(_frames: Frames) -> None:
    pass


class PacketSocket(L2Socket):  # type: ignore[misc]
    """scapy's L2Socket in a namespace, which sees what goes out there too; scapy's own opens in the caller's.

    `what.interface` 0 hears all interfaces, but then nothing can be sent.
    """

    def __init__(self, net: NetworkNamespace, what: What | None = None, name: str = "", buffer: int = BUFFER) -> None:
        what = what or What()
        self.iface, self.type, self.promisc = name or None, ETH_P_ALL, False
        self.sock = self.ins = unbound_socket(net, what)
        self.outs = self.ins if what.interface else None
        self.watched = b""
        self.found: Callable[[Frames], None] = _nobody
        self._frames: list[RawFrame] = []
        self._apart: tuple[bytes, ...] = ()
        self.patience = PACE
        self._lost = 0
        self._lock = threading.Lock()
        try:
            self.ins.setsockopt(SOL_PACKET, _AUXDATA, 1)
            self.ins.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            set_buffer(self.ins, buffer)
            bind(self.ins, what.interface)
        except OSError as error:
            self.ins.close()
            raise CaptureError(f"host {net.name}: no packet socket: {error.strerror}") from error
        self.auxdata_available = True
        self.lvl = 2

    @property
    def LL(self) -> type[Packet]:  # noqa: N802  scapy's name
        """The class that scapy dissects frames with."""
        from scapy.layers.l2 import Ether

        return cast(type[Packet], Ether)

    def recv_raw(self, x: int = _FRAME) -> tuple[type[Packet], bytes, float]:
        """The next frame for scapy: its class, its bytes, and when it was seen."""
        frame = self._next(x, 0)
        return self.LL, frame.data, frame.time_ns / 1e9

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What can be polled for frames."""
        return (self.ins.fileno(),)

    @property
    def awake(self) -> bool:
        """Never: it can be polled."""
        return False

    def receive(self) -> bool:
        """Take the frames that are there, some hundred at most; False if there was none."""
        with self._lock:
            return self._receive()

    def _receive(self) -> bool:
        if self.ins.fileno() < 0:
            return False
        for taken in range(512):
            try:
                frame = self._next(_FRAME, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return taken > 0
            except OSError as error:
                if error.errno != errno.ENETDOWN:
                    raise
                continue  # an interface went down: the socket says so once, and goes on
            self._frames.append(frame)
            if self.watched and self.watched in frame.data:
                self.found(Frames.of([frame]))
        return True

    def crowded(self) -> bool:
        """Never: it is not left alone for longer than others."""
        return False

    def drain(self) -> None:
        """Take all that came before this call."""
        while self.receive():
            pass

    def leave_out(self, strings: Sequence[bytes]) -> None:
        """Frames that have one of these behind their MACs, canaries all, are not to be among `frames`."""
        self._apart = tuple(strings)

    def frames(self) -> Frames:
        """All frames taken so far, but for those that are left out; from now on anew."""
        with self._lock:
            frames, self._frames = self._frames, []
        return Frames.of(frame for frame in frames if not frame.data[MACS:].startswith(self._apart))

    def lost(self) -> int:
        """How many frames the socket dropped since `forget`."""
        self._lost += dropped(self.ins) if self.ins.fileno() >= 0 else 0
        return self._lost

    def forget(self) -> None:
        """Begin anew: nothing taken, nothing lost."""
        self.drain()
        self.lost()
        self._frames, self._lost = [], 0

    def _next(self, size: int, flags: int) -> RawFrame:
        data, ancillary, _, (name, _, kind, *_) = self.ins.recvmsg(size, _ANCILLARY, flags)
        time_ns, length = 0, len(data)
        for level, what, value in ancillary:
            if level == socket.SOL_SOCKET and what == _SO_TIMESTAMPNS:
                seconds, nanoseconds = struct.unpack("=qq", value)
                time_ns = seconds * 1_000_000_000 + nanoseconds
            elif level == SOL_PACKET and what == _AUXDATA:
                status, length, _, _, _, tci, tpid = struct.unpack("=IIIHHHH", value)
                if status & _VLAN_VALID:
                    tag = struct.pack("!HH", tpid if status & _VLAN_TPID_VALID else 0x8100, tci)
                    data, length = data[:MACS] + tag + data[MACS:], length + len(tag)
        return RawFrame(time_ns, self._index(name), kind, data, length)

    def _index(self, name: str) -> int:
        """An interface's number in the socket's namespace; 0 if it is gone already."""
        try:
            answer = fcntl.ioctl(self.ins, _SIOCGIFINDEX, struct.pack("16si20x", name.encode(), 0))
        except OSError:
            return 0
        return int(struct.unpack_from("16si", answer)[1])
