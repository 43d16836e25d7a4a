"""Forking, which says which limit keeps it from that."""

from __future__ import annotations

import errno
import os

from netemu.errors import MachineError


def fork() -> int:
    """The child's number, or 0 in the child (fork(2)). Raises MachineError if there can be no more processes."""
    try:
        return os.fork()
    except OSError as error:
        if (limit := no_more_processes(error)) is None:
            raise
        raise limit from error


def no_more_processes(error: OSError) -> MachineError | None:
    """What an error of fork(2), here or in a library, is for a person; None if it comes from elsewhere."""
    match error.errno:
        case errno.ENOMEM:
            return MachineError("out of memory: no process can be started")
        case errno.EAGAIN:
            return MachineError("the limit of processes is reached: raise it (ulimit -u, or pids.max)")
    return None
