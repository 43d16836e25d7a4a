"""A lane beside a ring: the same frames as through the ring alone, whatever has no room in it, and nobody unheard."""

from __future__ import annotations

import asyncio
import fcntl
import os
import select
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from test_kernel_taps_outlet import on_one_core
from test_kernel_taps_wire import injected, lane, ring, taken
from veth_pair import LEFT, RIGHT, Pair, send

from netemu.kernel.spaces.sysctl import write_sysctls
from netemu.kernel.taps import bpf, btf
from netemu.kernel.taps import lane as lanes
from netemu.kernel.taps import ring as rings
from netemu.kernel.taps.lane import Lane
from netemu.kernel.taps.lane_program import (
    AWAKE,
    FRAMES,
    HEAD,
    LONGEST,
    MOST,
    PIECE,
    PLACE,
    STAMPED,
    TAIL,
    UNREAD,
    Layout,
)
from netemu.kernel.taps.reader import Reader
from netemu.kernel.taps.ring import Ring
from netemu.kernel.taps.wire import sending_socket
from netemu.record.capture import UNFINISHED
from netemu.record.frames import RawFrame

pytestmark = pytest.mark.needs("btf")
SMALL = 2 << 20
_SET_MTU, _TIMESTAMPNS = 0x8922, 35
"""SIOCSIFMTU (netdevice(7)); SO_TIMESTAMPNS (socket(7))."""
SEQUENCES, PIECES = 1 << 20, 1 << FRAMES


@pytest.fixture
def quiet(pair: Pair) -> None:
    """Nothing comes of itself: IPv6's own packets are sent by timers."""
    for net in pair.nets:
        write_sysctls(net, [("net.ipv6.conf.all.disable_ipv6", "1", True)])


@pytest.fixture
def plain(pair: Pair) -> Iterator[Ring]:
    """A ring alone: it gets the same frames as any other of that host."""
    made = ring(pair.right)
    yield made
    made.close()


@pytest.fixture
def fast(pair: Pair) -> Iterator[Ring]:
    made = lane(pair.right)
    yield made
    made.close()


def small(pair: Pair) -> Ring:
    made = Ring(pair.right, size=SMALL)
    made.open()
    return made


def frame(number: int, size: int = 46) -> bytes:
    return b"\xff" * 6 + bytes(6) + b"\x88\xb6" + number.to_bytes(4, "big").ljust(size, b".")


def inject(pair: Pair, frames: list[bytes]) -> None:
    """Send frames from one core: what happens on two has no order."""
    with on_one_core(), sending_socket(pair.left) as sender:
        for each in frames:
            sender.sendto(each, ("eth0", 0))


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


async def test_it_has_what_the_ring_alone_has_and_says_the_same_of_each(pair: Pair, plain: Ring, fast: Ring):
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


def begin_at(source: Ring, frames: int, pieces: int) -> None:
    """As if so many had gone through it."""
    assert source._lane is not None
    for count in (HEAD, TAIL):
        source._lane._longs[count // 8] = frames << FRAMES | pieces


async def test_frames_are_counted_round_their_twenty_bits(pair: Pair, fast: Ring):
    await pair.up()
    fast.forget()
    begin_at(fast, SEQUENCES - 100, 12345)
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


def entry_of(held: Lane, data: bytes) -> int:
    """The place of the entry of a frame that was not taken yet."""
    for number in range(held._longs[TAIL // 8] >> FRAMES, held.end >> FRAMES):
        place = number & held.layout.entries - 1
        begin = int(held._entries[place, PLACE]) % STAMPED * PIECE
        if held._data[begin : begin + len(data)].tobytes() == data:
            return place
    raise AssertionError(data)


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
        time.sleep(0.05)
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


def test_two_clocks_are_looked_at_again_where_the_thread_had_to_wait_in_between(monkeypatch: pytest.MonkeyPatch):
    """A second's pause between the first two looks would put all frames of a look a second off."""
    pause, look, clocks = iter([0, 10**9]), time.clock_gettime_ns, iter(range(100))
    waited = [0]

    def clock(which: int) -> int:
        waited[0] += next(pause, 0)
        next(clocks)
        return look(which) + waited[0]

    right = lanes._behind()
    monkeypatch.setattr(lanes.time, "clock_gettime_ns", clock)
    assert lanes._behind() == right
    assert next(clocks) == 6, "three looks at them, and three more"


async def test_a_frame_whose_bytes_could_not_be_had_counts_as_lost(fast: Ring):
    assert fast._lane is not None
    fast._lane._longs[UNREAD // 8] += 1
    assert [fast.lost(), fast.lost()] == [1, 1]
    fast._lane._longs[UNREAD // 8] += 2
    assert fast.lost() == 3
    fast.forget()
    assert fast.lost() == 0


@pytest.mark.parametrize("entries", [64, 2048, 1 << 20, 1 << 21])
def test_too_few_entries_and_more_than_are_counted_are_refused(entries: int):
    with pytest.raises(ValueError, match=str(entries)):
        Layout(entries)


@pytest.mark.parametrize(
    ("ring", "entries"), [(1, 0), ((2 << 20) - 1, 0), (2 << 20, 1 << 14), (8 << 20, 1 << 16), (1 << 40, 1 << 19)]
)
def test_a_ring_has_a_lane_of_as_many_short_frames_beside_it_within_bounds(ring: int, entries: int):
    assert lanes.entries_beside(ring) == entries
    assert (lanes.lane_memory(ring) == Layout(entries).size) if entries else lanes.lane_memory(ring) == 0


async def test_the_largest_lane_can_be_had(pair: Pair):
    source = Ring(pair.right, size=SMALL)
    source._entries = MOST
    source.open()
    try:
        await pair.up()
        await send(pair, 5)
        assert source._lane is not None
        assert source._lane.layout.entries == MOST
        assert len([each for each in await taken(source, count=5) if each.data[12:14] == b"\x08\x00"]) == 5
    finally:
        source.close()


@pytest.mark.parametrize(("what", "told"), [("uname", "aarch64"), ("cpu_count", 65)])
async def test_on_a_machine_that_it_was_not_made_for_the_ring_is_alone(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, what: str, told: object
):
    monkeypatch.setattr(lanes.os, what, lambda: SimpleNamespace(machine=told) if what == "uname" else told)
    source = Ring(pair.right)
    source.open()
    assert source.descriptors == (source.sock.fileno(),)
    source.close()


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
                await asyncio.sleep(0.001)
                fast.patience = 0.005
        asleep = looks[0]
        await asyncio.sleep(0.1)
        assert looks[0] == asleep, "it looks though nothing comes"
    assert [each.data for each in fast.frames() if injected(each)] == [frame(n) for n in range(5)]
    reader.remove(fast)


def refuse(*_: object) -> int:
    raise PermissionError(1, "Operation not permitted")


@pytest.mark.parametrize(
    ("where", "what"),
    [(bpf, "ring_buffer"), (bpf, "shared_bytes"), (bpf, "socket_filter"), (lanes, "packet_facts")],
)
async def test_where_the_kernel_lets_nobody_have_a_lane_the_ring_is_alone(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, where: object, what: str
):
    btf.packet_facts()
    before = len(os.listdir("/proc/self/fd"))
    with monkeypatch.context() as patch:
        patch.setattr(where, what, refuse)
        source = Ring(pair.right)
        source.open()
    try:
        assert source.descriptors == (source.sock.fileno(),)
        assert not source.awake
        await pair.up()
        await send(pair, 5)
        assert len([each for each in await taken(source, count=5) if each.data[12:14] == b"\x08\x00"]) == 5
    finally:
        source.close()
    assert len(os.listdir("/proc/self/fd")) <= before + 4  # the pair's own sockets, since it is up


async def test_closed_it_leaves_nothing(pair: Pair):
    def held() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), Path("/proc/self/maps").read_text().count("bpf")

    before = held()
    for _ in range(3):
        source = lane(pair.left)
        source.close()
        source.close()
        assert not source.awake
        assert not source.crowded()
        assert not source.receive()
    assert held() == before
