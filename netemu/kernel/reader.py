"""Reading a socket to the end of what it holds, from the event loop."""

from __future__ import annotations

import asyncio
import socket
from abc import ABC, abstractmethod

SO_RCVBUFFORCE = 33
SO_MEMINFO = 55
MOST_AT_ONCE = 512
"""How many datagrams one turn of the event loop takes off a socket, so that one busy tap starves nobody."""


def set_buffer(sock: socket.socket, size: int) -> None:
    """Let a socket hold `size` bytes; without root of the machine, no more than net.core.rmem_max."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, size)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)


class SocketReader(ABC):
    """Takes datagrams off a socket whenever there are some; `drain` takes all there are."""

    def __init__(self, sock: socket.socket, buffer: int) -> None:
        self.sock = sock
        sock.setblocking(False)
        set_buffer(sock, buffer)

    def start(self) -> None:
        """Read from now on, on the running event loop."""
        asyncio.get_running_loop().add_reader(self.sock, self._readable)

    def drain(self) -> None:
        """Take everything that the socket holds at this moment."""
        while self._receive():
            pass

    def stop(self) -> None:
        """Read no more."""
        if self.sock.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self.sock)

    def close(self) -> None:
        """Close, after `stop`; from any thread. Once is enough, twice does no harm."""
        self.sock.close()

    def _readable(self) -> None:
        for _ in range(MOST_AT_ONCE):
            if not self._receive():
                return

    @abstractmethod
    def _receive(self) -> bool:
        """Take one datagram; False if there is none."""
