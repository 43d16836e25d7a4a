"""Waiting until one of several open files grows, or is put aside for a new one (inotify(7))."""

from __future__ import annotations

import ctypes
import os
import select
from collections.abc import Sequence

_MODIFY, _MOVED, _DELETED = 0x2, 0x800, 0x400
_EVENTS = 65536


class Growth:
    """Watches files by their descriptors; `close` when done."""

    def __init__(self, files: Sequence[int]) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd = libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "inotify: " + os.strerror(ctypes.get_errno()))
        for file in files:
            libc.inotify_add_watch(self._fd, f"/proc/self/fd/{file}".encode(), _MODIFY | _MOVED | _DELETED)

    def wait(self, end: int) -> bool:
        """Return when a file has changed; False once `end`, a process's descriptor, tells that it has ended."""
        ready, _, _ = select.select([self._fd, end], [], [])
        if self._fd in ready:
            os.read(self._fd, _EVENTS)
        return end not in ready

    def close(self) -> None:
        """Watch no more."""
        os.close(self._fd)
