"""One process of a lab, as its lab sees it: its numbers, its end, signals to it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

COLLECTED_WITHIN = 3.0
"""Seconds for a process that was killed to be gone."""


class Process:
    """A process on a host. With `async with`, it is ended when the block ends; at the latest it ends with its lab.

    `pid` is its number on this machine (0 if it had ended at once), `returncode` its exit code once it has ended: minus
    the signal's number if one ended it.
    """

    def __init__(self, command: Sequence[str], pidfd: int, signalled: Callable[[int, bool, bool], None]) -> None:
        self.command = tuple(command)
        self.pid = _number(pidfd)
        self.returncode: int | None = None
        self._signalled = signalled
        self._ended = asyncio.Event()

    async def wait(self) -> int:
        """Wait for its end; its exit code."""
        await self._ended.wait()
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int, *, group: bool = False) -> None:
        """Send it a signal, or (`group`) all of its process group; nothing happens once it has ended."""
        if self.returncode is None:
            self._signalled(number, group, False)

    def terminate(self) -> None:
        """Ask it to end (SIGTERM)."""
        self.send_signal(signal.SIGTERM)

    def stop(self) -> None:
        """Ask it and its process group to end (SIGTERM). What is left of the group when it has ended is killed.

        Its end is known once nothing is left of it, or once it is killed.
        """
        if self.returncode is None:
            self._signalled(signal.SIGTERM, True, True)

    def kill(self) -> None:
        """End it and its process group (SIGKILL)."""
        self.send_signal(signal.SIGKILL, group=True)

    def note_end(self, code: int) -> None:
        """Its exit code is known."""
        self.returncode = code
        self._ended.set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        async with asyncio.timeout(COLLECTED_WITHIN):
            await self.wait()


def _number(pidfd: int) -> int:
    """The process's number on this machine, as the kernel tells it of a pidfd (proc_pid_fdinfo(5))."""
    with open(f"/proc/self/fdinfo/{pidfd}", encoding="utf-8") as file:
        told = dict(line.split(":", 1) for line in file)
    return max(int(told.get("Pid", "0")), 0)
