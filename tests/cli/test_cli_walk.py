"""The walk of packets that end on the way: errors as blocks of their own, every end, and what can't be told apart."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from record_packets import icmp_error, tcp, udp
from record_scene import Scene
from rich.console import Console

from netemu import Topology
from netemu.check.report import check_record
from netemu.cli.rows import rows
from netemu.cli.walk import Walk

ASKED = udp("192.168.0.1:4000", "192.168.0.2:53", b"?")


def shown(scene: Scene, packet=ASKED) -> str:
    scene.exchange("ask", "A", packet.tuple)
    out = io.StringIO()
    report = check_record("lab", scene.record(), [])
    Walk(Console(file=out, width=100), report, Topology(name="lab", hosts={"A": {}}), unfold=False).print()
    return out.getvalue()


def test_an_error_is_a_block_of_its_own_and_named_where_the_packet_that_it_quotes_ended():
    scene = Scene()
    a, b = scene.host("A", eth0="lan"), scene.host("B", eth0="lan")
    a.sends(ASKED, "eth0")
    b.gets("eth0", ASKED).delivered()
    error = icmp_error("192.168.0.2", "192.168.0.1", 3, ASKED)
    b.sends(error, "eth0")
    a.gets("eth0", error).delivered()
    text = shown(scene)
    assert "request 1   UDP 1 byte\n" in text
    assert "1 request and 0 replies" in text
    assert "error 1     PORT UNREACHABLE, quotes request 1\n" in text
    assert "B@input.nat  delivered: PORT UNREACHABLE\n" in text


def test_a_packet_whose_checksum_is_wrong_says_so_and_ends_for_it():
    scene = Scene()
    a, b = scene.host("A", eth0="lan"), scene.host("B", eth0="lan")
    frame = ASKED.frame()
    damaged = frame[:22] + bytes([frame[22] ^ 1]) + frame[23:]  # its TTL
    a.wire("eth0", "out", damaged)
    b.wire("eth0", "in", damaged)
    text = shown(scene)
    assert "ip checksum wrong" in text
    assert "B:eth0 in   not seen any further: dropped for its checksum\n" in text


def test_a_broadcast_shows_each_of_its_ends():
    scene = Scene()
    a, b, c = (scene.host(name, eth0="lan") for name in "ABC")
    deny = c.rule("filter", "INPUT", "-A INPUT -j DROP")
    a.sends(ASKED, "eth0")
    b.gets("eth0", ASKED).delivered()
    c.gets("eth0", ASKED).through("prerouting", "prerouting.nat").matches(deny, "drop")
    text = shown(scene)
    assert "B@input.nat       delivered\n" in text
    assert "C@prerouting.nat  last seen; dropped by filter INPUT: -A INPUT -j DROP\n" in text


def test_a_datagram_that_came_in_fragments_was_delivered_in_words():
    scene = Scene()
    a, b = scene.host("A", eth0="lan"), scene.host("B", eth0="lan")
    a.sends(ASKED, "eth0")
    b.gets("eth0", ASKED).delivered()
    (journey,) = scene.journeys()
    place = [str(seen.point) for seen in journey.sightings].index("B:eth0 in")
    seen = list(journey.sightings)
    seen[place] = replace(seen[place], headers=replace(seen[place].headers, fragment=(2960, False)))
    *_, wire, end = rows(replace(journey, sightings=tuple(seen)), {})
    assert (wire.point, wire.text) == ("B:eth0 in", "fragment from byte 2960 on")
    assert (end.point, end.text) == ("B@input.nat", "delivered")


def test_packets_told_by_their_order_and_those_that_are_not_say_so():
    for came, told in ((2, "1 of 2 alike, told by order"), (1, "1 of 2 alike, which one it is can't be told")):
        scene = Scene()
        a, b = scene.host("A", eth0="lan"), scene.host("B", eth0="lan")
        for number in range(2):
            a.sends(ASKED, "eth0")
            if number < came:
                b.gets("eth0", ASKED).delivered()
        assert told in shown(scene)


def test_a_segment_that_is_sent_again_says_which_it_repeats():
    scene = Scene()
    a, b = scene.host("A", eth0="lan"), scene.host("B", eth0="lan")
    for number in range(2):
        packet = tcp("192.168.0.1:4000", "192.168.0.2:80", seq=5, ip_id=number)
        a.sends(packet, "eth0")
        b.gets("eth0", packet).delivered()
    assert "sent again: repeats request 1\n" in shown(scene, packet)


INNER = udp("10.42.0.1:4000", "10.42.0.2:53", b"?")
OUTER = udp("10.0.0.1:50000", "10.0.0.2:4789", b"\x08\0\0\0\0\0\x2a\0" + INNER.frame())


def tunnelled(times: int, carried: int) -> Scene:
    scene = Scene()
    a, b = (scene.host(name, eth0="lan", vx="vxlan 42") for name in "AB")
    for number in range(times):
        a.sends(INNER, "vx")
        if number < carried:
            a.sends(OUTER, "eth0")
            b.gets("eth0", OUTER).delivered()
            b.gets("vx", INNER).delivered()
    return scene


def test_a_packet_that_goes_into_a_tunnel_names_what_carries_it_there():
    lines = shown(tunnelled(1, 1), INNER).splitlines()
    at = next(place for place, line in enumerate(lines) if "A:vx out" in line)
    assert lines[at + 1].strip() == "carried by request 1 of udp 10.0.0.1:50000 → 10.0.0.2:4789"


def test_a_datagram_of_a_tunnel_names_the_packet_that_it_carries():
    assert "carries request 1 of udp 10.42.0.1:4000 → 10.42.0.2:53\n" in shown(tunnelled(1, 1), OUTER)


def test_where_it_cant_be_told_what_carried_a_packet_the_walk_says_so():
    ends = "udp 10.0.0.1:50000 → 10.0.0.2:4789"
    told = " ".join(shown(tunnelled(2, 2), INNER).split())
    assert f"carried by request 1 of {ends}, 1 of 2 alike, told by order" in told
    assert "in a tunnel, carried by 1 of 2 alike, which one can't be told" in shown(tunnelled(2, 1), INNER)
    assert "carries 1 of 2 alike, which one can't be told" in shown(tunnelled(2, 1), OUTER)
    assert "in a tunnel, no whole datagram that carries it was seen" in shown(tunnelled(1, 0), INNER)


@pytest.mark.parametrize(
    ("family", "table", "chain", "text", "said"),
    [
        ("ip", "filter", "INPUT", "-A INPUT -j DROP", "-A INPUT -j DROP"),
        ("ip6", "filter", "INPUT", "-A INPUT -j DROP", "ip6tables -A INPUT -j DROP"),
        ("inet", "edge", "in", "counter drop", "inet edge in counter drop"),
    ],
)
def test_a_rule_is_listed_with_what_tells_whose_it_is(family: str, table: str, chain: str, text: str, said: str):
    scene = Scene()
    a, b = scene.host("A", eth0="lan"), scene.host("B", eth0="lan")
    a.sends(ASKED, "eth0")
    rule = b.rule(table, chain, text, family=family)
    b.gets("eth0", ASKED).through("prerouting", "prerouting.nat").matches(rule, "drop")
    (listed,) = [line for line in shown(scene).splitlines() if line.startswith("rule 1 at B")]
    assert listed.endswith(f"  {said}")
