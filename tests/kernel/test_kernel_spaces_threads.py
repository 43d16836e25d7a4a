"""Calls made side by side in threads."""

from __future__ import annotations

import asyncio
import threading

import pytest

from netemu.kernel.spaces.threads import side_by_side


def _strayed():
    return [thread for thread in threading.enumerate() if thread.name.startswith("mine")]


async def test_all_calls_are_made_past_failures_and_the_first_error_is_raised():
    made = []

    def call(number):
        made.append(number)
        if number == 3:
            raise ValueError("three")

    with pytest.raises(ValueError, match="three"):
        await side_by_side([lambda number=number: call(number) for number in range(20)], "mine", 4)
    assert sorted(made) == list(range(20))
    assert not _strayed()


async def test_they_wait_side_by_side():
    together = threading.Barrier(3, timeout=10)
    await side_by_side([together.wait] * 3, "mine")
    assert not _strayed()


async def test_nothing_to_do_is_done_at_once():
    await side_by_side([], "mine")


@pytest.mark.parametrize("threads", [0, 1])
async def test_where_threads_cannot_be_had_all_is_done_nevertheless(monkeypatch, threads):
    """One thread that could be started does the calls of the others too; without any, the caller does them."""
    start, started, made = threading.Thread.start, [], []

    def refuse(thread):
        if len(started) >= threads:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    await side_by_side([lambda number=number: made.append(number) for number in range(5)], "mine")
    assert sorted(made) == list(range(5))


async def test_cancelled_it_tells_the_calls_and_begins_no_more():
    stop, begun, made = threading.Event(), threading.Event(), []

    def call():
        made.append(1)
        begun.set()
        stop.wait(10)

    task = asyncio.create_task(side_by_side([call] * 8, "mine", 2, stop))
    await asyncio.to_thread(begun.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(made) <= 2
    assert not _strayed()
