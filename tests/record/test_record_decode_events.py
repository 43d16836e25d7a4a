"""Trace events read in bulk against the plain reader, on what kernels write and on damaged messages."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from record_nodeport import NodePort
from record_packets import tcp, udp
from record_passes import trace_events
from record_scene import DNATED, Ct, Scene, attribute, message, new, u32

from netemu.record.decode.events import read_events
from netemu.record.frames import Datagrams


def messages_of(old: bool) -> list[bytes]:
    """The trace messages of a scene with one of everything."""
    scene = Scene(old)
    lab = NodePort(scene)
    jump = lab.b.rule("nat", "PREROUTING", "-A PREROUTING -j KUBE-SERVICES")
    lab.handshake()
    walk = lab.b.gets("eth0", tcp("[fd00::1]:1", "[fd00::2]:2", options=b""), "eth0", Ct("untracked"))
    walk.sees("prerouting").matches(jump, "jump", "KUBE-SERVICES").sees("prerouting.nat").falls_through("filter", "IN")
    walk = lab.b.gets("eth0", udp("10.0.0.1:1", "10.0.0.2:2", b"x" * 40), "eth0", new(0xFFFFFFFF, *DNATED))
    walk.through("prerouting", "prerouting.nat").falls_through("filter", "FORWARD", "drop")
    return [event for host in scene.hosts for event in host.trace]


SEEDS = messages_of(old=False) + messages_of(old=True)


def agree(datagrams: list[bytes]) -> None:
    """Hold the bulk reader against the plain one."""
    found = read_events(Datagrams.of(datagrams))
    plain = [(place, event) for place, each in enumerate(datagrams) for event in trace_events([each])]
    assert [(int(found.datagram[row]), found.event(row)) for row in range(len(found))] == plain


def mangled(dice: random.Random) -> bytes:
    """A message changed, cut, swollen, doubled, or with an attribute of another size."""
    data = dice.choice(SEEDS)
    where = dice.randrange(len(data) + 1)
    kind = dice.randrange(8)
    if kind == 0:
        return data[:where]
    if kind == 1:
        return data[:where] + dice.randbytes(dice.randrange(8)) + data[where:]
    if kind == 2:
        return data[:where] + dice.randbytes(1) + data[where + 1 :]
    if kind == 3:
        return data + dice.choice(SEEDS)
    if kind == 4:
        return message(10, 17, dice.randrange(12), data[20:where])
    if kind == 5:
        extra = attribute(dice.randrange(24), dice.randbytes(dice.randrange(10)))
        return message(10, 17, 2, data[20:] + extra if dice.random() < 0.5 else extra + data[20:])
    return data


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**40), st.integers(0, 60))
def test_the_bulk_reader_reads_every_message_as_the_plain_one_does(seed: int, count: int):
    dice = random.Random(seed)
    agree([mangled(dice) for _ in range(count)])


def test_thousands_of_damaged_messages_of_as_many_layouts_are_read_as_one_by_one():
    dice = random.Random(7)
    agree([mangled(dice) for _ in range(3000)])


def test_what_kernels_write_is_read_as_one_by_one():
    agree(SEEDS * 20)


def test_what_is_said_alike_is_read_once():
    found = read_events(Datagrams.of(SEEDS * 20))
    assert len(found.sayings) < len(SEEDS)
    assert len({(s.family, s.table, s.chain, s.kind, s.handle, s.verdict) for s in found.sayings}) <= len(found.sayings)


def test_several_messages_in_one_datagram_keep_their_order():
    agree([b"".join(SEEDS), SEEDS[0], b"".join(SEEDS[3:9]), b""])


def test_no_datagrams_are_no_events():
    assert len(read_events(Datagrams.of([]))) == 0
    assert len(read_events(Datagrams.of([b"", b"torn"]))) == 0


@pytest.mark.parametrize("bits", [0, 1, 2, 4, 8, 16, 64, 128, 10, 0x100, 0x108])
def test_conntrack_states_of_every_kind_are_read_as_one_by_one(bits: int):
    agree([each.replace(attribute(21, u32(8)), attribute(21, u32(bits))) for each in SEEDS])
