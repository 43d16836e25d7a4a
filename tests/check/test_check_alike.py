"""Judging one packet of each kind gives what judging every packet gives."""

from __future__ import annotations

import random
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from record_packets import udp
from record_scene import Scene
from record_scenes import any_captures

from netemu.check import alike
from netemu.check.alike import Alike, _visits
from netemu.check.explain import Surroundings
from netemu.check.packets import check_packets
from netemu.check.selections import Selections
from netemu.record.exchange import Exchange
from netemu.record.flows import Flow
from netemu.record.journeys import Chosen
from netemu.record.record import Record, build_record
from netemu.topology.expectation import PacketExpectation

ASKED = {
    "src": ["192.168.0.1:*", "192.168.0.1:4000", "192.168.0.2:53", "*:4001", "[fd00::1]:4000", "192.168.0.1"],
    "dst": ["192.168.0.2:53", "172.26.0.3:8080", "192.168.0.2:*", "*:53", "192.168.0.1:*"],
    "ttl": [64, 63, 62],
    "ct": ["new", "established", "none", "untracked"],
    "direction": ["original", "reply"],
    "by": ["rule", "conntrack", "null-binding"],
    "rule": ["DNAT", "KUBE"],
    "walked": [True, False],
    "manip": ["src", "dst", "both", "none"],
}
POINTS = ["A:eth0 out", "B:eth0 in", "B@prerouting.nat", "B@postrouting.nat", "B@input.nat", "C:eth0 in"]


def any_expectation(dice: random.Random) -> PacketExpectation:
    packet = f"{dice.choice(['request', 'reply'])}.{dice.choice(['first', 'nth', 'all', '2'])}"
    if dice.random() < 0.2:
        return PacketExpectation(traffic="all", packet=packet, path=tuple(dice.sample(POINTS[:2], 2)))
    at = dice.choice(POINTS)
    keys = ["src", "dst", "ttl"] + (["ct", "direction", "manip"] if "@" in at else [])
    keys += ["by", "rule", "walked"] if at.endswith(".nat") else []
    asked = {key: dice.choice(ASKED[key]) for key in dice.sample(keys, dice.randrange(1, 3))}
    return PacketExpectation(traffic="all", packet=packet, at=at, **asked)


def plainly(record: Record) -> Record:
    """The same record of lists, which are judged one by one."""
    return replace(record, flows=[Flow(f.id, f.original, f.entries, list(f.journeys)) for f in record.flows])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**40).map(random.Random), st.sampled_from(["A", "B", "pod"]), st.integers(1, 4))
def test_one_packet_of_each_kind_decides_as_all_do(dice: random.Random, host: str, at_once: int):
    captures, segment_of = any_captures(dice)
    record = build_record(captures, segment_of, [Exchange("all", host, "", 0, 10**12)])
    order = record.journeys.order  # what can't be told apart is judged by more than one: test_check_packets.py
    vars(record.journeys)["order"] = replace(order, rivals=np.zeros_like(order.rivals))
    plain, selections = plainly(record), Selections(record)
    for _ in range(12):
        expectation = any_expectation(dice)
        with patch.object(alike, "AT_ONCE", at_once if at_once < 4 else alike.AT_ONCE):
            found = check_packets(expectation, record, Surroundings(), dice.choice([selections, None]))
        assert found == check_packets(expectation, plain, Surroundings())


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**40).map(random.Random))
def test_packets_are_of_the_same_kinds_looked_at_one_by_one_and_together(dice: random.Random):
    """Each goes one way by itself, and is read at one place; together they are read wherever they came."""
    captures, segment_of = any_captures(dice)
    journeys = build_record(captures, segment_of).journeys
    places = np.sort(dice.sample(range(len(journeys)), dice.randrange(len(journeys) + 1)) or range(len(journeys)))
    ways = [PacketExpectation(traffic="all", packet="request.all", at=point, ttl=64) for point in POINTS]
    for way in [*ways, PacketExpectation(traffic="all", packet="request.all", path=("A:eth0 out", "B:eth0 in"))]:
        together = Alike(Chosen(journeys, places)).kinds(way).tolist()
        with patch.object(alike, "AT_ONCE", 1):
            assert Alike(Chosen(journeys, places)).kinds(way).tolist() == together


def test_what_was_looked_at_for_one_expectation_serves_the_next_and_is_forgotten_in_time(monkeypatch):
    looked = []
    monkeypatch.setattr(alike, "_visits", lambda *given: looked.append(given[2]) or _visits(*given))
    captures, segment_of = any_captures(random.Random(5))
    record = build_record(captures, segment_of)
    mine = Alike(Chosen(record.journeys, np.arange(len(record.journeys))))

    def numbers(at: str, **asked: str) -> list[int]:
        return mine.kinds(PacketExpectation(traffic="all", packet="request.all", at=at, **asked)).tolist()

    first = numbers("A:eth0 out", ttl=64)
    other = numbers("A:eth0 out", src="192.168.0.1:4000")
    assert numbers("A:eth0 out", ttl=63) == first
    assert other != first
    assert len(looked) == 1
    for at in POINTS[1:]:
        numbers(at, ttl=64)
    assert len(looked) == len(POINTS)
    assert numbers("A:eth0 out", ttl=64) == first
    assert len(looked) == len(POINTS) + 1


def test_nothing_selected_is_unproven_in_columns_too():
    record = build_record([], {}, [Exchange("all", "A", "", 0, 1)])
    check = check_packets(
        PacketExpectation(traffic="all", packet="request.all", at="B:eth0 in", ttl=1), record, Surroundings()
    )
    assert check.verdict == "unproven"


@pytest.mark.parametrize("which", ["first", "nth", "all", "3"])
def test_selectors_select_the_same(which: str):
    captures, segment_of = any_captures(random.Random(3))
    record = build_record(captures, segment_of, [Exchange("all", "A", "", 0, 10**12)])
    expectation = PacketExpectation(traffic="all", packet=f"request.{which}", at="A:eth0 out", ttl=64)
    mine, theirs = (check_packets(expectation, each, Surroundings()) for each in (record, plainly(record)))
    assert mine.journeys == theirs.journeys


@pytest.mark.parametrize("at_once", [2, alike.AT_ONCE])
def test_a_later_fragment_is_of_another_kind_than_a_whole_packet(at_once, monkeypatch):
    """Of a packet's fragments the first speaks for the others: where a later one is, no other visit is judged alike."""
    monkeypatch.setattr(alike, "AT_ONCE", at_once)
    scene = Scene()
    a = scene.host("A", eth0="lan")
    for number, field in enumerate((0x4000, 1, 0x4000)):
        frame = bytearray(udp("192.168.0.1:4000", "192.168.0.2:53", b"x" * 8, ip_id=number).frame())
        frame[20:22] = field.to_bytes(2, "big")
        a.wire("eth0", "out", bytes(frame))
    journeys = scene.record().journeys
    expectation = PacketExpectation(traffic="all", packet="request.all", at="A:eth0 out", ttl=64)
    whole, later, other = Alike(Chosen(journeys, np.arange(3))).kinds(expectation).tolist()
    assert whole == other != later


def test_a_packet_that_never_came_to_a_point_is_of_another_kind_than_any_that_did(monkeypatch):
    """Whatever block it is in: the first one begins at the point, as do none of those in its block."""
    monkeypatch.setattr(alike, "AT_ONCE", 2)
    scene = Scene()
    a, b = scene.host("A", eth0="lan"), scene.host("B", eth0="lan")
    packets = [udp("192.168.0.1:4000", "192.168.0.2:53", b"x", ip_id=number) for number in range(1, 5)]
    a.wire("eth0", "out", packets[0])
    for packet in packets[1:3]:
        a.sends(packet, "eth0")
    b.sends(packets[3].but(src="192.168.0.1:4000"), "eth0")
    journeys = scene.record().journeys
    expectation = PacketExpectation(traffic="all", packet="request.all", at="A:eth0 out", ttl=64)
    numbers = Alike(Chosen(journeys, np.arange(4))).kinds(expectation).tolist()
    assert numbers[1] == numbers[2]
    assert len({numbers[0], numbers[1], numbers[3]}) == 3


@pytest.mark.parametrize("at_once", [2, 3, alike.AT_ONCE])
def test_kinds_are_of_the_address_that_is_asked_and_of_all_else(at_once, monkeypatch):
    monkeypatch.setattr(alike, "AT_ONCE", at_once)
    scene = Scene()
    a = scene.host("A", eth0="lan")
    for number in range(8):
        packet = udp(f"192.168.0.1:{4000 + number % 2}", "192.168.0.2:53", b"x", ip_id=number)
        a.wire("eth0", "out", packet.but(ttl=64 - number // 4))
    mine = Alike(Chosen(scene.record().journeys, np.arange(8)))

    def numbers(**asked: object) -> list[int]:
        found = mine.kinds(PacketExpectation(traffic="all", packet="request.all", at="A:eth0 out", **asked)).tolist()
        return [found.index(each) for each in found]

    assert numbers(ttl=64) == [0, 0, 0, 0, 4, 4, 4, 4]
    assert numbers(src="192.168.0.1:4000") == [0, 1, 0, 1, 4, 5, 4, 5]
    assert numbers(src="192.168.0.1:4000", dst="192.168.0.2:53") == [0, 1, 0, 1, 4, 5, 4, 5]
    assert numbers(src="192.168.0.1", dst="192.168.0.2:54") == [0, 0, 0, 0, 4, 4, 4, 4]
