"""Wire taps: every frame of a host's interfaces, in and out, and the canaries that prove a tap to see.

A tap is bound to no interface: such a socket is there before an interface comes up, and misses none of its packets.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

from netemu.errors import CaptureError
from netemu.kernel.spaces.descriptors import moved
from netemu.kernel.spaces.namespace import NetworkNamespace
from netemu.kernel.taps.packet import CANARY, FrameSource
from netemu.kernel.taps.proof import Proof
from netemu.record.capture import OUTGOING
from netemu.record.frames import Frames

_ETHERTYPE = CANARY.to_bytes(2, "big")
_LINK_LOCAL_GROUP = bytes.fromhex("0180c200000e")
"""A destination that no bridge passes on (IEEE 802.1D, reserved addresses)."""
_EVERYBODY = b"\xff" * 6


def send_canary(sock: socket.socket, nonce: bytes, interface: str, everybody: bool = False) -> None:
    """Send a canary from a packet socket: to the other end of an interface's wire, or to everybody on its segment."""
    destination = _EVERYBODY if everybody else _LINK_LOCAL_GROUP
    source = b"\x02" + nonce[:5]
    try:
        sock.sendto(destination + source + _ETHERTYPE + nonce.ljust(46, b"\0"), (interface, 0))
    except OSError as error:
        raise CaptureError(f"interface {interface}: no canary can be sent: {error.strerror}") from error


def sending_socket(net: NetworkNamespace) -> socket.socket:
    """A packet socket that only sends."""
    with net.entered():
        return moved(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))


def new_nonce() -> bytes:
    """Sixteen bytes that no other canary has."""
    return os.urandom(16)


class WireTap:
    """Keeps every frame of one host's interfaces, and knows its own canaries."""

    def __init__(self, source: FrameSource) -> None:
        self.source = source
        self._nonce = b""
        self._nonces: list[bytes] = []
        self._missing: set[tuple[int, bool]] = set()
        self._names: Mapping[int, str] = {}
        self._proof = Proof()

    def expect_canaries(self, nonce: bytes, interfaces: Mapping[int, str]) -> None:
        """From now on, canaries with `nonce` are looked out for: one out of and one into each of these interfaces."""
        self._nonce = nonce
        self._nonces.append(nonce)
        self.source.leave_out([_ETHERTYPE + each for each in self._nonces])
        self._names = interfaces
        self._missing = {(index, outgoing) for index in interfaces for outgoing in (True, False)}
        self._proof.begin()
        self.source.found = self._canaries
        self.source.watched = nonce
        if not self._missing:
            self._proof.seen()

    def give_up(self) -> None:
        """There will be a canary that is never seen: `proven` does not return for this nonce."""
        self._missing.add((0, True))

    async def proven(self) -> None:
        """Return once every canary was seen."""
        await self._proof.wait()

    @property
    def missing(self) -> list[str]:
        """The points at which no canary has been seen yet."""
        return sorted(
            f"{self._names.get(index, index)} {'out' if outgoing else 'in'}" for index, outgoing in list(self._missing)
        )

    def drain(self) -> None:
        """Take everything that came before this call."""
        self.source.drain()

    def frames(self) -> Frames:
        """All frames since the last call or `forget`, without canaries."""
        return self.source.frames()

    def lost(self) -> int:
        """How many frames were lost since the last `forget`."""
        return self.source.lost()

    def forget(self) -> None:
        """Begin anew: nothing kept, nothing lost."""
        self.source.forget()
        self._nonces = []

    def close(self) -> None:
        """Close; once is enough, twice does no harm."""
        self.source.close()

    def _canaries(self, frames: Frames) -> None:
        """Frames, some of which hold the watched nonce: in the thread that took them."""
        for frame in frames:
            if frame.data[12:14] == _ETHERTYPE and frame.data[14:30] == self._nonce:
                self._missing.discard((frame.interface, frame.kind == OUTGOING))
        if not self._missing:
            self.source.watched = b""
            self._proof.seen()
