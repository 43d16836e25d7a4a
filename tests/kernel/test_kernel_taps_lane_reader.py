"""Who takes from a lane: rung while it sleeps and only then, told of what is late, left alone while there is room."""

from __future__ import annotations

import asyncio
import mmap
import select
import threading
import time

import pytest
from lane_frames import entry_of, frame, inject
from test_kernel_taps_wire import injected
from veth_pair import Pair

from netemu.kernel.ebpf.lane_program import (
    AWAKE,
    RUNG,
    UNREAD,
)
from netemu.kernel.taps import ring as rings
from netemu.kernel.taps.reader import Reader
from netemu.kernel.taps.ring import Ring

pytestmark = pytest.mark.needs("btf")


@pytest.mark.usefixtures("quiet")
async def test_it_rings_for_what_comes_while_nobody_looks_and_only_then(pair: Pair, fast: Ring):
    await pair.up()
    fast.forget()
    assert fast._lane is not None
    for _ in range(3):
        fast.receive()
    assert not fast.awake
    rung = fast._lane._consumed[0]
    for n in range(1, 4):
        inject(pair, [frame(n)])
        assert fast.receive() is False
        assert fast.awake
        assert fast._lane._longs[AWAKE // 8] == 1
        assert fast._lane._consumed[0] == rung + 16, "the first of three alone rang"
    fast.receive()
    assert fast.awake, "it looks once more after it has said that it is to be rung"
    inject(pair, [frame(9)])
    fast.receive()
    assert fast._lane._consumed[0] == rung + 32
    fast.receive()
    fast.receive()
    assert not fast.awake
    assert [each.data for each in fast.frames() if injected(each)] == [frame(n) for n in (1, 2, 3, 9)]


@pytest.mark.usefixtures("quiet")
async def test_a_bell_that_can_t_be_rung_is_rung_again_for_the_next_frame(pair: Pair, fast: Ring):
    """Nobody heard it for so long that it is full."""
    await pair.up()
    fast.forget()
    assert fast._lane is not None
    longs, room = fast._lane._longs, mmap.PAGESIZE // 16
    before = longs[RUNG // 8]
    for n in range(room + 10):
        longs[AWAKE // 8] = 0
        inject(pair, [frame(n)])
    assert longs[RUNG // 8] - before <= room
    assert longs[AWAKE // 8] == 0, "the last ones tried, and so does the next"
    for _ in range(3):
        fast.receive()
    assert [each.data for each in fast.frames() if injected(each)] == [frame(n) for n in range(room + 10)]
    assert fast.lost() == 0
    rung = longs[RUNG // 8]
    inject(pair, [frame(0)])
    assert longs[RUNG // 8] == rung + 1
    assert select.select([fast._lane.bell], [], [], 0)[0]


class Meddled:
    """The longs that a lane shares; at the `number`th access to them after it was armed a frame comes in between."""

    def __init__(self, longs: memoryview, pair: Pair) -> None:
        self.longs, self.pair, self.number = longs, pair, -1

    def arm(self, number: int) -> None:
        self.number = number

    def __getitem__(self, place: int) -> int:
        self._meddle()
        return self.longs[place]

    def __setitem__(self, place: int, value: int) -> None:
        self._meddle()
        self.longs[place] = value

    def release(self) -> None:
        self.longs.release()

    def _meddle(self) -> None:
        if self.number == 0:
            inject(self.pair, [frame(1)])
        self.number -= 1


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("number", range(7))
@pytest.mark.parametrize("look", [1, 2, 3])
async def test_whenever_a_frame_comes_as_the_reader_falls_asleep_it_is_looked_at(
    pair: Pair, fast: Ring, number: int, look: int
):
    await pair.up()
    inject(pair, [frame(0)])
    assert fast._lane is not None
    fast.receive()
    meddled = fast._lane._longs = Meddled(fast._lane._longs, pair)  # type: ignore[assignment]
    for each in range(1, 4):
        if each == look:
            meddled.arm(number)
        fast.receive()
    assert meddled.number < 0
    rung = bool(select.select([fast._lane.bell], [], [], 0)[0])
    assert not fast._lane.waiting(fast._lane.end) or fast.awake or rung, "it sleeps, a frame waits, and nobody rings"
    inject(pair, [frame(2)])
    assert fast.awake or select.select([fast._lane.bell], [], [], 0)[0]


@pytest.mark.usefixtures("quiet")
async def test_what_somebody_else_drains_leaves_the_bell_to_the_reader(pair: Pair, fast: Ring):
    await pair.up()
    for _ in range(3):
        fast.receive()
    inject(pair, [frame(1)])
    fast.drain()
    assert not fast.awake
    fast.receive()
    assert fast.awake, "it was rung, so it looks again"


@pytest.mark.usefixtures("quiet")
async def test_the_thread_sleeps_while_nothing_comes_and_takes_what_comes_then(
    pair: Pair, fast: Ring, reader: Reader, monkeypatch: pytest.MonkeyPatch
):
    await pair.up()
    looks, receive = [0], Ring.receive

    def counted(self: Ring) -> bool:
        looks[0] += 1
        return receive(self)

    monkeypatch.setattr(Ring, "receive", counted)
    reader.add(fast)
    for turn in range(5):
        fast.patience = 0.005
        before = looks[0]
        inject(pair, [frame(turn)])
        async with asyncio.timeout(5):
            while not reader._turns or looks[0] == before or fast.awake:
                await asyncio.sleep(0.001)  # a thread's looks are told to nobody
                fast.patience = 0.005
        asleep = looks[0]
        await asyncio.sleep(0.1)  # twenty times as long as from one look to the next
        assert looks[0] == asleep, "it looks though nothing comes"
    assert [each.data for each in fast.frames() if injected(each)] == [frame(n) for n in range(5)]
    reader.remove(fast)


async def test_a_drain_waits_for_what_another_core_is_still_writing(pair: Pair, fast: Ring):
    await pair.up()
    fast.forget()
    inject(pair, [frame(n) for n in range(3)])
    held = fast._lane
    assert held is not None
    place = entry_of(held, frame(1))
    sequence = held._entries[place, 0].copy()
    held._entries[place, 0] = 0  # the second of three is counted, and not there yet
    begun = threading.Event()

    def write() -> None:
        begun.wait()
        time.sleep(0.05)  # nothing tells that a drain waits by now
        held._entries[place, 0] = sequence

    writer = threading.Thread(target=write)
    writer.start()
    fast.receive()
    assert [each.data for each in fast.frames() if injected(each)] == [frame(0)]
    begun.set()
    fast.drain()
    writer.join()
    assert [each.data for each in fast.frames() if injected(each)] == [frame(1), frame(2)]


@pytest.mark.usefixtures("quiet")
async def test_what_is_not_written_in_time_counts_as_lost(pair: Pair, fast: Ring, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rings, "_DRAIN_WITHIN", 0.05)
    await pair.up()
    fast.forget()
    inject(pair, [frame(n) for n in range(3)])
    assert fast._lane is not None
    fast._lane._entries[entry_of(fast._lane, frame(1)), 0] = 0  # counted, and never there
    fast.drain()
    assert fast.lost() == 2


@pytest.mark.usefixtures("quiet")
async def test_what_came_after_a_drain_began_is_not_late(pair: Pair, fast: Ring, monkeypatch: pytest.MonkeyPatch):
    await pair.up()
    fast.forget()
    assert fast._lane is not None
    inject(pair, [frame(0)])
    end = fast._lane.end
    inject(pair, [frame(n) for n in range(1, 4)])
    fast._count_late(fast._next, end)
    assert fast.lost() == 1
    fast.drain()
    fast._count_late(fast._next, end)
    assert fast.lost() == 1


async def test_a_frame_whose_bytes_could_not_be_had_counts_as_lost(fast: Ring):
    assert fast._lane is not None
    fast._lane._longs[UNREAD // 8] += 1
    assert [fast.lost(), fast.lost()] == [1, 1]
    fast._lane._longs[UNREAD // 8] += 2
    assert fast.lost() == 3
    fast.forget()
    assert fast.lost() == 0


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize(("seconds", "patience"), [(0.0, 0.015), (10.0, 0.12)])
async def test_while_it_fills_quickly_it_is_left_alone_for_less_long(
    pair: Pair, fast: Ring, seconds: float, patience: float
):
    await pair.up()
    fast.receive()
    inject(pair, [frame(n) for n in range(5000)])  # of 32,768: an eighth within 20 ms is quickly
    fast._looked = time.monotonic() - seconds
    fast.receive()
    assert fast.patience == patience
    assert not fast._kept.from_ring
