"""One thread that takes what comes off the sockets of a lab's taps, whatever the event loop is busy with meanwhile.

It sleeps while nothing comes. Once something came it looks only every few milliseconds: sockets and rings hold more
than that, and to be woken for each packet would cost more than to take it. How many milliseconds depends on how much
came: of little, many wake-ups are most of what a record costs.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

PACE = 0.005
"""Seconds from one look at the sockets to the next where much comes, or where there is little room."""
PATIENCE = 0.02
"""The same where little comes, and there is room for many times more."""
_TURNS = 16
"""How often one socket is taken from before the next one's turn."""


class Source(Protocol):
    """What the thread takes from."""

    sock: socket.socket
    patience: float
    """Seconds for which it may be left alone, after what was taken last: from `PACE` to `PATIENCE`."""

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What can be polled: the socket, and what it may have beside it."""

    def receive(self) -> bool:
        """Take what is there, without waiting; False if nothing of it is left."""


class Reader:
    """The thread. `add` and `remove` sockets; `close` ends it."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._sources: dict[int, Source] = {}
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll.register(self._bell, select.EPOLLIN)
        self._rest = threading.Event()
        self._patience = PATIENCE
        self._hurries = 0
        self._ended = False
        self._thread: threading.Thread | None = None

    def add(self, source: Source) -> None:
        """Take from this socket from now on."""
        self._patience = min(self._patience, source.patience)
        for descriptor in source.descriptors:
            self._sources[descriptor] = source
            self._poll.register(descriptor, select.EPOLLIN)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="netemu-taps", daemon=True)
            self._thread.start()

    def remove(self, source: Source) -> None:
        """Take from it no more. A call to its `receive` may be under way still."""
        for descriptor in source.descriptors:
            if self._sources.pop(descriptor, None) is not None:
                self._poll.unregister(descriptor)

    @contextmanager
    def hurried(self) -> Iterator[None]:
        """While somebody waits for something to be seen, the thread does not rest."""
        self._hurries += 1
        self._rest.set()
        try:
            yield
        finally:
            self._hurries -= 1

    def close(self) -> None:
        """End the thread; once is enough, twice does no harm."""
        if self._bell < 0:
            return
        self._ended = True
        self._rest.set()
        os.eventfd_write(self._bell, 1)
        if self._thread is not None:
            self._thread.join()
        self._poll.close()
        os.close(self._bell)
        self._bell = -1

    def _run(self) -> None:
        while not self._ended:
            try:
                rest = self._take()
            except MemoryError:
                rest = PACE  # a socket counts what it has no room for while nobody takes from it
                self._rest.wait(PACE)
            if rest and not self._hurries:
                self._rest.wait(rest)
                self._rest.clear()

    def _take(self) -> float:
        """Take from each socket that has something; for how long all may be left alone: 0 if one may have more."""
        rest = self._patience
        for descriptor, event in self._poll.poll():
            source = self._sources.get(descriptor)
            if source is None:
                continue
            turns = 0
            while turns < _TURNS and source.receive():
                turns += 1
            if not turns and event & select.EPOLLERR:
                _clear_error(source)
            rest = min(rest, source.patience if turns < _TURNS else 0)
        return rest


def _clear_error(source: Source) -> None:
    """An interface that went down is told once, as an error; it would be told again and again until it is read."""
    try:
        source.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    except OSError as error:
        if error.errno != errno.EBADF:
            raise
