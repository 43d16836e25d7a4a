"""Waiting until one of several open files grows, or is put aside for a new one (inotify(7))."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from netemu.kernel.spaces.descriptors import readable

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
        """Return when a file has changed; False once `end`, a process's descriptor, tells that it has ended.

        Also after a signal that has a handler of Python's: it runs between two steps of a program only, and one that
        came just before the wait began would not.
        """
        with _woken_by_signals() as bell:
            ready = readable(self._fd, end, bell)
        if self._fd in ready:
            os.read(self._fd, _EVENTS)
        return end not in ready

    def close(self) -> None:
        """Watch no more."""
        os.close(self._fd)


@contextmanager
def _woken_by_signals() -> Iterator[int]:
    """A descriptor that becomes readable with a signal; in the main thread, the only one that handlers run in."""
    bell, rope = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.set_wakeup_fd(rope, warn_on_full_buffer=False) if is_main else -1
    try:
        yield bell
    finally:
        if is_main:
            signal.set_wakeup_fd(before)
        os.close(bell)
        os.close(rope)
