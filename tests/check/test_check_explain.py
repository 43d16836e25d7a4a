"""Why a packet went no further: what the record and the topology tell, and nothing more."""

from __future__ import annotations

from record_scene import Scene, new, tcp, udp

from netemu.check.explain import Surroundings, last_seen, looks

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
