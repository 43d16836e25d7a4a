"""Calls that mostly wait for the kernel, made side by side in threads."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence

AT_ONCE = 64
"""How many threads wait for the kernel side by side, unless the caller says otherwise."""


async def side_by_side(
    calls: Sequence[Callable[[], None]], name: str, most: int = AT_ONCE, stop: threading.Event | None = None
) -> None:
    """Make all calls, past failures; none is running any more when this returns or raises. The first error is raised.

    There are as many threads as can be had, `most` at the most; where there is none, the calls are made here, so that
    what has to be closed is closed. When cancelled, `stop` is set, for the calls to see, and no more are begun.
    """
    work = _Work(calls)
    threads: list[threading.Thread] = []
    try:
        for number in range(min(len(calls), most)):
            thread = threading.Thread(target=work.run, name=f"{name}-{number}", daemon=True)
            thread.start()
            threads.append(thread)
    except (RuntimeError, MemoryError):
        pass  # "can't start new thread": those that could be started do it all
    if not threads:
        work.run()
    try:
        await work.done.wait()
    except asyncio.CancelledError:
        work.pending.clear()
        if stop is not None:
            stop.set()
        raise
    finally:
        for thread in threads:
            thread.join()
    if work.errors:
        raise work.errors[0]


class _Work:
    """The calls still to be made, and what the others raised. `done` is set on the loop once all are made."""

    def __init__(self, calls: Sequence[Callable[[], None]]) -> None:
        self.pending = deque(calls)
        self.errors: list[BaseException] = []
        self.done = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._left = len(calls)
        self._lock = threading.Lock()
        if not calls:
            self.done.set()

    def run(self) -> None:
        """Make calls until none is pending; for several threads at once."""
        while True:
            try:
                call = self.pending.popleft()
            except IndexError:
                return
            try:
                call()
            except BaseException as error:  # noqa: BLE001  raised by who waits for all of them
                self.errors.append(error)
            with self._lock:
                self._left -= 1
                if not self._left:
                    self._loop.call_soon_threadsafe(self.done.set)
