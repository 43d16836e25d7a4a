"""The system calls that Python 3.11 lacks: namespaces and mounts (linux/sched.h, linux/mount.h)."""

from __future__ import annotations

import ctypes
import errno
import os

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

_LIMITED = {"mnt": CLONE_NEWNS, "uts": CLONE_NEWUTS, "user": CLONE_NEWUSER, "pid": CLONE_NEWPID, "net": CLONE_NEWNET}
"""Whose number the sysctls user.max_KIND_namespaces limit."""

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 0x1, 0x2, 0x4, 0x8, 0x20
MS_BIND, MS_REC, MS_SLAVE = 0x1000, 0x4000, 0x80000


_libc: list[ctypes.CDLL] = []
"""The C library, once it was needed. (functools.cache would be a third more to import for process 1.)"""


def call(name: str, *arguments: object) -> int:
    """Call a function of the C library; its result, unless that tells of an error: OSError."""
    if not _libc:
        _libc.append(ctypes.CDLL(None, use_errno=True))
    result: int = getattr(_libc[0], name)(*arguments)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{name}: {os.strerror(error)}")
    return result


def unshare(flags: int) -> None:
    """Give the calling thread namespaces of its own (unshare(2)). Raises OSError, which names the limit reached."""
    try:
        call("unshare", flags)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        limits = ", ".join(f"user.max_{kind}_namespaces" for kind, flag in _LIMITED.items() if flags & flag)
        raise OSError(error.errno, f"{error.strerror}: too many namespaces: raise {limits}") from None


def setns(fd: int, kind: int) -> None:
    """Move the calling thread into the namespace that `fd` refers to (setns(2)). Raises OSError."""
    call("setns", fd, kind)


def mount(source: str, target: str, kind: str | None = None, flags: int = 0, options: str | None = None) -> None:
    """Mount something, or change a mount, in the calling thread's mount namespace (mount(2)). Raises OSError."""
    call(
        "mount",
        os.fsencode(source),
        os.fsencode(target),
        kind.encode() if kind is not None else None,
        ctypes.c_ulong(flags),
        os.fsencode(options) if options is not None else None,
    )


def pivot_root(new: str, old: str) -> None:
    """Make another mount the root (pivot_root(2)). Raises OSError."""
    call("pivot_root", os.fsencode(new), os.fsencode(old))


def unmount_detached(target: str) -> None:
    """Take a mount out of sight at once; it goes when nobody uses it (umount2(2), MNT_DETACH). Raises OSError."""
    call("umount2", os.fsencode(target), 2)
