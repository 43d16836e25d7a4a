"""What goes out while it happens, to a reader that may be slow, stall or go: nothing waits for it but its own writer.

One thread looks at everything: sockets that something comes from, the lab's holder, signals, the reader. While the
reader stalls nothing is taken from the sockets, so that the kernel drops, and counts, what there is no room for.
"""

from __future__ import annotations

import os
import select
import signal
import stat
import time
from collections.abc import Sequence
from itertools import accumulate
from types import FrameType, TracebackType
from typing import Literal, Protocol, Self

from netemu.errors import Interrupted, UsageError

Why = Literal["", "stopped", "reader", "lab"]
PACE = 0.02
"""Seconds from one look at sockets that have something to the next."""
GRACE = 1.0
"""Seconds that a reader has, once all ends, to take what is written still."""


class Socket(Protocol):
    """What can be waited for."""

    def fileno(self) -> int:
        """Its descriptor."""


class Stream:
    """`wait` for sockets, `write` to a descriptor; `why` says why it ended: a signal, the reader went, the lab did."""

    def __init__(self, out: int, holder: int) -> None:
        self.out = out
        self.why: Why = ""
        self._holder = holder
        self._at_once = -1 if stat.S_ISREG(os.fstat(out).st_mode) else select.PIPE_BUF
        self._bell, self._rope = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._handlers: dict[int, object] = {}

    def __enter__(self) -> Self:
        self._wakeup = signal.set_wakeup_fd(self._rope, warn_on_full_buffer=False)
        for number in Interrupted.heeded():
            self._handlers[number] = signal.signal(number, _noted)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """From now on signals do what they did before."""
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        os.close(self._bell)
        os.close(self._rope)

    def wait(self, sockets: Sequence[Socket], within: float | None = None) -> bool:
        """Return when one of these has something, after so many seconds, or when all ends; whether it goes on.

        At once, if it ended while something was written.
        """
        if self.why:
            return False
        began = time.monotonic()
        self._look(sockets, within, 0)
        if not self.why:
            self._look((), max(PACE - (time.monotonic() - began), 0), 0)  # more comes meanwhile: one look at all of it
        return not self.why

    def write_each(self, pieces: Sequence[bytes]) -> int:
        """Write pieces one behind the other; how many were, whole: fewer where it ended meanwhile. As `write`."""
        done = self.write(b"".join(pieces))
        return sum(end <= done for end in accumulate(map(len, pieces)))

    def write(self, data: bytes) -> int:
        """Write; how many bytes were, fewer only where it ended meanwhile. Raises UsageError where nothing can be."""
        view, done = memoryview(data), 0
        until = None
        while done < len(view) and self.why != "reader":
            if self.why and until is None:
                until = time.monotonic() + GRACE
            left = None if until is None else until - time.monotonic()
            if left is not None and left <= 0:
                break
            if not self._look((), left, select.POLLOUT):
                continue
            piece = view[done : done + self._at_once] if self._at_once > 0 else view[done:]
            try:
                done += os.write(self.out, piece)
            except BrokenPipeError:
                self.why = "reader"
            except OSError as error:
                raise UsageError(f"what was seen can't be written: {error.strerror}") from error
        return done

    def _look(self, sockets: Sequence[Socket], within: float | None, out: int) -> bool:
        """Wait; whether the reader takes more."""
        poll = select.poll()
        poll.register(self.out, out)
        if not self.why:
            poll.register(self._bell, select.POLLIN)
            poll.register(self._holder, select.POLLIN)
        for each in sockets:
            poll.register(each.fileno(), select.POLLIN)
        takes = False
        for descriptor, event in poll.poll(None if within is None else within * 1000):
            if descriptor == self.out:
                takes = bool(event & select.POLLOUT)
                if event & (select.POLLERR | select.POLLHUP | select.POLLNVAL):
                    self.why, takes = "reader", False
            elif descriptor == self._bell:
                self.why = self.why or "stopped"
            elif descriptor == self._holder:
                self.why = self.why or "lab"
        return takes


def _noted(_number: int, _frame: FrameType | None) -> None:
    """The wake-up descriptor tells."""
