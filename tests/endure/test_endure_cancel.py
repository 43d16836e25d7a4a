"""Cancelled at each suspension point of up, traffic and down, once and again: nothing is left."""

from __future__ import annotations

import asyncio
import gc

import leftovers
import pytest
from spread import spread
from suspension import Suspensions, cancelled_at, suspensions_of

from netemu import Lab
from netemu.topology.load import loads


@pytest.fixture
def life(nodeport):
    topology, _ = loads(nodeport)

    async def whole() -> None:
        async with Lab(topology, named=True) as lab:
            await lab.prove()

    return whole


@pytest.mark.parametrize("again_after", [(), (1,), (1, 2, 3, 5, 8)], ids=["once", "twice", "over and over"])
async def test_cancelling_at_any_suspension_point_leaves_nothing(life, rounds, note, again_after):
    points = await suspensions_of(life)
    before = leftovers.belongings()
    cancelled = 0
    places = spread(points, rounds(12 if again_after else points, points))
    for place in places:
        cancelled += await cancelled_at({place, *(place + more for more in again_after)}, life)
        gc.collect()
        assert leftovers.left(before) == {}, f"cancelled at suspension {place} of about {points}"
    note("suspension points", points)
    note("cancelled at", cancelled)
    assert cancelled > len(places) * 2 // 3


async def test_cancelling_at_any_suspension_point_of_down_takes_everything_down(nodeport, rounds, note):
    topology, _ = loads(nodeport)
    before = leftovers.belongings()

    async def down_cancelled(places: set[int]) -> int:
        """Up in peace, then cancelled on the way down; how many suspension points there were."""
        lab = await Lab(topology, named=True).__aenter__()
        loop = asyncio.get_running_loop()
        with Suspensions(lambda count: loop.call_soon(task.cancel) and None if count in places else None) as told:
            task = asyncio.create_task(lab.down())
            await asyncio.wait({task})
        assert task.cancelled() == bool(places)
        return told.count

    points = await down_cancelled(set())
    for place in spread(points, rounds(points, points)):
        await down_cancelled({place})
        gc.collect()
        assert leftovers.left(before) == {}, f"cancelled at suspension {place} of {points}"
    note("suspension points", points)


async def test_a_time_limit_that_strikes_anywhere_leaves_nothing(life, rounds):
    """asyncio.timeout, at moments spread over the life of a lab."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    await life()
    whole = loop.time() - start
    before = leftovers.belongings()
    tries = rounds(8, 100)
    for number in range(tries):
        try:
            async with asyncio.timeout(whole * number / tries):
                await life()
        except TimeoutError:
            pass
        gc.collect()
        assert leftovers.left(before) == {}, f"stopped after {number / tries:.0%} of {whole:.3f} s"
