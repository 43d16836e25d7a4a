"""One thread that takes what comes off the sockets of a lab's taps, whatever the event loop is busy with meanwhile.

It sleeps while nothing comes. Once something came it looks only every few milliseconds: sockets and rings hold more
than that, and to be woken for each packet would cost more than to take it. To take little often is most of what a
record costs: what has much room is left alone for longer, while its room lasts.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Protocol

PACE, SLOW_PACE = 0.005, 0.02
"""Seconds from one look at the sockets to the next, and where all of them can be left alone for longer."""
PATIENCE = 0.02
"""Seconds for which a socket is left alone of which little comes, and which has room for many times more."""
_NICE = -10
"""The thread's nice value where it may have that (as root). It counts among the processes of one session or control
group (sched(7)): beside who sends there it would else get half a core, a slice at a time."""
_TURNS = 16
"""How often one socket is taken from before the next one's turn."""


class Source(Protocol):
    """What the thread takes from."""

    sock: socket.socket
    patience: float
    """Seconds for which it may be left alone, after what was taken last: `PACE` or more."""

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What can be polled: the socket, and what it may have beside it."""

    @property
    def awake(self) -> bool:
        """Whether it is to be looked at once more, whatever can be polled says."""

    def receive(self) -> bool:
        """Take what is there, without waiting; False if nothing of it is left."""

    def crowded(self) -> bool:
        """Whether it is to be taken from now, however long it may be left alone."""


@dataclass(slots=True, eq=False)
class _Turn:
    """A source, when it is to be taken from next, and whether it is no more to be."""

    source: Source
    due: float = 0.0
    gone: bool = False


class Reader:
    """The thread. `add` and `remove` sockets; `close` ends it."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._turns: dict[int, _Turn] = {}
        self._awake: set[_Turn] = set()
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll.register(self._bell, select.EPOLLIN)
        self._rest = threading.Event()
        self._pace = SLOW_PACE
        self._hurries = 0
        self._ended = False
        self._thread: threading.Thread | None = None

    def add(self, source: Source) -> None:
        """Take from this socket from now on."""
        self._pace = min(self._pace, source.patience)  # what has little room may begin to fill at any moment
        turn = _Turn(source)
        for descriptor in source.descriptors:
            self._turns[descriptor] = turn
            self._poll.register(descriptor, select.EPOLLIN)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="netemu-taps", daemon=True)
            self._thread.start()

    def remove(self, source: Source) -> None:
        """Take from it no more. A call to its `receive` may be under way still."""
        for descriptor in source.descriptors:
            turn = self._turns.pop(descriptor, None)
            if turn is not None:
                turn.gone = True
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
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)  # of a thread, in Linux: sched(7)
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
        """Take from each socket that has something and is due; seconds to the next look, 0 if one may have more."""
        ready = self._ready()
        rest, now = self._pace, time.monotonic()
        for turn, event in ready.items():
            source, turns = turn.source, 0
            if now < turn.due and not self._hurries and not source.crowded():
                rest = min(rest, source.patience)
                continue
            while turns < _TURNS and source.receive():
                turns += 1
            if not turns and event & select.EPOLLERR:
                _clear_error(source)
            (self._awake.add if source.awake else self._awake.discard)(turn)
            turn.due, rest = (now + source.patience, min(rest, source.patience)) if turns < _TURNS else (now, 0)
        return rest

    def _ready(self) -> dict[_Turn, int]:
        """Whom something came for, with what can be polled; who is awake is asked. Waits where nobody is."""
        self._awake = {turn for turn in self._awake if not turn.gone}
        found = dict.fromkeys(self._awake, 0)
        for descriptor, event in self._poll.poll(0 if self._awake else None):
            if (turn := self._turns.get(descriptor)) is not None:
                found[turn] = found.get(turn, 0) | event
        return found


def _clear_error(source: Source) -> None:
    """An interface that went down is told once, as an error; it would be told again and again until it is read."""
    try:
        source.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    except OSError as error:
        if error.errno != errno.EBADF:
            raise
