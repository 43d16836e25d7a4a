"""How much a socket may hold before it drops."""

from __future__ import annotations

import socket

_SO_RCVBUFFORCE = 33


def set_buffer(sock: socket.socket, size: int) -> None:
    """Let a socket hold `size` bytes; without root of the machine, no more than net.core.rmem_max."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, size)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
