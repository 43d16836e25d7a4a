"""Messages to a lab's process 1 and back, on the event loop: mappings with descriptors beside them, over a socket pair.

Nothing waits for process 1 but who asked it: what its socket does not take at once is sent later, in order.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from netemu.kernel.init.message import pack, receive, send, unpack
from netemu.kernel.processes.memory import memory_file

Message = dict[str, Any]
Accept = Callable[[Message, list[int], bool], Any]
"""Takes an answer as it comes, its descriptors, and whether the asker is still there; gives what `ask` returns."""

_LONGEST = 1 << 16


class Dialogue:
    """One end of the socket pair. `unasked` is given messages that answer nothing, `lost` is called once at the end."""

    def __init__(self, sock: socket.socket, unasked: Callable[[Message], None], lost: Callable[[], None]) -> None:
        self.sock = sock
        sock.setblocking(False)
        self.unasked = unasked
        self.lost = lost
        self._waiting: dict[int, tuple[asyncio.Future[Any], Accept]] = {}
        self._unsent: deque[tuple[bytes, list[int]]] = deque()
        self._last = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    def say(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        """Send a message; its descriptors stay the caller's. One that can't arrive any more is forgotten."""
        data, fds = pack(message), [os.dup(fd) for fd in descriptors]
        if len(data) > _LONGEST:
            with memory_file(data) as file:
                fds.insert(0, os.dup(file.fileno()))
            data = pack({"long": True})
        self._unsent.append((data, fds))
        self._send()

    async def ask(self, message: Message, descriptors: Sequence[int], accept: Accept) -> Any:
        """Send a request; what `accept` makes of its answer. Raises ConnectionError if process 1 has ended."""
        self._listen()
        self._last += 1
        asked = asyncio.get_running_loop().create_future()
        self._waiting[self._last] = (asked, accept)
        self.say({**message, "id": self._last}, descriptors)
        return await asked

    @property
    def is_closed(self) -> bool:
        """Whether nothing is said any more, by either side."""
        return self.sock.fileno() < 0

    def close(self) -> None:
        """Say no more: for process 1 the lab is gone then. Once is enough, twice does no harm."""
        if self.sock.fileno() < 0:
            return
        if self._loop is not None:
            self._loop.remove_reader(self.sock)
            self._loop.remove_writer(self.sock)
        self.sock.close()
        for _, fds in self._unsent:
            _close(fds)
        self._unsent.clear()
        for asked, _ in self._waiting.values():
            if not asked.done():
                asked.set_exception(ConnectionResetError("process 1 has ended"))
        self._waiting = {}
        self.lost()

    def _listen(self) -> None:
        if self.sock.fileno() < 0:
            raise ConnectionResetError("process 1 has ended")
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._loop.add_reader(self.sock, self._receive)

    def _send(self) -> None:
        while self._unsent:
            data, fds = self._unsent[0]
            try:
                send(self.sock, data, fds)
            except BlockingIOError:
                self._listen()
                assert self._loop is not None
                self._loop.add_writer(self.sock, self._send)
                return
            except OSError:
                pass  # process 1 has ended: its end of file is read, and told to whoever waits
            self._unsent.popleft()
            _close(fds)
        if self._loop is not None and self.sock.fileno() >= 0:
            self._loop.remove_writer(self.sock)

    def _receive(self) -> None:
        while self.sock.fileno() >= 0:
            try:
                data, fds = receive(self.sock)
            except BlockingIOError:
                return
            except ConnectionError:
                data, fds = b"", []
            if not data:
                self.close()
                return
            self._take(unpack(data), fds)

    def _take(self, message: Message, fds: list[int]) -> None:
        if "id" not in message:
            self.unasked(message)
            return
        asked, accept = self._waiting.pop(message["id"])
        wanted = not asked.done()
        try:
            result = accept(message, fds, wanted)
        except Exception as error:  # noqa: BLE001  it is the asker's
            if wanted:
                asked.set_exception(error)
        else:
            if wanted:
                asked.set_result(result)


def _close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
