"""unshare, setns, mount, detached mounts and a parent's death; the first two Python has only from 3.12 on."""

from __future__ import annotations

import os
import signal

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
from netemu.kernel.spaces.descriptors import readable

__all__ = [
    "CLONE_NEWNET",
    "CLONE_NEWNS",
    "CLONE_NEWPID",
    "CLONE_NEWUSER",
    "CLONE_NEWUTS",
    "detached_mount",
    "die_with",
    "mount",
    "setns",
    "unshare",
]

_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432
"""The same on every architecture of Linux that Python runs on (asm-generic/unistd.h)."""
_CLOEXEC, _CREATE = 1, 6
_PDEATHSIG = 1
"""PR_SET_PDEATHSIG (prctl(2))."""


def detached_mount(kind: str) -> int:
    """A new file system as a descriptor, mounted nowhere; it goes with its last descriptor (fsopen(2)). OSError."""
    context = call("syscall", _FSOPEN, kind.encode(), _CLOEXEC)
    try:
        call("syscall", _FSCONFIG, context, _CREATE, None, None, 0)
        return call("syscall", _FSMOUNT, context, _CLOEXEC, 0)
    finally:
        os.close(context)


def die_with(parent: int) -> None:
    """From now on this process, just forked, is killed when its parent ends, whose pidfd this is; it is closed."""
    call("prctl", _PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if readable(parent, within=0):  # it ended before that
        os.kill(os.getpid(), signal.SIGKILL)
    os.close(parent)
