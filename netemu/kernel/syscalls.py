"""unshare, setns, mount and detached mounts; the first two Python has only from 3.12 on."""

from __future__ import annotations

import os

from netemu.kernel.init.calls import (
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
    call,
    mount,
    setns,
    unshare,
)

__all__ = [
    "CLONE_NEWNET",
    "CLONE_NEWNS",
    "CLONE_NEWPID",
    "CLONE_NEWUSER",
    "CLONE_NEWUTS",
    "detached_mount",
    "mount",
    "setns",
    "unshare",
]

_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432
"""The same on every architecture of Linux that Python runs on (asm-generic/unistd.h)."""
_CLOEXEC, _CREATE = 1, 6


def detached_mount(kind: str) -> int:
    """A new file system as a descriptor, mounted nowhere; it goes with its last descriptor (fsopen(2)). OSError."""
    context = call("syscall", _FSOPEN, kind.encode(), _CLOEXEC)
    try:
        call("syscall", _FSCONFIG, context, _CREATE, None, None, 0)
        return call("syscall", _FSMOUNT, context, _CLOEXEC, 0)
    finally:
        os.close(context)
