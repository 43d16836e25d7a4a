"""Forking, which says which limit keeps it from that."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from netemu.errors import MachineError

_LIMITS = {
    errno.ENOMEM: "out of memory: no process can be started",
    errno.EAGAIN: "the limit of processes is reached: raise it (ulimit -u, or pids.max)",
}
"""What an error of fork(2) is for a person."""


def fork() -> int:
    """The child's number, or 0 in the child (fork(2)). Raises MachineError if there can be no more processes."""
    with limits_named():
        return os.fork()


@contextmanager
def limits_named() -> Iterator[None]:
    """Inside the `with`, be it in a library, raise MachineError where there can be no more processes."""
    try:
        yield
    except OSError as error:
        if error.errno not in _LIMITS:
            raise
        raise MachineError(_LIMITS[error.errno]) from error
