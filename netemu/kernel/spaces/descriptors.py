"""Descriptors' numbers: the low ones are for those that take no others.

libnftables asks select(2) for its socket, whose sets have room for FD_SETSIZE numbers: beyond that the C library ends
the process. So what a large lab holds for long is moved beyond them, where this process may have such numbers.
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager

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


@contextmanager
def low_numbers_taken(coming: int) -> Iterator[None]:
    """What is opened inside the `with`, in any thread, has no low number, if so many that come would take them up."""
    taken: list[int] = []
    try:
        number = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        taken.append(number)
        try:
            while number < FD_SETSIZE < 2 * (taken[0] + coming):
                number = os.dup(number)
                taken.append(number)
        except OSError:
            pass  # at this process's limit: it has few numbers beyond anyway
        yield
    finally:
        for each in taken:
            os.close(each)


def a_low_number_is_left(spare: int = 0) -> bool:
    """Whether what is opened next has a low number, and so many after it, for other threads and for later."""
    taken: list[int] = []
    try:
        while len(taken) <= spare and (not taken or taken[-1] < FD_SETSIZE):
            taken.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        return taken[-1] < FD_SETSIZE
    finally:
        for each in taken:
            os.close(each)


def readable(*descriptors: int, within: float | None = None) -> list[int]:
    """Those of the descriptors, whatever their numbers, that can be read or have ended, in so many seconds or less."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return [descriptor for descriptor, _ in poll.poll(None if within is None else within * 1000)]
