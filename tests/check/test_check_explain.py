"""Why a packet went no further: what the record and the topology tell, and nothing more."""

from __future__ import annotations

import pytest
from record_packets import icmp_error, parts, tcp, udp
from record_scene import Scene, new

from netemu.check.explain import Surroundings, last_seen, looks
from netemu.check.explain import why as why_ended
from netemu.netfilter.ruleset import Rule

PACKET = udp("192.168.0.1:4000", "10.0.0.9:53", b"?")


def why(scene: Scene, around: Surroundings | None = None) -> str:
    journey = scene.journeys()[0]
    return last_seen(journey, around or Surroundings())


def test_a_drop_names_the_table_the_chain_and_the_rule(scene: Scene):
    b = scene.host("B", eth0="lan")
    deny = b.rule("filter", "FORWARD", "-A FORWARD -j DROP")
    b.gets("eth0", PACKET).through("prerouting", "prerouting.nat").matches(deny, "drop")
    assert why(scene) == "last seen at B@prerouting.nat: dropped by filter FORWARD, -A FORWARD -j DROP"


def test_a_delivered_packet_says_to_whom(scene: Scene):
    scene.host("B", eth0="lan").gets("eth0", PACKET).delivered()
    assert why(scene) == "delivered to B itself, last seen at B@input.nat"


def test_a_host_that_does_not_forward_says_so(scene: Scene):
    scene.host("B", eth0="lan").gets("eth0", PACKET).through("prerouting", "prerouting.nat")
    assert why(scene, Surroundings({"B": False})).endswith("B does not forward (forwarding: false)")


def test_a_host_that_forwards_but_took_it_no_further_has_no_route(scene: Scene):
    scene.host("B", eth0="lan").gets("eth0", PACKET).through("prerouting", "prerouting.nat")
    assert why(scene, Surroundings({"B": True})) == (
        "last seen at B@prerouting.nat: B has no route for it, or could not send it on"
    )


def test_a_packet_whose_ttl_ran_out_is_not_said_to_lack_a_route(scene: Scene):
    """ip_forward drops it before the forward hook, and answers with time exceeded."""
    scene.host("B", eth0="lan").gets("eth0", PACKET.but(ttl=1)).through("prerouting", "prerouting.nat")
    told = why(scene, Surroundings({"B": True}))
    assert "no route" not in told
    assert "ttl" in told.lower()


@pytest.mark.parametrize(
    ("src", "dst", "told"),
    [
        ("192.168.0.1:4000", "192.168.0.2:53", "B@prerouting.nat: B did not get all of its fragments, or took it no"),
        ("[fd00::1]:4000", "[fd00::2]:53", "B@input.nat: B did not get all of its fragments, or they lie over each"),
    ],
    ids=["IPv4", "IPv6"],
)
def test_a_fragment_that_waited_in_vain_is_not_said_to_lack_a_route(scene: Scene, src: str, dst: str, told: str):
    first = parts(udp(src, dst, bytes(200), ip_id=7), 80)[0]
    walk = scene.host("B", eth0="lan").gets("eth0", first).through("prerouting", "prerouting.nat")
    if "[" in src:
        walk.through("input", "input.nat")
    for forwards in (True, False):
        assert told in why(scene, Surroundings({"B": forwards}))


def test_a_packet_lost_between_two_later_stages_says_where(scene: Scene):
    walk = scene.host("B", eth0="lan").gets("eth0", PACKET, "eth0").through("prerouting", "prerouting.nat", "forward")
    assert walk.packet == PACKET
    assert why(scene) == "last seen at B@forward: B took it no further"


def test_a_packet_that_left_and_came_in_nowhere_says_so(scene: Scene):
    scene.host("A", eth0="lan").sends(PACKET, "eth0")
    assert why(scene) == "last seen at A:eth0 out: it left there, and came in nowhere"


def test_a_frame_that_no_hook_saw_says_so(scene: Scene):
    scene.host("B", eth0="lan").wire("eth0", "in", PACKET)
    assert why(scene) == "last seen at B:eth0 in: no hook of B saw it"


def test_a_sighting_looks_like_an_expectation(scene: Scene):
    scene.host("B", eth0="lan").gets("eth0", tcp("[fd00::1]:4", "[fd00::2]:80"), ct=new(7)).sees("prerouting")
    (journey,) = scene.journeys()
    wire = {"point": "B:eth0 in", "src": "[fd00::1]:4", "dst": "[fd00::2]:80", "ttl": 64}
    assert [looks(seen) for seen in journey.sightings] == [wire, wire | {"point": "B@prerouting", "ct": "NEW"}]


@pytest.mark.parametrize(
    ("icmp", "told"),
    [
        ((11, 0), "its TTL ran out at B: B said time-exceeded"),
        ((3, 0), "B has no route for it: B said net-unreachable"),
        ((3, 1), "B could not reach the next host: B said host-unreachable"),
        ((3, 3), "B rejected it: B said port-unreachable"),
        ((3, 4), "it is too long for B's next link: B said fragmentation-needed (next MTU 1400)"),
        ((3, 13), "B prohibits it: B said admin-prohibited"),
    ],
)
def test_what_an_icmp_error_says_takes_the_place_of_a_conjecture(scene: Scene, icmp: tuple[int, int], told: str):
    b = scene.host("B", eth0="lan")
    b.gets("eth0", PACKET).through("prerouting", "prerouting.nat")
    b.sends(icmp_error("192.168.0.2", "192.168.0.1", 0, PACKET).but(icmp=icmp, seq=1400), "eth0")
    assert why(scene) == f"last seen at B@prerouting.nat: {told}"


def test_a_packet_that_its_receiver_refused_says_so(scene: Scene):
    b = scene.host("B", eth0="lan")
    b.gets("eth0", PACKET).delivered()
    b.sends(icmp_error("192.168.0.2", "192.168.0.1", 3, PACKET), "eth0")
    assert why(scene) == ("delivered to B itself, last seen at B@input.nat, which refused it: B said port-unreachable")


def test_an_error_of_another_host_is_no_reason_for_this_ones_end(scene: Scene):
    b, c = scene.host("B", eth0="lan"), scene.host("C", eth0="lan")
    b.gets("eth0", PACKET).through("prerouting", "prerouting.nat")
    c.sends(icmp_error("192.168.0.3", "192.168.0.1", 0, PACKET), "eth0")
    assert why(scene).endswith("B has no route for it, or could not send it on")


@pytest.mark.parametrize(
    ("ttl", "forwards", "word"), [(64, True, None), (64, False, "not-forwarding"), (1, True, "ttl"), (1, None, "ttl")]
)
def test_without_an_error_only_what_is_certain_is_said(scene: Scene, ttl: int, forwards: bool | None, word: str | None):
    scene.host("B", eth0="lan").gets("eth0", PACKET.but(ttl=ttl)).through("prerouting", "prerouting.nat")
    (journey,) = scene.journeys()
    around = Surroundings({} if forwards is None else {"B": forwards})
    assert why_ended(journey.end, journey, around) == word


@pytest.mark.parametrize(
    ("ttl", "forwards", "said"),
    [(64, False, "B does not forward (forwarding: false)"), (1, True, "its TTL ran out at B")],
)
def test_where_legacy_rules_may_have_dropped_a_packet_nothing_else_is_certain(scene: Scene, ttl, forwards, said):
    """It may have been for the host itself, whose INPUT rules no trace shows."""
    scene.host("B", eth0="lan").gets("eth0", PACKET.but(ttl=ttl)).through("prerouting", "prerouting.nat")
    (journey,) = scene.journeys()
    rule = Rule("ip", "filter", "INPUT", 1, "-A INPUT -p udp -j DROP", legacy=True)
    around = Surroundings({"B": forwards}, {"B": [(rule, 1)]})
    assert why_ended(journey.end, journey, around) is None
    other = "perhaps by iptables-legacy, which no trace shows: filter -A INPUT -p udp -j DROP counted 1"
    assert last_seen(journey, around).endswith(f"{said}, or dropped it, {other}")
