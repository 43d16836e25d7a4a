"""Messages between a lab and its process 1: a value as bytes, with descriptors beside it.

As `marshal` has it, not as JSON, whose import takes half as long as starting Python: both sides are the same Python.
Of sockets there is the C part alone, for the same reason.
"""

from __future__ import annotations

import _socket
import marshal
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_LONGEST = 1 << 18
_MOST_DESCRIPTORS = 8
_FD = 4
"""Bytes of a descriptor's number."""


def pack(message: dict[str, Any]) -> bytes:
    """A message as bytes: of numbers, texts, lists, None and the like."""
    return marshal.dumps(message)


def unpack(data: bytes) -> dict[str, Any]:
    """The message again."""
    message: dict[str, Any] = marshal.loads(data)  # noqa: S302  of this same program
    return message


def send(sock: _socket.socket, data: bytes, fds: Sequence[int] = ()) -> None:
    """Send bytes, and descriptors, which stay the caller's."""
    rights = b"".join(fd.to_bytes(_FD, sys.byteorder) for fd in fds)
    sock.sendmsg([data], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)] if fds else [])


def receive(sock: _socket.socket) -> tuple[bytes, list[int]]:
    """Bytes and descriptors that came, which the programs that are started here do not get."""
    data, ancillary, _, _ = sock.recvmsg(_LONGEST, _socket.CMSG_LEN(_MOST_DESCRIPTORS * _FD))
    fds = []
    for level, kind, rights in ancillary:
        if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS):
            fds += [int.from_bytes(rights[at : at + _FD], sys.byteorder) for at in range(0, len(rights), _FD)]
    for fd in fds:
        os.set_inheritable(fd, False)
    return data, fds


def failure(error: BaseException, doing: str) -> bytes:
    """What is told of something that went wrong."""
    number = error.errno if isinstance(error, OSError) else None
    why = (error.strerror if isinstance(error, OSError) else str(error)) or type(error).__name__
    return pack({"error": why, "doing": doing, "errno": number})
