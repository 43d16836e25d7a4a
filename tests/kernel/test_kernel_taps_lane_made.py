"""Making a lane: how large it is, who is refused one and has the ring alone, and that nothing of it stays."""

from __future__ import annotations

import errno
import gc
import mmap
import os
import socket
import struct
from pathlib import Path
from types import SimpleNamespace

import pytest
from lane_frames import SMALL
from test_kernel_taps_wire import taken
from veth_pair import Pair, send
from wire_taps import lane

from netemu.kernel.ebpf import bpf, btf
from netemu.kernel.ebpf.lane_program import (
    MOST,
    Layout,
)
from netemu.kernel.taps import lane as lanes
from netemu.kernel.taps.packet import What, unbound_socket
from netemu.kernel.taps.ring import Ring

pytestmark = pytest.mark.needs("btf")


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


async def test_the_kernel_takes_the_quicker_program_where_it_can(pair: Pair, monkeypatch: pytest.MonkeyPatch):
    """Were it refused, another one would do the same, only slower."""
    loaded, socket_filter = [], bpf.socket_filter

    def counted(instructions: bytes) -> int:
        loaded.append(instructions)
        return socket_filter(instructions)

    monkeypatch.setattr(bpf, "socket_filter", counted)
    lane(pair.right).close()
    assert len(loaded) == 1
    cast = struct.pack("=BBhi", bpf.CALL, bpf.KERNEL << 4, 0, btf.packet_facts().cast)
    assert loaded[0].count(cast) == (2 if btf.packet_facts().cast else 0)


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


@pytest.mark.parametrize("fails", ["memory", "bell", "attach"])
async def test_what_fails_halfway_leaves_nothing(pair: Pair, monkeypatch: pytest.MonkeyPatch, fails: str):
    mapped = iter(("memory", "bell"))

    def map_it(descriptor: int, size: int) -> mmap.mmap:
        if next(mapped) == fails:
            raise OSError(errno.ENOMEM, "Cannot allocate memory")
        return mmap.mmap(descriptor, size)

    class Refusing(socket.socket):
        def setsockopt(self, *_: object) -> None:
            raise OSError(errno.EPERM, "Operation not permitted")

    with unbound_socket(pair.right, What()) as sock:
        before = held()
        monkeypatch.setattr(lanes, "mmap", SimpleNamespace(PAGESIZE=mmap.PAGESIZE, mmap=map_it))
        with Refusing() as other, pytest.raises(OSError, match="not permitted" if fails == "attach" else "memory"):
            lanes.Lane(other if fails == "attach" else sock, 1 << 14)
        assert held() == before


def held() -> tuple[int, int]:
    """Descriptors, and mappings of eBPF's maps."""
    gc.collect()
    return len(os.listdir("/proc/self/fd")), Path("/proc/self/maps").read_text().count("bpf")


async def test_closed_it_leaves_nothing(pair: Pair):
    before = held()
    for _ in range(3):
        source = lane(pair.left)
        source.close()
        source.close()
        assert not source.awake
        assert not source.crowded()
        assert not source.receive()
    assert held() == before
