"""A lane beside a ring: the same frames as through the ring alone, in their order, whatever has no room in it."""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
from collections import Counter
from dataclasses import replace

import pytest
from lane_frames import begin_at, frame, inject, on_one_core, small
from test_kernel_taps_wire import injected, taken
from veth_pair import LEFT, RIGHT, Pair, send

from netemu.kernel.ebpf import btf
from netemu.kernel.ebpf.lane_program import FRAMES, LONGEST, SEQUENCES
from netemu.kernel.taps import lane as lanes
from netemu.kernel.taps.ring import Ring
from netemu.record.capture import UNFINISHED
from netemu.record.frames import RawFrame

pytestmark = pytest.mark.needs("btf")
_SET_MTU, _TIMESTAMPNS = 0x8922, 35
"""SIOCSIFMTU (netdevice(7)); SO_TIMESTAMPNS (socket(7))."""
PIECES = 1 << FRAMES


def but_for_time(frames: list[RawFrame]) -> Counter[tuple[object, ...]]:
    return Counter((each.interface, each.kind, each.length, each.status, each.data) for each in frames)


async def everything(pair: Pair) -> None:
    """Frames of many kinds, some with checksums that are left to a device, on both interfaces, there and back."""
    await send(pair, 3)
    with pair.right.entered(), socket.create_server(("", 8)) as server:
        with pair.left.entered(), socket.create_connection((RIGHT, 8)) as ours:
            theirs, _ = server.accept()
            with theirs:
                ours.sendall(b"x" * 300_000)
                left = 300_000
                while left:
                    left -= len(theirs.recv(left))
                theirs.sendall(b"back")
        socket.create_connection(("127.0.0.1", 8)).close()
    with pair.udp(pair.right, "127.0.0.1") as sender:
        sender.sendto(bytes(5000), ("127.0.0.1", 8))
    tagged = bytes.fromhex("81000064")
    inject(pair, [frame(n, 20 + n) for n in range(100)] + [frame(n)[:12] + tagged + frame(n)[12:] for n in range(9)])


@pytest.fixture(params=["as the kernel has it", 0, 1])
def told(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How the number of the cast is known: 0 is not, and 1 is no function, so that the kernel refuses it."""
    if isinstance(request.param, int):
        facts = replace(btf.packet_facts(), cast=request.param)
        monkeypatch.setattr(lanes, "packet_facts", lambda: facts)


@pytest.mark.usefixtures("told")
async def test_it_has_what_the_ring_alone_has_and_says_the_same_of_each(
    request: pytest.FixtureRequest, pair: Pair, plain: Ring
):
    fast = request.getfixturevalue("fast")
    await pair.up()
    await everything(pair)
    for source in (plain, fast):
        source.drain()
    seen, found = list(plain.frames()), list(fast.frames())
    assert but_for_time(found) == but_for_time(seen)
    assert {each.status for each in seen} >= {0, UNFINISHED}
    assert max(len(each.data) for each in seen) > LONGEST, "one that goes through the ring"
    assert max(map(abs, apart(found, seen))) < 50_000_000


def apart(found: list[RawFrame], seen: list[RawFrame]) -> list[int]:
    """How many ns one tap's times are from another's: of each frame that is like no other in either."""
    times = [{(each.kind, each.interface, each.data): each.time_ns for each in frames} for frames in (found, seen)]
    once = [
        key for key, count in Counter((each.kind, each.interface, each.data) for each in seen).items() if count == 1
    ]
    assert len(once) > len(seen) // 2
    return [times[0][key] - times[1][key] for key in once]


async def test_tcp_s_own_stamps_of_when_to_send_are_no_times_and_the_order_is_the_ring_s(
    pair: Pair, plain: Ring, fast: Ring
):
    """TCP leaves them on its packets (of CLOCK_MONOTONIC), and a veth brings them to the other end."""
    await pair.up()
    for source in (plain, fast):
        source.forget()
    with pair.right.entered():
        server = socket.create_server((RIGHT, 8))
    with pair.left.entered():
        ours = socket.create_connection((RIGHT, 8))
    theirs, _ = server.accept()
    with on_one_core(), server, ours, theirs:
        for number in range(50):
            ours.sendall(b"%d" % number)
            theirs.recv(10)
    for source in (plain, fast):
        source.drain()
    seen, found = ([each for each in source.frames() if each.data[23:24] == b"\x06"] for source in (plain, fast))
    assert len(seen) > 100
    assert not fast._kept.from_ring
    assert [each.data for each in found] == [each.data for each in seen]
    assert max(map(abs, apart(found, seen))) < 50_000_000


@pytest.mark.parametrize("stamped", [False, True])
async def test_long_frames_among_short_ones_come_in_order_though_they_take_another_way(
    pair: Pair, plain: Ring, fast: Ring, stamped: bool
):
    """Where somebody asks for stamps, a frame's time is that at which it came, before it waited to be looked at."""
    for net in pair.nets:
        with net.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            fcntl.ioctl(asking, _SET_MTU, struct.pack("16si12x", b"eth0", 9000))
    await pair.up()
    with pair.udp(pair.left, LEFT) as asking:
        asking.setsockopt(socket.SOL_SOCKET, _TIMESTAMPNS, stamped)
        async with asyncio.timeout(5):
            while stamped and not await equal_times(pair, plain, fast):
                pass  # the kernel begins to stamp a moment later (netstamp_work, net/core/dev.c)
        for source in (plain, fast):
            source.forget()
        frames = [frame(n, 8000 if n % 3 == 0 else 46) for n in range(600)]
        inject(pair, frames)
        seen, found = [await taken(source, injected, len(frames)) for source in (plain, fast)]
    assert [each.data for each in found] == frames
    assert fast.lost() == 0
    if stamped:
        assert [each.time_ns for each in found] == [each.time_ns for each in seen]


async def equal_times(pair: Pair, *sources: Ring) -> bool:
    """Whether both say the same of when some frames came."""
    inject(pair, [frame(n) for n in range(10)])
    one, other = [[each.time_ns for each in await taken(source, injected, 10)] for source in sources]
    return one == other


@pytest.mark.parametrize("size", [46, 1000])
async def test_what_has_no_room_goes_to_the_ring_and_comes_in_order(pair: Pair, size: int):
    source = small(pair)
    try:
        await pair.up()
        source.forget()
        assert source._lane is not None
        room = source._lane.layout.room // (1 + (size + 14) // 64)
        frames = [frame(n, size) for n in range(room + 500)]
        inject(pair, frames)
        assert source._lane.filled > 0.5
        assert [each.data for each in await taken(source, injected, len(frames))] == frames
        assert source.lost() == 0
        inject(pair, frames[:10])
        assert source._lane.filled > 0, "there is room again"
        assert [each.data for each in await taken(source, injected, 10)] == frames[:10]
    finally:
        source.close()


async def test_what_neither_lane_nor_ring_has_room_for_is_counted(pair: Pair):
    source = small(pair)
    try:
        await pair.up()
        source.forget()
        frames = [frame(n) for n in range(60_000)]  # 14,336 have room in the lane, some 14,000 in the ring
        inject(pair, frames)
        lost = source.lost()
        found = [each.data for each in await taken(source, injected, 20_000)]
        assert lost > 10_000
        assert len(found) + lost >= len(frames)
        there = set(found)
        assert found == [each for each in frames if each in there], "some of them, in order"
        source.forget()
        assert source.lost() == 0
    finally:
        source.close()


async def test_it_is_filled_round_and_round(pair: Pair):
    source = small(pair)
    try:
        await pair.up()
        source.forget()
        for turn in range(40):
            frames = [frame(n, (turn * 131 + n * 7) % 1500) for n in range(4)] * 300
            inject(pair, frames)
            assert [each.data for each in await taken(source, injected, len(frames))] == frames
        assert not source._kept.from_ring
        assert source.lost() == 0
    finally:
        source.close()


async def test_frames_are_counted_round_their_twenty_bits(pair: Pair, fast: Ring):
    await pair.up()
    fast.forget()
    begin_at(fast, SEQUENCES - 99, 12345)
    frames = [frame(n) for n in range(300)]
    inject(pair, frames)
    assert fast._lane is not None
    assert fast._lane.filled > 0
    assert [each.data for each in await taken(fast, injected, 300)] == frames
    assert not fast._kept.from_ring


@pytest.mark.usefixtures("quiet")
async def test_at_the_end_of_its_counts_all_goes_through_the_ring(pair: Pair, fast: Ring):
    await pair.up()
    fast.forget()
    begin_at(fast, 7, PIECES - (1 << 32) - 50)
    frames = [frame(n) for n in range(300)]
    inject(pair, frames)
    assert [each.data for each in await taken(fast, injected, 300)] == frames
    assert fast.lost() == 0
    assert fast._lane is not None
    assert fast._lane.end & PIECES - 1 < PIECES - (1 << 32) + 10
    inject(pair, frames[:1])
    assert fast._lane.filled == 0
