"""Checks of packets in fragments: where some share an id, what rests on them is proven only if order tells them."""

from __future__ import annotations

import pytest
from record_packets import Packet, parts, udp
from record_scene import Scene

from netemu.check.explain import Surroundings
from netemu.check.packets import check_packets
from netemu.check.verdict import Check, Verdict
from netemu.topology.expectation import PacketExpectation

LONG = udp("192.168.0.1:4000", "192.168.0.2:53", bytes(200), ip_id=7)
LONG6 = udp("[fd00::1]:4000", "[fd00::2]:53", bytes(200), ip_id=7)
HOOKS = ("output", "output.nat", "postrouting", "postrouting.nat")
BOTH = pytest.mark.parametrize("packet", [LONG, LONG6], ids=["IPv4", "IPv6"])


def sends(scene: Scene, packet: Packet) -> list[Packet]:
    """A sends a packet in three fragments; IPv6 gives the id on the way out."""
    six = packet.src.startswith("[")
    a = scene.hosts[0]
    a.makes(packet.but(ip_id=0) if six else packet, "eth0").through(*HOOKS)
    pieces = parts(packet, 80, 160)
    for piece in pieces:
        a.wire("eth0", "out", piece)
    return pieces


def comes(scene: Scene, pieces: list[Packet]) -> None:
    """They come in at B, which tracks: the last one's pass goes on with the whole packet."""
    b = scene.hosts[1]
    for piece in pieces[:-1]:
        b.gets("eth0", piece)
    walk = b.gets("eth0", pieces[-1])
    walk.packet = pieces[-1].but(part=None, ip_id=0 if pieces[-1].src.startswith("[") else 7)
    walk.delivered()


@pytest.fixture
def pair(scene: Scene) -> Scene:
    scene.host("A", eth0="lan")
    scene.host("B", eth0="lan")
    return scene


def came(scene: Scene, packet: Packet, which: str = "request.first") -> Check:
    """Whether a packet came to B."""
    scene.exchange("hello", "A", packet.tuple)
    asked = PacketExpectation(traffic="hello", packet=which, at="B@input", dst="*:53")
    return check_packets(asked, scene.record(), Surroundings())


@BOTH
def test_packets_with_one_id_are_told_by_order_where_all_of_both_came(pair: Scene, packet: Packet):
    for letter in (b"a", b"b"):
        comes(pair, sends(pair, packet.but(payload=letter * 200)))
    assert came(pair, packet, "request.all").verdict is Verdict.PASS


@BOTH
def test_where_one_of_two_with_one_id_never_left_it_is_unproven_which_one_came(pair: Scene, packet: Packet):
    a = pair.hosts[0]
    a.makes(packet.but(ip_id=0) if packet is LONG6 else packet, "eth0").through(*HOOKS)
    comes(pair, sends(pair, packet))
    for which in ("request.first", "request.2"):
        check = came(pair, packet, which)
        assert check.verdict is Verdict.UNPROVEN
        assert "can't be told from others" in check.reason


@BOTH
def test_where_fragments_of_two_may_have_been_mixed_it_is_unproven_which_one_came(pair: Scene, packet: Packet):
    """Of the first packet the middle fragment came, of the second one the others: B made a packet of them."""
    one = sends(pair, packet.but(payload=b"a" * 200))
    other = sends(pair, packet.but(payload=b"b" * 200))
    comes(pair, [one[1], other[0], other[2]])
    for which in ("request.first", "request.2"):
        assert came(pair, packet, which).verdict is Verdict.UNPROVEN
