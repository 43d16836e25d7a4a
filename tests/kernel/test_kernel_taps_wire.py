"""What every tap of a wire does, whatever it is made of: the ring and the scapy socket pass the same tests."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from veth_pair import LEFT, RIGHT, Pair, send
from wire_taps import ROOMY, TINY, lane, ring

from netemu.errors import UsageError
from netemu.kernel.keeping.kept import Kept
from netemu.kernel.spaces.namespace import NetworkNamespace
from netemu.kernel.taps.packet import FrameSource, What
from netemu.kernel.taps.reader import PACE, Reader
from netemu.kernel.taps.ring import Ring
from netemu.kernel.taps.scapy_socket import PacketSocket
from netemu.kernel.taps.wire import WireTap, new_nonce, send_canary, sending_socket
from netemu.record.capture import OTHERHOST, OUTGOING
from netemu.record.decode.headers import decode, split_frame
from netemu.record.frames import RawFrame

Make = Callable[..., FrameSource]


def scapy_socket(net: NetworkNamespace, what: What | None = None, size: int = ROOMY) -> FrameSource:
    return PacketSocket(net, what, buffer=size)


LANE = pytest.param(lane, marks=pytest.mark.needs("btf"), id="lane")


@pytest.fixture(params=[pytest.param(ring, id="ring"), LANE, pytest.param(scapy_socket, id="scapy")])
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    """Makes taps of one kind, and closes them."""
    made: list[FrameSource] = []

    def make(*args: object, **options: object) -> FrameSource:
        made.append(request.param(*args, **options))
        return made[-1]

    yield make
    for source in made:
        source.close()


Kind = Callable[[RawFrame], bool]


def any_frame(_frame: RawFrame) -> bool:
    return True


def udp(frame: RawFrame) -> bool:
    packet = split_frame(frame.data)
    headers = decode(packet) if packet is not None else None
    return headers is not None and headers.proto == "udp"


def injected(frame: RawFrame) -> bool:
    return b"\x88\xb6" in frame.data[12:18]


async def taken(source: FrameSource, kind: Kind = any_frame, count: int = 1) -> list[RawFrame]:
    """Frames of a kind, once there are `count`: a loaded machine may bring a frame over its wire a moment later."""
    found: list[RawFrame] = []
    async with asyncio.timeout(5):
        while True:
            source.drain()
            found += [frame for frame in source.frames() if kind(frame)]
            if len(found) >= count:
                return found
            await asyncio.sleep(0.001)


def inject(pair: Pair, frame: bytes) -> None:
    with sending_socket(pair.left) as sender:
        sender.sendto(frame, ("eth0", 0))


async def test_it_sees_what_leaves_and_what_arrives_with_kernel_times_in_order(pair: Pair, make: Make):
    left, right = (make(net) for net in pair.nets)
    await pair.up()
    await send(pair)
    (sent,), (came,) = await taken(left, udp), await taken(right, udp)
    indexes = [links.index["eth0"] for links in pair.links]
    assert [sent.interface, came.interface] == indexes
    assert (sent.kind == OUTGOING, came.kind) == (True, 0)
    assert 0 < sent.time_ns <= came.time_ns
    assert sent.data == came.data
    assert (sent.data[42:], sent.length) == (b"0", len(sent.data))


async def test_it_sees_an_interfaces_very_first_packet(pair: Pair, make: Make):
    """It is bound before the interface is up."""
    source = make(pair.left)
    await pair.up()
    with pair.udp(pair.left, LEFT) as sender:
        sender.sendto(b"x", (RIGHT, 7))
    assert await taken(source), "the ARP request for the first packet"


async def test_frames_come_in_order_and_whole_whatever_their_lengths(pair: Pair, make: Make):
    source = make(pair.right)
    await pair.up()
    source.forget()
    frames = [b"\xff" * 6 + bytes(6) + b"\x88\xb6" + bytes([n % 251]) * (1 + n * 7 % 1500) for n in range(300)]
    with sending_socket(pair.left) as sender:
        for frame in frames:
            sender.sendto(frame, ("eth0", 0))
    seen = await taken(source, injected, len(frames))
    assert [frame.data for frame in seen] == frames
    assert [frame.length for frame in seen] == [len(frame) for frame in frames]
    assert source.lost() == 0


async def test_a_frame_for_somebody_else_is_told_as_such(pair: Pair, make: Make):
    source = make(pair.right)
    await pair.up()
    inject(pair, bytes.fromhex("020000000099 020000000001 88b6") + bytes(46))
    assert [frame.kind for frame in await taken(source, injected)] == [OTHERHOST]


@pytest.mark.parametrize("tag", ["8100 0064", "8100 e001", "88a8 0fff"])
async def test_a_vlan_tag_that_the_kernel_keeps_beside_the_frame_is_in_its_place(pair: Pair, make: Make, tag: str):
    source = make(pair.right)
    await pair.up()
    frame = b"\xff" * 6 + bytes(6) + bytes.fromhex(tag) + b"\x88\xb6" + bytes(range(50))
    inject(pair, frame)
    inject(pair, frame[:12] + frame[16:])
    seen = await taken(source, injected, 2)
    assert [each.data for each in seen] == [frame, frame[:12] + frame[16:]]
    assert [each.length for each in seen] == [len(frame), len(frame) - 4]


async def test_a_filter_keeps_out_what_it_does_not_take(pair: Pair, make: Make):
    source, *others = (make(pair.right, What(filter=text)) for text in ("udp port 7", "tcp", "udp port 8"))
    await pair.up()
    await send(pair, 3)
    assert len(await taken(source, udp, 3)) == 3
    assert [await taken(other, count=0) for other in others] == [[], []]


async def test_a_filter_can_ask_for_a_vlan(pair: Pair, make: Make):
    source = make(pair.right, What(filter="vlan 100"))
    await pair.up()
    for tag in ("81000065", "", "81000064"):
        inject(pair, b"\xff" * 6 + bytes(6) + bytes.fromhex(tag) + b"\x88\xb6" + bytes(50))
    assert [frame.data[12:16].hex() for frame in await taken(source)] == ["81000064"]


async def test_only_one_interfaces_frames_come_where_one_is_named(pair: Pair, make: Make):
    source = make(pair.left, What(interface=1))
    await pair.up()
    with pair.left.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"x", (RIGHT, 7))
        sender.sendto(b"x", ("127.0.0.1", 7))
    assert {frame.interface for frame in await taken(source)} == {1}


async def test_a_snap_length_cuts_frames_and_tells_how_long_they_were(pair: Pair, make: Make):
    source = make(pair.right, What(snap_length=100))
    await pair.up()
    inject(pair, b"\xff" * 6 + bytes(6) + b"\x88\xb6" + bytes(range(250)) * 4)
    (cut,) = await taken(source, injected)
    assert (len(cut.data), cut.length) == (100, 1014)


@pytest.mark.parametrize(
    ("what", "complaint"),
    [
        (What(filter="no such word"), "filter '.*no such word.*': .*syntax error"),
        (What(filter="host"), "filter"),
        (What(snap_length=20), "a snap length of 20 is too short"),
    ],
)
async def test_what_cannot_be_taken_is_refused_in_words(pair: Pair, make: Make, what: What, complaint: str):
    with pytest.raises(UsageError, match=complaint):
        make(pair.left, what)


async def test_it_counts_what_it_drops_and_forgets_on_request(pair: Pair, make: Make):
    source = make(pair.right, size=TINY)
    await pair.up()
    source.forget()
    await send(pair, 200)
    lost = source.lost()
    assert lost > 0
    assert source.lost() == lost, "looking does not change the count"
    assert lost + len(await taken(source, count=0)) >= 200
    source.forget()
    assert source.lost() == 0
    assert await taken(source, count=0) == []


@pytest.mark.parametrize("kind", [ring, LANE])
async def test_a_ring_is_crowded_once_a_quarter_of_it_waits_and_no_more_when_it_was_taken(pair: Pair, kind: Make):
    source = kind(pair.right)
    try:
        await pair.up()
        assert not source.crowded()
        sent = 0
        while not source.crowded():
            await send(pair, 100)
            sent += 100
            assert sent < 100_000
        source.drain()
        assert not source.crowded()
        assert len([frame for frame in source.frames() if udp(frame)]) == sent
        assert source.lost() == 0
    finally:
        source.close()
    assert not source.crowded()


async def test_a_ring_is_not_crowded_by_blocks_that_were_handed_over_for_their_age(pair: Pair):
    source = ring(pair.right)
    try:
        await pair.up()
        source.drain()
        a_quarter = source.blocks // 4
        for blocks in range(1, a_quarter + 3):
            await send(pair, 1)
            while source._full() < blocks:
                await asyncio.sleep(0.001)  # the kernel's timer hands the block over
        assert not source.crowded()
    finally:
        source.close()


@pytest.mark.parametrize(("seconds", "patience"), [(0.0, PACE), (10.0, 0.12)])
async def test_a_ring_that_fills_quickly_is_not_left_alone(pair: Pair, seconds: float, patience: float):
    source = ring(pair.right)
    try:
        await pair.up()
        source.drain()
        while source._full() < 20:  # of 64: an eighth of the ring within 50 ms brings it to PACE
            await send(pair, 1)
            await asyncio.sleep(0.001)  # the kernel's timer hands blocks over, and tells nobody here
        source._looked = time.monotonic() - seconds
        source.receive()
        assert source.patience == patience
    finally:
        source.close()


async def test_out_of_memory_while_watching_no_frame_is_kept_twice(pair: Pair, monkeypatch: pytest.MonkeyPatch):
    source, failures = ring(pair.right), iter([True])

    def failing(_ring: Ring, _blocks: object) -> None:
        if next(failures, False):
            raise MemoryError

    monkeypatch.setattr(Ring, "_watch", failing)
    try:
        await pair.up()
        source.forget()
        source.watched = b"somebody"
        await send(pair, 6)
        with pytest.raises(MemoryError):
            source.drain()
        assert len(await taken(source, udp, 6)) == 6
        assert source.lost() == 0
    finally:
        source.close()


async def test_out_of_memory_between_two_parts_of_a_ring_nothing_is_lost_or_kept_twice(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
):
    source, ways, calls = ring(pair.right), Kept.ways, iter(range(10))
    try:
        await pair.up()
        source.forget()
        frames = [b"\xff" * 6 + bytes(6) + b"\x88\xb6" + n.to_bytes(4, "big") + bytes(42) for n in range(6000)]

        def failing(kept: Kept, blocks: np.ndarray) -> object:
            if next(calls, 10) == 1:
                raise MemoryError
            return ways(kept, blocks)

        monkeypatch.setattr(Kept, "ways", failing)
        with sending_socket(pair.left) as sender:
            for frame in frames:
                sender.sendto(frame, ("eth0", 0))
        with pytest.raises(MemoryError):
            source.drain()
        assert [frame.data for frame in await taken(source, injected, len(frames))] == frames
        assert source.lost() == 0
    finally:
        source.close()


async def test_what_was_taken_can_be_had_after_closing_which_may_be_done_twice(pair: Pair, make: Make):
    source = make(pair.right)
    await pair.up()
    await send(pair, 2)
    source.drain()
    source.close()
    source.close()
    source.receive()
    assert len([frame for frame in source.frames() if udp(frame)]) == 2


async def test_the_thread_takes_what_comes_while_the_loop_is_busy(pair: Pair, make: Make, reader: Reader):
    source = make(pair.right)
    await pair.up()
    reader.add(source)
    await send(pair, 20)
    seen: list[RawFrame] = []
    until = time.monotonic() + 5
    while len(seen) < 20 and time.monotonic() < until:  # the loop does nothing else
        seen += [frame for frame in source.frames() if udp(frame)]
    assert len(seen) == 20
    reader.remove(source)


async def test_canaries_prove_both_ways_of_a_wire_and_stay_out_of_the_record(pair: Pair, make: Make, reader: Reader):
    taps = [WireTap(make(net)) for net in pair.nets]
    await pair.up()
    nonce = new_nonce()
    for tap, net in zip(taps, pair.nets, strict=True):
        reader.add(tap.source)
        tap.expect_canaries(nonce, pair.eth0(net))
    assert taps[0].missing == ["eth0 in", "eth0 out"]
    for net in pair.nets:
        with sending_socket(net) as sender:
            send_canary(sender, nonce, "eth0")
    async with asyncio.timeout(5):
        for tap in taps:
            await tap.proven()
    await send(pair)
    for tap in taps:
        tap.drain()
        seen = list(tap.frames())
        assert not [frame for frame in seen if frame.data[12:14] == b"\x88\xb5"]
        assert len([frame for frame in seen if udp(frame)]) == 1


async def test_canaries_pass_a_filter_and_a_snap_length(pair: Pair, make: Make, reader: Reader):
    tap = WireTap(make(pair.left, What(filter="tcp", snap_length=64)))
    await pair.up()
    reader.add(tap.source)
    nonce = new_nonce()
    tap.expect_canaries(nonce, pair.eth0(pair.left))
    for net in pair.nets:
        with sending_socket(net) as sender:
            send_canary(sender, nonce, "eth0")
    async with asyncio.timeout(5):
        await tap.proven()


async def test_a_canary_of_another_record_proves_nothing(pair: Pair, make: Make):
    tap = WireTap(make(pair.left))
    await pair.up()
    tap.expect_canaries(new_nonce(), pair.eth0(pair.left))
    with sending_socket(pair.left) as sender:
        send_canary(sender, new_nonce(), "eth0")
    tap.drain()
    assert tap.missing == ["eth0 in", "eth0 out"]


async def test_an_interface_that_goes_down_does_not_end_a_tap(pair: Pair, make: Make, reader: Reader):
    source = make(pair.left, What(interface=pair.links[0].index["eth0"]))
    await pair.up()
    reader.add(source)
    await pair.links[0].set_down("eth0")
    await pair.up()
    await send(pair)
    assert await taken(source, udp)
