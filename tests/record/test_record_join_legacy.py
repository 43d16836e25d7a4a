"""iptables-legacy's rules, which leave no trace: what the entries and the counters tell, and what they do not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from record_nodeport import CLIENT, POD, SERVICE, NodePort
from record_packets import echo, tcp, udp
from record_scene import BOTH_NATED, DNATED, Scene, established, new

from netemu.record.capture import HostCapture
from netemu.record.record import Record, build_record
from netemu.topology.points import Point


class LegacyNodePort(NodePort):
    """The same case, its rules loaded by iptables-legacy."""

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene)
        rules, self.b.rules, self.b.counted = self.b.rules, [], {}
        self.dnat, self.snat = (self.b.rule(r.table, r.chain, r.text, legacy=True) for r in rules)


@pytest.fixture(params=[False, True], ids=["trace tells the state", "tap rules tell the state"])
def scene(request) -> Scene:
    return Scene(old=request.param)


def told(record: Record, number: int = 0) -> list[tuple[str, str, str, str | None]]:
    return [
        (change.field, change.by, change.told_by, change.rule)
        for change in record.journeys[number].rewrites
        if change.field != "ttl"
    ]


def test_the_first_packet_of_the_nodeport_was_rewritten_by_the_rules_that_counted_it(scene):
    lab = LegacyNodePort(scene)
    lab.handshake()
    record = scene.record()
    assert told(record) == [
        ("dst", "rule", "counters", lab.dnat.text),
        ("src", "rule", "counters", lab.snat.text),
    ]
    assert record.journeys[0].walked == {Point("B", stage="prerouting.nat"), Point("B", stage="postrouting.nat")}


def test_later_packets_walk_nothing_and_are_rewritten_by_the_entry(scene):
    lab = LegacyNodePort(scene)
    lab.handshake()
    record = scene.record()
    for number in (1, 2):
        assert [by for _, by, _, _ in told(record, number)] == ["conntrack", "conntrack"]
        assert not record.journeys[number].walked


def test_a_counter_that_says_more_than_the_packets_that_walked_decides_nothing(scene):
    lab = LegacyNodePort(scene)
    lab.handshake()
    lab.b.counted[lab.dnat.key] += 1
    record = scene.record()
    assert told(record) == [("dst", "unknown", "nothing", None), ("src", "rule", "counters", lab.snat.text)]
    assert Point("B", stage="prerouting.nat") in record.journeys[0].walked, "it was walked, by the entry"
    assert record.counters["B"][lab.dnat.key] > record.matchable["B"][lab.dnat.key]


def test_a_counter_that_says_less_than_the_packets_that_could_have_matched_decides_nothing(scene):
    lab = LegacyNodePort(scene)
    lab.handshake(7, CLIENT)
    lab.handshake(8, "192.168.0.1:54523")
    lab.b.counted[lab.dnat.key] -= 1
    record = scene.record()
    firsts = [number for number, journey in enumerate(record.journeys) if journey.walked]
    assert len(firsts) == 2
    assert all(told(record, number)[0] == ("dst", "unknown", "nothing", None) for number in firsts)
    assert all(told(record, number)[1][1] == "rule" for number in firsts)


def test_two_rules_of_a_chain_are_told_apart_by_what_they_match(scene):
    lab = LegacyNodePort(scene)
    other = lab.b.rule(
        "nat", "PREROUTING", "-A PREROUTING -p udp -j DNAT --to-destination 172.26.0.3:8080", legacy=True
    )
    lab.handshake()
    question = udp("192.168.0.1:4000", "192.168.0.2:53")
    lab.a.sends(question, "eth0")
    walk = lab.b.gets("eth0", question, "eth0", new(9)).sees("prerouting").matches(other)
    walk.sees("prerouting.nat", new(9, *DNATED), dst=POD).sees("input", new(9, *DNATED)).sees(
        "input.nat", new(9, *DNATED, "src-nat-done")
    )
    record = scene.record()
    (last,) = [number for number, journey in enumerate(record.journeys) if journey.first.headers.proto == "udp"]
    assert told(record, last) == [("dst", "rule", "counters", other.text)]
    assert told(record)[0][3] == lab.dnat.text


def test_two_rules_that_both_could_have_matched_stay_unknown_where_both_counted(scene):
    lab = LegacyNodePort(scene)
    lab.b.rule(
        "nat", "PREROUTING", "-A PREROUTING -d 192.168.0.2/32 -j DNAT --to-destination 172.26.0.3:8080", legacy=True
    )
    lab.handshake(7, CLIENT)
    lab.handshake(8, "192.168.0.1:54523")
    lab.b.counted[lab.dnat.key] -= 1
    lab.b.counted[lab.b.rules[-1].key] += 1
    record = scene.record()
    firsts = [number for number, journey in enumerate(record.journeys) if journey.walked]
    assert [told(record, number)[0][1] for number in firsts] == ["unknown", "unknown"]


def test_a_rule_reached_by_a_jump_is_found_and_the_jump_is_not_it(scene):
    lab = LegacyNodePort(scene)
    lab.b.rules[0] = replace(lab.dnat, chain="SERVICES", text=lab.dnat.text.replace("PREROUTING", "SERVICES"))
    jump = replace(lab.dnat, text="-A PREROUTING -j SERVICES")
    lab.b.rules.append(jump)
    lab.b.counted[lab.b.rules[0].key] = 0
    lab.dnat = lab.b.rules[0]
    lab.handshake()
    lab.b.counted[jump.key] = 1
    record = scene.record()
    assert told(record)[0] == ("dst", "rule", "counters", lab.dnat.text)


def test_a_walk_that_no_rule_counted_is_the_null_bindings(scene):
    lab = LegacyNodePort(scene)
    packet = tcp("192.168.0.1:4000", "192.168.0.9:22")
    lab.a.sends(packet, "eth0")
    walk = lab.b.gets("eth0", packet, "eth0", new(7)).sees("prerouting").sees("prerouting.nat", new(7, "dst-nat-done"))
    walk.sees("forward", ttl=63).sees("postrouting")
    walk.sees("postrouting.nat", new(7, "dst-nat-done", "src-nat-done"), src="192.168.0.1:1024").leaves()
    record = scene.record()
    assert [(c.field, c.by) for c in record.journeys[0].rewrites if c.field != "ttl"] == [("src", "null-binding")]
    assert len(record.journeys[0].walked) == 2


def test_a_packet_that_was_not_seen_after_its_walk_leaves_the_rule_that_it_could_have_matched_undecided(scene):
    """A rule may drop what it matches (MASQUERADE without an address): its count may be that packet's."""
    lab = LegacyNodePort(scene)
    lab.handshake()
    lost = tcp("192.168.0.1:4001", SERVICE)
    lab.a.sends(lost, "eth0")
    lab.b.gets("eth0", lost, "eth0", new(9)).sees("prerouting")
    record = scene.record()
    assert told(record)[0] == ("dst", "unknown", "nothing", None)


def test_an_icmp_error_a_packet_without_an_entry_and_other_hosts_walk_nothing(scene):
    lab = LegacyNodePort(scene)
    ping = echo("192.168.0.1", "192.168.0.2", 7)
    lab.a.sends(ping, "eth0")
    lab.b.gets("eth0", ping).delivered()
    lab.later(tcp(CLIENT, SERVICE, "ACK"), established(7, *BOTH_NATED))
    record = scene.record()
    assert not any(journey.walked for journey in record.journeys)


def test_rules_that_changed_meanwhile_decide_nothing(scene):
    lab = LegacyNodePort(scene)
    lab.handshake()
    record = record_of(scene, lambda capture: replace(capture, rules_before=replace(capture.rules_before, rules=())))
    assert [by for _, by, _, _ in told(record)] == ["unknown", "unknown"]
    assert not record.matchable


def test_walks_while_the_counters_were_read_decide_nothing(scene):
    lab = LegacyNodePort(scene)
    lab.handshake()
    record = record_of(scene, lambda capture: replace(capture, counted=(0, 1)))
    assert [by for _, by, _, _ in told(record)] == ["unknown", "unknown"]
    record = record_of(scene, lambda capture: replace(capture, counted=(0, len(capture.trace))))
    assert [by for _, by, _, _ in told(record)] == ["rule", "rule"]


def record_of(scene: Scene, change) -> Record:
    captures: list[HostCapture] = [change(capture) if capture.host == "B" else capture for capture in scene.captures()]
    return build_record(captures, scene.segment_of)


def test_where_no_counter_was_read_while_packets_passed_no_rule_is_said_not_to_have_matched(scene):
    """As for a watch, whose rules count nothing: an address that changed was no null binding's doing."""
    lab = LegacyNodePort(scene)
    lab.handshake()
    for rule in (lab.dnat, lab.snat):
        lab.b.counted[rule.key] = 0
    captures = [replace(each, counted=(0, 0)) for each in scene.captures()]
    record = build_record(captures, scene.segment_of)
    assert told(record) == [("dst", "unknown", "nothing", None), ("src", "unknown", "nothing", None)]
