"""unshare and setns, which Python has only from 3.12 on."""

from __future__ import annotations

import ctypes
import os

CLONE_NEWNS = 0x00020000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000


def _call(name: str, *arguments: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{name}: {os.strerror(error)}")


def unshare(flags: int) -> None:
    """Give the calling thread namespaces of its own (unshare(2)). Raises OSError."""
    _call("unshare", flags)


def setns(fd: int, kind: int) -> None:
    """Move the calling thread into the namespace that `fd` refers to (setns(2)). Raises OSError."""
    _call("setns", fd, kind)
