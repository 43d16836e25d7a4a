"""Being stopped by signals: the running task is cancelled, and its undo is done in peace."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from netemu.errors import Interrupted


@contextmanager
def cancelled_by(*numbers: signal.Signals) -> Iterator[None]:
    """Inside the `with`, these signals cancel the current task; after it, this process ignores them.

    It is about to end then: a closing event loop would complain of a signal that still comes. Where one cut the task
    short, Interrupted is raised.
    """
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    came: list[signal.Signals] = []

    def stop(number: signal.Signals) -> None:
        came.append(number)
        task.cancel()

    for number in numbers:
        loop.add_signal_handler(number, stop, number)
    try:
        yield
    except asyncio.CancelledError as error:
        if came:
            raise Interrupted(came[0]) from error
        raise
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)
