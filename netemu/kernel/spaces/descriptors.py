"""Descriptors' numbers: the low ones are for those that take no others.

libnftables asks select(2) for its socket, whose sets have room for FD_SETSIZE numbers: beyond that the C library ends
the process. So what a large lab holds for long is moved beyond them, where this process may have such numbers.
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

FD_SETSIZE = 1024
"""Numbers that select(2) takes (bits/typesizes.h)."""


FEW = 128
"""Below this number nothing is moved: a larger table of descriptors takes the kernel an RCU grace period, which is as
long as a small lab takes to come up (expand_fdtable in fs/file.c)."""


def out_of_the_way(descriptor: int) -> int:
    """Move a descriptor beyond the low numbers; its new number, or its old one where it is one of the first few.

    So too where there is no room for it there.
    """
    if descriptor < FEW:
        return descriptor
    try:
        moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, FD_SETSIZE)
    except OSError:
        return descriptor  # beyond this process's limit
    os.close(descriptor)
    return moved


def moved(sock: socket.socket) -> socket.socket:
    """A blocking socket, moved like that."""
    kind = (sock.family, sock.type, sock.proto)
    return socket.socket(*kind, fileno=out_of_the_way(sock.detach()))


class _Turns:
    """Low numbers are taken up by some, or wanted by others, in any thread: never both at once."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._taking = self._wanting = 0
        self._taken: list[int] = []

    def take(self, coming: int) -> None:
        """Take up all low numbers, if so many that come would; waits for who wants some."""
        with self._changed:
            self._changed.wait_for(lambda: not self._wanting)
            self._taken += _taken_up(coming)
            self._taking += 1

    def give_back(self) -> None:
        """The last one to do so frees them."""
        with self._changed:
            self._taking -= 1
            if not self._taking:
                _close(self._taken)
                self._changed.notify_all()

    @contextmanager
    def wanted(self) -> Iterator[None]:
        """Waits for who takes them up."""
        with self._changed:
            self._changed.wait_for(lambda: not self._taking)
            self._wanting += 1
        try:
            yield
        finally:
            with self._changed:
                self._wanting -= 1
                self._changed.notify_all()


_turns = _Turns()
low_numbers_wanted = _turns.wanted
"""Inside the `with`, nobody takes up the low numbers; it waits for those who do."""


@contextmanager
def low_numbers_taken(calls: Sequence[Callable[[], None]], coming: int) -> Iterator[list[Callable[[], None]]]:
    """What the calls that it gives open, in any thread, has no low number, if so many that come would take them up.

    It lasts until the last of the calls has returned, or the `with` ends: who wants low numbers may have stopped the
    thread of the `with` meanwhile.
    """
    left, ends = len(calls), threading.Lock()

    def ended(how_many: int) -> None:
        nonlocal left
        with ends:
            last, left = 0 < left <= how_many, left - how_many
        if last:
            _turns.give_back()

    def one(call: Callable[[], None]) -> None:
        try:
            call()
        finally:
            ended(1)

    if calls:
        _turns.take(coming)
    try:
        yield [partial(one, call) for call in calls]
    finally:
        ended(len(calls))


def _taken_up(coming: int) -> list[int]:
    taken = [os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)]
    try:
        while taken[-1] < FD_SETSIZE < 2 * (taken[0] + coming):
            taken.append(os.dup(taken[-1]))
    except OSError:
        pass  # at this process's limit: it has few numbers beyond anyway
    return taken


def _close(taken: list[int]) -> None:
    while taken:
        os.close(taken.pop())


def a_low_number_is_left(spare: int = 0) -> bool:
    """Whether what is opened next has a low number, and so many after it, for other threads and for later."""
    taken: list[int] = []
    try:
        while len(taken) <= spare and (not taken or taken[-1] < FD_SETSIZE):
            taken.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        return taken[-1] < FD_SETSIZE
    finally:
        _close(taken)


def readable(*descriptors: int, within: float | None = None) -> list[int]:
    """Those of the descriptors, whatever their numbers, that can be read or have ended, in so many seconds or less."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return [descriptor for descriptor, _ in poll.poll(None if within is None else within * 1000)]
