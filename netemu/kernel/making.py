"""Many namespaces at once, made in threads: the kernel takes half a millisecond for each, and has several cores."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from netemu.kernel.namespace import NetworkNamespace

_MOST_THREADS = 4
_WORTH_A_THREAD = 8
"""Namespaces that one thread makes before a second one is worth its start."""


async def make_namespaces(names: Sequence[str], prepare: Callable[[NetworkNamespace], None]) -> None:
    """Make a namespace for each name and hand it to `prepare`, which owns it from then on; in no certain order.

    `prepare` is called in threads, several at a time. After the first failure, and when cancelled, no more are made;
    when this returns or raises, no `prepare` is running any more.
    """
    threads = min(_MOST_THREADS, os.cpu_count() or 1, len(names) // _WORTH_A_THREAD)
    stop = threading.Event()

    def work(share: Sequence[str]) -> None:
        for name in share:
            if stop.is_set():
                return
            prepare(NetworkNamespace.create(name))

    if threads < 2:
        work(names)
        return
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(threads, thread_name_prefix="netemu-make") as pool:  # its end waits for the threads
        try:
            await asyncio.gather(*(loop.run_in_executor(pool, work, names[own::threads]) for own in range(threads)))
        finally:
            stop.set()
