"""A terminal of its own for a command, and this process's terminal passed through to it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import termios
import tty
from collections.abc import Collection

_PIECE = 65536
_SIZE = b"\0" * 8
"""struct winsize (ioctl_tty(2))."""


def has_terminal() -> bool:
    """Whether a person types and reads here: input and output are terminals."""
    return os.isatty(0) and os.isatty(1)


class Terminal:
    """A pseudoterminal of the size of this process's own."""

    def __init__(self) -> None:
        self.ours, self.theirs = os.openpty()
        self._resize()

    def become_controlling(self) -> None:
        """In the child: a session of its own, whose terminal is the other end."""
        os.setsid()
        fcntl.ioctl(self.theirs, termios.TIOCSCTTY, 0)
        for stream in (0, 1, 2):
            if os.isatty(stream):
                os.dup2(self.theirs, stream)

    def until_ended(self, child: int, passed_on: Collection[signal.Signals]) -> int:
        """Pass through what is typed and printed, sizes and signals, until the child has ended; its exit code."""
        os.close(self.theirs)
        woken, wakes = os.pipe()
        os.set_blocking(wakes, False)
        signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
        for number in (*passed_on, signal.SIGCHLD, signal.SIGWINCH):
            signal.signal(number, lambda *_: None)
        before = termios.tcgetattr(0)
        tty.setraw(0, termios.TCSADRAIN)  # what was typed already is not thrown away
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, set())
            return self._relay(child, woken)
        finally:
            termios.tcsetattr(0, termios.TCSADRAIN, before)
            os.close(self.ours)

    def _relay(self, child: int, woken: int) -> int:
        sources = [0, self.ours, woken]
        while True:
            ready, _, _ = select.select(sources, [], [])
            if woken in ready:  # first: a size that came before a key is there before it
                for number in os.read(woken, _PIECE):
                    if number == signal.SIGWINCH:
                        self._resize()
                    elif number != signal.SIGCHLD:
                        os.kill(child, number)
                found, status = os.waitpid(child, os.WNOHANG)
                if found:
                    self._drain()
                    return os.waitstatus_to_exitcode(status)
            if self.ours in ready and not self._copy(self.ours, 1):
                sources.remove(self.ours)
            if 0 in ready and not self._copy(0, self.ours):
                sources.remove(0)

    def _drain(self) -> None:
        """Print what the child printed at its end; others that it left behind are not waited for."""
        while select.select([self.ours], [], [], 0)[0] and self._copy(self.ours, 1):
            pass

    def _copy(self, source: int, target: int) -> bool:
        try:
            data = os.read(source, _PIECE)
        except OSError:
            return False  # the other side has closed: EIO of a pseudoterminal
        rest = data
        while rest:
            rest = rest[os.write(target, rest) :]
        return bool(data)

    def _resize(self) -> None:
        with contextlib.suppress(OSError):
            fcntl.ioctl(self.ours, termios.TIOCSWINSZ, fcntl.ioctl(0, termios.TIOCGWINSZ, _SIZE))
