"""Many namespaces at once, made in threads: the kernel takes half a millisecond for each, and has several cores."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from netemu.kernel.spaces.namespace import NetworkNamespace, back_home
from netemu.kernel.spaces.threads import side_by_side

_MOST_THREADS = 4
_WORTH_A_THREAD = 8
"""Namespaces that one thread makes before a second one is worth its start."""


async def make_namespaces(names: Sequence[str], prepare: Callable[[Iterator[NetworkNamespace]], None]) -> None:
    """Make a namespace for each name; `prepare` takes them one after the other, and owns those that it took.

    The thread that calls `prepare` is inside the namespace that was taken last. Where there are many, each of several
    threads calls it with its share. After the first failure, and when cancelled, no more are made; when this returns
    or raises, no `prepare` is running any more.
    """
    threads = min(_MOST_THREADS, os.cpu_count() or 1, len(names) // _WORTH_A_THREAD)
    stop = threading.Event()

    def made(share: Sequence[str]) -> Iterator[NetworkNamespace]:
        for name in share:
            if stop.is_set():
                return
            yield NetworkNamespace.around(name)

    def work(share: Sequence[str]) -> None:
        try:
            with back_home():
                prepare(made(share))
        except BaseException:
            stop.set()
            raise

    if threads < 2:
        work(names)
        return
    shares = [names[own::threads] for own in range(threads)]
    await side_by_side([partial(work, share) for share in shares], "netemu-make", threads, stop)
