"""Cancelling at the n-th suspension: of all places, in all tasks, at which a coroutine gives way to the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Self


class Suspensions:
    """Counts how often any task of a loop gives way, from now on, and calls `then` at each."""

    def __init__(self, then: Callable[[int], None] = lambda _: None) -> None:
        self.count = 0
        self.then = then

    def __enter__(self) -> Self:
        self.loop = asyncio.get_running_loop()
        self.before = self.loop.get_task_factory()
        self.loop.set_task_factory(lambda loop, coro, **more: asyncio.Task(self.watch(coro), loop=loop, **more))
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.set_task_factory(self.before)
        self.then = lambda _: None

    async def watch(self, coro: Coroutine[Any, Any, Any]) -> Any:
        return await _Watched(coro, self)

    def gave_way(self) -> None:
        self.count += 1
        self.then(self.count)


class _Watched:
    """Passes everything on to a coroutine and back, and tells of each time it gives way."""

    def __init__(self, coro: Coroutine[Any, Any, Any], told: Suspensions) -> None:
        self.coro = coro
        self.told = told

    def __await__(self) -> Generator[Any, Any, Any]:
        step: Callable[[], Any] = lambda: self.coro.send(None)  # noqa: E731
        while True:
            try:
                waited_for = step()
            except StopIteration as done:
                return done.value
            self.told.gave_way()
            try:
                yield waited_for
            except BaseException as error:  # noqa: BLE001  handed on, whatever it is
                step = lambda error=error: self.coro.throw(error)  # noqa: E731
            else:
                step = lambda: self.coro.send(None)  # noqa: E731


async def suspensions_of(life: Callable[[], Coroutine[Any, Any, None]]) -> int:
    """How often a life gives way when nobody cancels it."""
    with Suspensions() as told:
        await asyncio.create_task(life())
    return told.count


async def cancelled_at(places: set[int], life: Callable[[], Coroutine[Any, Any, None]]) -> bool:
    """Run a life, asking it to stop whenever it (or a task of its) gives way for one of these times; whether it did.

    Raises what the life raises beside being cancelled, and AssertionError on errors that nobody was told of.
    """
    loop = asyncio.get_running_loop()
    unheard: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: unheard.append(context))

    def then(count: int) -> None:
        if count in places:
            loop.call_soon(task.cancel)

    with Suspensions(then):
        task = asyncio.create_task(life())
        await asyncio.wait({task})
    loop.set_exception_handler(None)
    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert (unheard, others) == ([], set())
    if task.cancelled():
        return True
    task.result()
    return False
