"""The NodePort's packets: what rewrote each of them on its way, and what told so."""

from __future__ import annotations

from dataclasses import replace

from record_nodeport import DNAT, POD, SENT, SNAT, SYN, NodePort
from record_packets import tcp, udp
from record_scene import BOTH_NATED, Scene, established, new, reply, story

from netemu.record.journeys import journeys
from netemu.topology.points import Point

QUESTION = udp("192.168.0.1:4000", "192.168.0.2:53", b"?")
BEYOND = [
    "C:eth0 in",
    "C@prerouting",
    "C@prerouting.nat",
    "C@forward | ttl 63 => 62 by route",
    "C@postrouting",
    "C@postrouting.nat",
    "C:cni0 out",
    "pod:eth0 in",
    "pod@prerouting",
    "pod@prerouting.nat",
    "pod@input",
    "pod@input.nat",
    "delivered at pod@input.nat",
]


def test_a_packet_through_dnat_and_snat_is_one_journey_and_its_rewrites_name_their_rules(lab: NodePort):
    lab.first(SYN)
    assert lab.scene.stories() == [
        [
            *SENT,
            "B:eth0 in",
            "B@prerouting",
            f"B@prerouting.nat | dst 192.168.0.2:30000 => 172.26.0.3:8080 by rule: {DNAT}",
            "B@forward | ttl 64 => 63 by route",
            "B@postrouting",
            f"B@postrouting.nat | src 192.168.0.1:54522 => 192.168.0.2:54522 by rule: {SNAT}",
            "B:eth0 out",
            *BEYOND,
        ]
    ]


def test_a_later_packet_is_rewritten_from_the_conntrack_entry_alone(lab: NodePort):
    lab.later(SYN.but(flags="ACK"), established(7, *BOTH_NATED))
    (found,) = lab.scene.journeys()
    assert story(found) == [
        *SENT,
        "B:eth0 in",
        "B@prerouting",
        "B@prerouting.nat | dst 192.168.0.2:30000 => 172.26.0.3:8080 by conntrack",
        "B@forward | ttl 64 => 63 by route",
        "B@postrouting",
        "B@postrouting.nat | src 192.168.0.1:54522 => 192.168.0.2:54522 by conntrack",
        "B:eth0 out",
        *BEYOND,
    ]
    assert (found.rules, found.walked, found.complete) == ([], frozenset(), True)


def test_a_reply_is_rewritten_back_from_the_conntrack_entry(lab: NodePort):
    lab.answer(tcp(POD, "192.168.0.2:54522", "SYN ACK"))
    (told,) = lab.scene.stories()
    assert [line for line in told if "|" in line] == [
        "C@forward | ttl 64 => 63 by route",
        "B@prerouting.nat | dst 192.168.0.2:54522 => 192.168.0.1:54522 by conntrack",
        "B@forward | ttl 63 => 62 by route",
        "B@postrouting.nat | src 172.26.0.3:8080 => 192.168.0.2:30000 by conntrack",
    ]
    assert told[-1] == "delivered at A@input.nat"


def test_a_second_datagram_in_new_walks_no_chain_once_both_manips_are_set_up(lab: NodePort):
    """'First packet' is not 'ctinfo is NEW': nf_nat_inet_fn asks whether this hook's manip is initialized."""
    lab.first(SYN)
    lab.later(SYN.but(ip_id=2), new(7, *BOTH_NATED))
    first, second = lab.scene.journeys()
    assert first.walked == {Point("B", stage="prerouting.nat"), Point("B", stage="postrouting.nat")}
    assert second.walked == frozenset()
    assert [change.by for change in second.rewrites] == ["conntrack", "route", "conntrack", "route"]
    assert second.at(Point("B", stage="prerouting")).ct.ctinfo == "NEW"


def test_what_began_after_a_records_end_is_none_of_its_journeys(lab: NodePort):
    """Taps are read out one after the other: of such a packet one may have seen what the next did not."""
    lab.first(SYN)
    lab.later(SYN.but(ip_id=2), new(7, *BOTH_NATED))
    captures = lab.scene.captures()
    first, second = journeys(captures, lab.scene.segment_of)
    for until_ns, expected in (
        (second.since_ns - 1, [first]),
        (second.since_ns, [first, second]),
        (0, [first, second]),
    ):
        cut = [replace(capture, until_ns=until_ns) for capture in captures]
        assert journeys(cut, lab.scene.segment_of) == expected


def test_a_port_changed_by_a_null_binding_is_told_so(lab: NodePort):
    walk = lab.b.gets("eth0", QUESTION, "eth0", new(7)).sees("prerouting").falls_through("nat", "PREROUTING")
    walk.sees("prerouting.nat", new(7, "dst-nat-done")).sees("forward", ttl=63).sees("postrouting")
    walk.falls_through("nat", "POSTROUTING").sees("postrouting.nat", src="192.168.0.1:1024").leaves()
    (told,) = lab.scene.stories()
    assert "B@postrouting.nat | src 192.168.0.1:4000 => 192.168.0.1:1024 by null-binding" in told


def test_filter_rules_on_the_way_are_listed_with_the_nat_rules(lab: NodePort):
    allow = lab.b.rule("filter", "FORWARD", "-A FORWARD -j ACCEPT")
    walk = lab.b.gets("eth0", SYN, "eth0", new(7)).sees("prerouting").matches(lab.dnat)
    walk.sees("prerouting.nat", dst=POD).matches(allow).sees("forward", ttl=63).sees("postrouting")
    walk.matches(lab.snat).sees("postrouting.nat", src="192.168.0.2:54522").leaves()
    (found,) = lab.scene.journeys()
    assert [(turn.table, turn.text) for turn in found.rules] == [
        ("nat", DNAT),
        ("filter", "-A FORWARD -j ACCEPT"),
        ("nat", SNAT),
    ]


def test_on_old_kernels_the_journey_reads_the_same(lab: NodePort):
    old = NodePort(Scene(old=True))
    for each in (lab, old):
        each.handshake()
    assert old.scene.stories() == lab.scene.stories()


def test_journeys_come_in_the_order_in_which_they_began(lab: NodePort):
    lab.handshake()
    assert [str(each.first.point) for each in lab.scene.journeys()] == ["A@output", "pod@output", "A@output"]
    assert [each.first.headers.flags for each in lab.scene.journeys()] == ["SYN", "SYN ACK", "ACK"]


def test_replies_keep_their_direction_at_every_hook(lab: NodePort):
    lab.answer(tcp(POD, "192.168.0.2:54522", "SYN ACK"))
    (found,) = lab.scene.journeys()
    states = {seen.ct.ctinfo for seen in found.sightings if seen.point.host == "B" and seen.point.stage}
    assert states == {"ESTABLISHED_REPLY"}
    assert found.at(Point("B", stage="forward")).ct.id == reply(7).id
