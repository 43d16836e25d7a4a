"""Fragments: which frames a pass left as."""

from __future__ import annotations

import numpy as np
import pytest
from record_packets import Packet, parts, udp
from record_scene import Scene

from netemu.record.join.fragments import is_fragment, is_later

MORE = 0x2000
LONG = udp("192.168.0.1:4000", "192.168.0.2:53", bytes(200), ip_id=7)
LONG6 = udp("[fd00::1]:4000", "[fd00::2]:53", bytes(200), ip_id=7)
HOOKS = ("output", "output.nat", "postrouting", "postrouting.nat")
BOTH = pytest.mark.parametrize("packet", [LONG, LONG6], ids=["IPv4", "IPv6"])


def test_what_is_a_part_and_what_a_later_one():
    field = np.array([0, 0x4000, MORE, MORE | 185, 370], np.uint16)
    assert is_fragment(field).tolist() == [False, False, True, True, True]
    assert is_later(field).tolist() == [False, False, False, True, True]


@pytest.fixture
def a(scene: Scene):
    return scene.host("A", eth0="lan")


def makes(host, packet: Packet) -> None:
    """The host makes a packet that leaves as fragments. IPv6 gives the id on the way out."""
    host.makes(packet.but(ip_id=0) if packet is LONG6 else packet, "eth0").through(*HOOKS)


def left(scene: Scene) -> list[tuple[int | None, ...]]:
    """Of each journey where the frames begin that its packet left as (None: whole)."""
    return [
        tuple(seen.headers.fragment[0] if seen.headers.fragment else None for seen in each.sightings if seen.time_ns)
        for each in scene.journeys()
    ]


@BOTH
def test_a_packet_leaves_as_its_fragments(scene: Scene, a, packet: Packet):
    makes(a, packet)
    for piece in parts(packet, 80, 160):
        a.wire("eth0", "out", piece)
    assert left(scene) == [(0, 80, 160)]


@BOTH
def test_a_packet_that_left_as_fragments_is_dated_by_the_first_not_by_the_packet_before_it(
    scene: Scene, a, packet: Packet
):
    a.sends(udp("192.168.0.1:4001", "192.168.0.2:53", b"before"), "eth0")
    scene.now += 1_000_000_000
    makes(a, packet)
    for piece in parts(packet, 80, 160):
        a.wire("eth0", "out", piece)
    before, cut = scene.journeys()
    first = next(seen for seen in cut.sightings if seen.headers.fragment is not None)
    assert cut.since_ns == first.time_ns > before.since_ns + 1_000_000_000


@BOTH
def test_a_packet_whose_last_fragment_was_dropped_on_its_way_out_leaves_as_the_others(scene: Scene, a, packet: Packet):
    makes(a, packet)
    for piece in parts(packet, 80, 160)[:2]:
        a.wire("eth0", "out", piece)
    assert left(scene) == [(0, 80)]


@BOTH
def test_fragments_of_another_packet_are_not_its_own(scene: Scene, a, packet: Packet):
    other = packet.but(ip_id=8) if packet is LONG else packet.but(src="[fd00::1]:4001")
    makes(a, packet)
    for piece in parts(other, 80, 160):
        a.wire("eth0", "out", piece)
    assert sorted(left(scene), key=str) == [(), (0,), (160,), (80,)]


@BOTH
def test_a_packet_begins_when_its_first_fragment_leaves(scene: Scene, a, packet: Packet):
    """Not with the packet before it, nor, as its host's first one, ahead of all."""
    b = scene.host("B", eth0="other")
    times = []
    for host, makes_one in ((b, False), (a, True), (b, False), (a, False), (a, True)):
        scene.now += 1_000_000_000
        short = udp("192.168.0.9:4000", "192.168.0.2:53", b"?", ip_id=len(times) + 20)
        times.append(scene.now + 1000)
        if not makes_one:
            host.sends(short, "eth0")
            continue
        whole = packet.but(payload=bytes([len(times)]) * 200, ip_id=len(times))
        makes(host, whole.but(ip_id=0) if packet is LONG6 else whole)
        for piece in parts(whole, 80, 160):
            host.wire("eth0", "out", piece)
    assert [each.since_ns for each in scene.journeys()] == times


def test_ipv6_packets_of_other_lengths_are_told_by_their_length(scene: Scene, a):
    """Of the first one nothing left: the second one's fragments are not taken for its own."""
    makes(a, LONG6)
    longer = LONG6.but(payload=bytes(240))
    a.makes(longer.but(ip_id=0), "eth0").through(*HOOKS)
    for piece in parts(longer, 80, 160):
        a.wire("eth0", "out", piece)
    assert left(scene) == [(), (0, 80, 160)]
    assert [each.certain for each in scene.record().journeys] == [True, True]


def test_a_fragment_is_cut_up_further_within_its_own_bounds(scene: Scene):
    b = scene.host("B", eth0="lan", eth1="other")
    pieces = parts(LONG, 80, 160)
    for piece in pieces:
        walk = b.gets("eth0", piece, "eth1").through("prerouting", "prerouting.nat").sees("forward", ttl=63)
        walk.through("postrouting", "postrouting.nat")
    for begin, end in ((0, 40), (40, 80), (80, 120), (120, 160), (160, 208)):
        b.wire("eth1", "out", LONG.but(part=(begin, end), ttl=63))
    assert left(scene) == [(0, 0, 40), (80, 80, 120), (160, 160)]
