"""unshare, setns, mount and detached mounts; the first two Python has only from 3.12 on."""

from __future__ import annotations

import ctypes
import os
from functools import cache

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432
"""The same on every architecture of Linux that Python runs on (asm-generic/unistd.h)."""
_CLOEXEC, _CREATE = 1, 6


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: int | bytes | None) -> int:
    result: int = getattr(_libc(), name)(*arguments)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{name}: {os.strerror(error)}")
    return result


def unshare(flags: int) -> None:
    """Give the calling thread namespaces of its own (unshare(2)). Raises OSError."""
    _call("unshare", flags)


def setns(fd: int, kind: int) -> None:
    """Move the calling thread into the namespace that `fd` refers to (setns(2)). Raises OSError."""
    _call("setns", fd, kind)


def mount(source: str, target: str, kind: str | None, flags: int = 0, options: str | None = None) -> None:
    """Mount something, or change a mount, in the calling thread's mount namespace (mount(2)). Raises OSError."""
    words = [word.encode() if word is not None else None for word in (source, target, kind, options)]
    _call("mount", *words[:3], flags, words[3])


def detached_mount(kind: str) -> int:
    """A new file system as a descriptor, mounted nowhere; it goes with its last descriptor (fsopen(2)). OSError."""
    context = _call("syscall", _FSOPEN, kind.encode(), _CLOEXEC)
    try:
        _call("syscall", _FSCONFIG, context, _CREATE, None, None, 0)
        return _call("syscall", _FSMOUNT, context, _CLOEXEC, 0)
    finally:
        os.close(context)
