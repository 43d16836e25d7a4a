"""Trace events through a ring: the same, in the same order, as off the socket, also where the ring is too small."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from contextlib import contextmanager

import numpy as np
import pytest
from veth_pair import RIGHT, on_one_core, send

from netemu.kernel.ebpf import bpf
from netemu.kernel.ebpf.outlet import LEAD, PLACE, ahead, alike, end_of, first_ahead, gather, one_by_one, said, whole
from netemu.kernel.spaces.sysctl import write_sysctls
from netemu.kernel.taps.reader import Reader
from netemu.kernel.taps.slots import AT_ONCE
from netemu.kernel.taps.trace import TraceTap
from netemu.kernel.taps.wire import new_nonce

BUFFER = 64 << 20
SMALL = 4096
IPV4 = bytes.fromhex("08000f0000000002")
"""NFTA_TRACE_NFPROTO: IPv6's own packets are sent by timers on any core, and have no order with others."""
BUSY, DISCARDED = 1 << 31, 1 << 30


@pytest.fixture
def plain(pair):
    """A tap without a ring: it gets the same events as any other of that host."""
    tap = TraceTap(pair.left, BUFFER, ask_conntrack=False, name="netemu-plain")
    yield tap
    tap.close()


@pytest.fixture
def tap(pair):
    made = TraceTap(pair.left, BUFFER, ask_conntrack=False)
    yield made
    made.close()


def shut(*taps: TraceTap) -> None:
    """No more events: without their chains nothing is traced."""
    for each in taps:
        each.nft.close()


def told(tap: TraceTap) -> list[bytes]:
    tap.drain()
    return list(tap.datagrams())


@pytest.mark.parametrize("size", [64 << 10, SMALL])
async def test_events_through_a_ring_are_those_off_the_socket_in_their_order(pair, plain, tap, size):
    """The smaller ring has room for 12 of them: the others wait in the socket's queue."""
    await pair.up()
    tap.open(size)
    for _ in range(3):
        await send(pair, 20)
    shut(tap, plain)
    events = told(tap)
    every = told(plain)
    assert len(events) > 3 * 20 * 8
    assert sorted(events) == sorted(every)
    assert [event for event in events if IPV4 in event] == [event for event in every if IPV4 in event]
    assert tap.lost() == 0


async def test_a_ring_that_runs_full_again_and_again_under_traffic_keeps_the_order(pair, plain, tap):
    """The reader empties ring and queue while they are filled."""
    await pair.up()
    tap.open(SMALL)
    reader = Reader()
    reader.add(tap)
    with pair.left.entered():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sock, reader.hurried(), on_one_core():
        for number in range(4000):
            sock.sendto(number.to_bytes(2, "big"), (RIGHT, 9))
    reader.close()
    shut(tap, plain)
    events = told(tap)
    assert len(events) > 4000 * 8
    every = told(plain)
    assert sorted(events) == sorted(every)
    assert [event for event in events if IPV4 in event] == [event for event in every if IPV4 in event]
    assert tap.lost() == plain.lost() == 0


async def test_a_ring_that_was_full_is_used_again_before_the_queue_is_empty(pair, plain, tap):
    """What is queued costs sender and reader more: under a load that goes on, a queue would never become empty."""
    for net in (pair.left, pair.right):
        write_sysctls(net, [("net.ipv6.conf.all.disable_ipv6", "1", True)])  # its own packets would fill the ring again
    await pair.up()
    tap.open(SMALL)
    with on_one_core():
        await send(pair, 2 * AT_ONCE // 8)
    assert tap._outlet.overflows
    assert tap.receive(), "less was queued than is taken at once"
    queued = tap._outlet.queued
    assert not tap._outlet.overflows
    with on_one_core():
        await send(pair, 1)
    assert tap._outlet.end > tap._outlet.begin
    assert tap._dequeued < queued
    shut(tap, plain)
    events, every = told(tap), told(plain)
    assert [event for event in events if IPV4 in event] == [event for event in every if IPV4 in event]
    assert sorted(events) == sorted(every)
    assert tap.lost() == 0


async def test_what_neither_ring_nor_queue_has_room_for_is_counted(pair, plain):
    tap = TraceTap(pair.left, 1, ask_conntrack=False)
    tap.open(SMALL)
    await pair.up()
    for each in (tap, plain):
        each.forget()
    await send(pair, 50)
    shut(tap, plain)
    events, every = told(tap), told(plain)
    assert events[: SMALL // PLACE] == every[: SMALL // PLACE]
    assert tap.lost() > 0
    assert len(events) + tap.lost() == len(every)
    tap.close()


async def test_long_events_among_short_ones_come_whole(pair, plain):
    tap = TraceTap(pair.left, BUFFER, ask_conntrack=False, name="netemu-" + "x" * 160)
    tap.open(1 << 20)
    await pair.up()
    await send(pair, 10)
    shut(tap, plain)
    events = told(tap)
    assert {len(event) > PLACE - LEAD for event in events} == {True, False}
    assert events == told(plain)
    tap.close()


async def test_a_canary_is_proof_through_a_ring_too(pair, tap, reader):
    await pair.up()
    tap.open(SMALL)
    reader.add(tap)
    nonce = new_nonce()
    tap.send_canary(nonce)
    await tap.proven()
    assert not [event for event in told(tap) if nonce in event]


def ends(work: Callable[[], object]) -> bool:
    """Whether something comes to its end, in a thread that a test that fails leaves behind."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(20)
    return not thread.is_alive()


@contextmanager
def sending(pair, tap: TraceTap, monkeypatch):
    """With each look at the socket's queue come more packets."""
    with pair.left.entered():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    look = tap._receive_queued

    def look_and_send(*most: int) -> int:
        taken = look(*most)
        for _ in range(10):
            sock.sendto(b"!", (RIGHT, 9))
        return taken

    with sock, monkeypatch.context() as patched:
        patched.setattr(tap, "_receive_queued", look_and_send)
        yield


async def test_a_ring_made_while_packets_come_counts_what_is_queued_from_its_own_beginning(
    pair, plain, tap, monkeypatch
):
    await pair.up()
    await send(pair, 5)
    with sending(pair, tap, monkeypatch):
        tap.open(SMALL)
    assert ends(tap.forget)
    plain.forget()
    await send(pair, 20)
    shut(tap, plain)
    events, every = ([event for event in told(each) if IPV4 in event] for each in (tap, plain))
    assert events == every
    assert tap.lost() == 0


@pytest.mark.parametrize("size", [0, SMALL])
async def test_a_drain_ends_though_packets_never_do(pair, tap, monkeypatch, size):
    await pair.up()
    tap.open(size)
    await send(pair, 5)
    with sending(pair, tap, monkeypatch):
        assert ends(tap.drain)
    assert tap.count


@pytest.mark.parametrize("wrong", [1, -1])
async def test_a_wrong_count_of_what_was_queued_costs_no_event_and_heals(pair, plain, tap, wrong):
    """As after a drop that the filter did not see, or a datagram that came later than it was waited for."""
    await pair.up()
    tap.open(SMALL)
    await send(pair, 20)
    tap.drain()
    tap._dequeued += wrong
    await send(pair, 20)
    assert ends(tap.drain)
    await send(pair, 20)
    shut(tap, plain)
    events, every = told(tap), told(plain)
    assert sorted(events) == sorted(every)
    assert events[-20:] == every[-20:]
    assert tap.lost() == max(-wrong, 0)  # one that was counted and never came is said to be lost, once all is quiet
    assert not tap._readable(0), "something is left in the socket"


@pytest.mark.parametrize("refused", ["ring_buffer", "shared_bytes", "socket_filter"])
async def test_where_the_kernel_lets_nobody_have_such_a_ring_events_come_off_the_socket(
    pair, plain, tap, monkeypatch, refused
):
    def refuse(*_: object) -> int:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(bpf, refused, refuse)
    await pair.up()
    tap.open(SMALL)
    assert tap.descriptors == (tap.sock.fileno(),)
    await send(pair, 5)
    shut(tap, plain)
    events = told(tap)
    assert events
    assert events == told(plain)


def test_closing_twice_and_opening_afterwards_do_no_harm(pair):
    tap = TraceTap(pair.left, BUFFER, ask_conntrack=False)
    opening = threading.Thread(target=tap.open, args=(SMALL,))
    opening.start()
    opening.join()
    tap.close()
    tap.close()
    tap.open(SMALL)
    assert not tap.receive()


def record(data: bytes, place: int = PLACE, mark: int = 0, before: int = 0) -> bytes:
    return struct.pack("=4I", place - 8 | mark, 0, len(data), before) + data.ljust(place - LEAD, b"?")


def test_records_are_taken_up_to_the_first_that_is_still_being_written():
    short, long = b"s" * 40, b"l" * 1000
    whole = record(short) + record(long, 2048) + record(b"", PLACE, DISCARDED) + record(short)
    records = memoryview(whole + record(b"", PLACE, BUSY) + record(short))
    assert one_by_one(records, 0) == (len(whole), [short, long, short])
    assert alike(records) is None


def test_records_of_both_sizes_are_gathered_up_to_the_first_that_is_not_whole():
    datagrams = [b"s" * 40, b"l" * 1000, b"f" * (PLACE - LEAD), b"g" * (PLACE - LEAD + 1), b"e"]
    one_after_the_other = [record(each, PLACE if len(each) <= PLACE - LEAD else 2048) for each in datagrams]
    ends = np.cumsum([len(each) for each in one_after_the_other])
    for mark in (BUSY, DISCARDED):
        records = memoryview(b"".join(one_after_the_other) + record(b"", PLACE, mark) + record(b"x"))
        starts = whole(records)
        assert starts.tolist() == [0, *ends[:-1]]
        lengths, before = said(records, starts)
        assert lengths.tolist() == [len(each) for each in datagrams]
        assert not before.any()
        rows = np.zeros((len(starts), 1000), np.uint8)
        gather(records, starts, lengths, rows)
        assert [row[:size].tobytes() for row, size in zip(rows, lengths, strict=True)] == datagrams
        assert [end_of(starts[:n], lengths[:n]) for n in range(1, 6)] == ends.tolist()
    assert not len(whole(records[ends[-1] :]))


def test_records_are_taken_up_to_the_first_that_queued_ones_came_before():
    records = record(b"a", before=4) + record(b"b", before=5) + record(b"c", before=6)
    assert one_by_one(memoryview(records), 5) == (2 * PLACE, [b"a", b"b"])
    assert first_ahead(alike(memoryview(records))[1], 5) == 2
    assert first_ahead(alike(memoryview(records))[1], 6) == 3


@pytest.mark.parametrize("mark", [BUSY, DISCARDED])
def test_records_all_alike_and_whole_take_the_short_way(mark):
    lengths, before = alike(memoryview(record(b"a") + record(b"bc", before=7)))
    assert (lengths.tolist(), before.tolist()) == ([1, 2], [0, 7])
    assert alike(memoryview(record(b"a") + record(b"", PLACE, mark))) is None


@pytest.mark.parametrize(("before", "queued", "more"), [(3, 3, 0), (5, 3, 2), (3, 5, -2), (1, (1 << 32) - 2, 3)])
def test_how_many_were_queued_before_is_counted_round_its_32_bits(before, queued, more):
    assert ahead(before, queued) == more
    assert first_ahead(np.array([before], np.uint32), queued) == (0 if more > 0 else 1)
