"""Packet sockets (AF_PACKET): made in a namespace, set up, and bound only then; and what all taps of a wire can do."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from netemu.errors import CaptureError, UsageError
from netemu.kernel.spaces.namespace import NetworkNamespace
from netemu.kernel.taps.filters import LONGEST, Filter, attach, compiled
from netemu.record.frames import Frames

SOL_PACKET = 263
ETH_P_ALL = 0x0003
CANARY = 0x88B5
"""The ethertype of canaries: IEEE 802's for local experiments, which no stack answers."""
MACS = 12
"""Bytes of a frame before its ethertype: destination and source."""
SHORTEST_SNAP = 64
"""Canaries have to be recognised whatever is cut off."""
_INSTRUCTION = struct.Struct("=HBBI")
_NO_CANARIES = b"".join(
    _INSTRUCTION.pack(*each)
    for each in ((0x28, 0, 0, MACS), (0x15, 0, 1, CANARY), (0x06, 0, 0, 0), (0x06, 0, 0, LONGEST))
)
"""Load the ethertype, and take nothing if it is theirs (linux/filter.h)."""
_AF_PACKET = 17
_STATISTICS = 6


@dataclass(frozen=True, slots=True)
class What:
    """What a tap takes: which frames, and how much of each.

    Those of one interface by its number (0: of all), those that `filter` (pcap's language; empty for all) takes, and
    of each the first `snap_length` bytes. `canaries` come too, whatever the filter says, or don't.
    """

    interface: int = 0
    filter: str = ""
    snap_length: int = LONGEST
    canaries: bool = True

    @property
    def program(self) -> Filter:
        """The filter for the kernel; empty where everything is taken. Raises UsageError if it is none."""
        if not self.filter and self.snap_length >= LONGEST:
            return b"" if self.canaries else _NO_CANARIES
        text = f"({self.filter})" if self.filter else "greater 0"
        if self.filter:
            compiled(self.filter)  # what is wrong with it is said of what was written
        return compiled(f"{text} {'or' if self.canaries else 'and not'} ether proto {CANARY:#x}", self.snap_length)


class FrameSource(Protocol):
    """A socket that frames come from.

    While `watched` is set, frames that hold it are told to `found` as they are taken, perhaps among others.
    """

    sock: socket.socket
    watched: bytes
    found: Callable[[Frames], None]
    patience: float
    """Seconds for which it may be left alone (reader.py)."""

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What can be polled for frames."""

    @property
    def awake(self) -> bool:
        """Whether it is to be looked at once more, whatever can be polled says (reader.py)."""

    def receive(self) -> bool:
        """Take what is there; False if nothing of it is left. Does not wait."""

    def crowded(self) -> bool:
        """Whether it is to be taken from now, however long it may be left alone."""

    def drain(self) -> None:
        """Take all that came before this call; waits for the kernel to hand it over."""

    def leave_out(self, strings: Sequence[bytes]) -> None:
        """Frames that have one of these behind their MACs, canaries all, are not to be among `frames`."""

    def frames(self) -> Frames:
        """All frames taken so far, but for those that are left out; from now on anew."""

    def lost(self) -> int:
        """How many frames were dropped or could not be kept since `forget`."""

    def forget(self) -> None:
        """Begin anew: nothing taken, nothing lost."""

    def close(self) -> None:
        """Close the socket; once is enough, twice does no harm."""


def unbound_socket(net: NetworkNamespace, what: What) -> socket.socket:
    """A packet socket in `net` that is given nothing yet, its filter in place. Raises CaptureError, UsageError."""
    if what.snap_length < SHORTEST_SNAP:
        raise UsageError(f"a snap length of {what.snap_length} is too short: a tap's own canaries need {SHORTEST_SNAP}")
    program = what.program
    try:
        with net.entered():
            sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        if program:
            attach(sock, program)
    except OSError as error:
        raise CaptureError(f"host {net.name}: no packet socket: {error.strerror}") from error
    return sock


def bind(sock: socket.socket, interface: int = 0) -> None:
    """Let the socket have the frames of one interface, by its number, or of all. Raises OSError.

    Python's own `bind` takes a name, and none for all interfaces.
    """
    address = struct.pack("=HHiHBB8x", _AF_PACKET, socket.htons(ETH_P_ALL), interface, 0, 0, 0)
    _call("bind", sock.fileno(), address, len(address))


def set_option(sock: socket.socket, option: int, value: bytes) -> None:
    """Set an option of the packet level, letting other threads run meanwhile: Python's own call does not.

    Giving a socket a ring waits for an RCU grace period. Raises OSError.
    """
    _call("setsockopt", sock.fileno(), SOL_PACKET, option, value, len(value))


def dropped(sock: socket.socket) -> int:
    """How many frames the kernel dropped since the last call: its count starts anew with each look."""
    return int(struct.unpack_from("=II", sock.getsockopt(SOL_PACKET, _STATISTICS, 12))[1])


def _call(name: str, *arguments: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
