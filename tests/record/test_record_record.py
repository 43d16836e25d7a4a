"""All of it together: journeys and flows, how far they can be believed, and which traffic they belong to."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from record_nodeport import CLIENT, POD, SERVICE, NodePort
from record_packets import endpoint, tcp, udp
from record_passes import passes
from record_scene import Scene, message

from netemu.netfilter.conntrack import Tuple
from netemu.netfilter.ruleset import Ruleset
from netemu.record.capture import OTHERHOST, OUTGOING, HostCapture
from netemu.record.exchange import Exchange
from netemu.record.flows import read_entries
from netemu.record.frames import Datagrams, Frames, RawFrame
from netemu.record.journeys import journeys
from netemu.record.record import Record, build_record

HELLO = tcp(CLIENT, SERVICE).tuple


def test_nothing_captured_is_an_empty_record():
    record = build_record([], {})
    assert (record.journeys, record.flows, record.exchanges, record.captured, record.lost) == ([], [], [], 0, 0)
    assert build_record([HostCapture("A", {1: "lo"})], {}).journeys == []


def test_journeys_are_numbered_from_one_in_order_of_time(lab: NodePort):
    lab.handshake()
    assert [journey.id for journey in lab.scene.record().journeys] == [1, 2, 3]


def test_every_frame_and_every_hook_is_counted_as_a_sighting(lab: NodePort):
    lab.handshake()
    lab.c.wire("eth0", "in", b"\xff" * 60)
    record = lab.scene.record()
    hooks = sum(seen.point.stage is not None for journey in record.journeys for seen in journey.sightings)
    assert record.captured == hooks + sum(len(host.frames) for host in lab.scene.hosts)


def test_what_the_taps_lost_is_added_up_and_told_by_host(lab: NodePort):
    lab.b.fault("hooks", lost=3)
    lab.c.fault("wire", alive=False)
    record = lab.scene.record()
    assert record.lost == 3
    assert [(tap.host, tap.tap) for tap in record.unsound({"A", "B", "C"})] == [("B", "hooks"), ("C", "wire")]
    assert record.unsound({"A", "pod"}) == []


def test_rules_and_what_they_counted_are_kept_by_host(lab: NodePort):
    silent = lab.b.rule("nat", "POSTROUTING", "-A POSTROUTING -j RETURN", counts=False)
    lab.handshake()
    record = lab.scene.record()
    assert [rule.text for rule in record.rules["B"]] == [lab.dnat.text, lab.snat.text, silent.text]
    assert record.counters["B"] == {lab.dnat.key: 1, lab.snat.key: 1}
    assert record.matches("B") == {lab.dnat.key: 1, lab.snat.key: 1}
    assert (record.counters["A"], record.matches("A")) == ({}, {})


def test_a_counter_tells_only_what_it_counted_since_the_record_began(lab: NodePort):
    capture = lab.b.capture()
    for name, counted in (("rules_before", 5), ("rules_after", 8)):
        rules = [type(rule)(*rule.key, rule.text, counted, rule.handle) for rule in (lab.dnat,)]
        setattr(capture, name, Ruleset(tuple(rules)))
    assert build_record([capture], {}).counters == {"B": {lab.dnat.key: 3}}


def test_an_exchanges_flows_are_those_of_the_sockets_it_opened(lab: NodePort):
    lab.handshake()
    lab.handshake(8, "192.168.0.1:54523")
    lab.scene.exchange("hello", "A", HELLO)
    record = lab.scene.record()
    assert [flow.id for flow in record.flows_of(record.exchange("hello"))] == [1]


def test_a_commands_flows_are_those_that_its_host_began_in_its_time(lab: NodePort):
    lab.handshake()
    middle = lab.scene.now
    lab.handshake(8, "192.168.0.1:54523")
    lab.pod.sends(udp(POD, "172.26.0.1:53"), "eth0")
    record = lab.scene.record()
    early, late = Exchange("one", "A", "", 0, middle), Exchange("two", "A", "", middle + 1, lab.scene.now)
    assert [[flow.id for flow in record.flows_of(each)] for each in (early, late)] == [[1], [2]]


def test_packets_that_no_wire_saw_are_those_of_the_exchange_in_whose_stretch_of_the_trace_they_are(lab: NodePort):
    lab.handshake()
    until = lab.scene.now
    first, lost = len(lab.a.capture().trace), udp("192.168.0.1:5", "192.168.0.77:99")
    lab.a.makes(lost, "eth0").through("output", "output.nat", "postrouting", "postrouting.nat")
    both = [(0, first), (first, len(lab.a.capture().trace))]
    early, late = (Exchange(name, "A", "", 0, until, events=events) for name, events in zip("12", both, strict=True))
    record = lab.scene.record()
    assert [[flow.id for flow in record.flows_of(each)] for each in (early, late)] == [[1], [1, 2]]
    nowhere = Exchange("3", "A", "", until + 1, until + 2, events=both[0])
    assert record.flows_of(nowhere) == []
    sockets = (Tuple("udp", "192.168.0.1", 5, "192.168.0.77", 99),)
    before, it = (Exchange("4", "A", "", 0, until, sockets, events=events) for events in both)
    assert [[flow.id for flow in record.flows_of(each)] for each in (before, it)] == [[], [2]]


def test_a_place_in_another_hosts_trace_says_nothing_of_an_exchanges_time(lab: NodePort):
    """As where the sender's own taps see neither the frame nor the hooks."""
    lab.b.walks("prerouting", udp("192.168.0.1:5", "192.168.0.2:99"), "eth0", None, None).through("prerouting")
    record = lab.scene.record()
    sockets = (Tuple("udp", "192.168.0.1", 5, "192.168.0.2", 99),)
    assert [flow.begins_at for flow in record.flows] == ["B"]
    sent = Exchange("1", "A", "", 0, 1, sockets, events=(500, 900))
    assert [flow.id for flow in record.flows_of(sent)] == [1]


def test_a_port_used_again_by_a_later_exchange_is_not_the_earlier_ones_flow(lab: NodePort):
    lab.handshake(7)
    middle = lab.scene.now
    lab.handshake(8)
    record = lab.scene.record()
    early = Exchange("one", "A", "", 0, middle, (HELLO,))
    late = Exchange("two", "A", "", middle + 1, lab.scene.now, (HELLO,))
    assert [[flow.id for flow in record.flows_of(each)] for each in (early, late)] == [[1], [2]]


def test_an_exchange_is_found_by_its_name_the_last_one_if_it_was_sent_again():
    one, two = Exchange("hello", "A", "", 0, 1), Exchange("hello", "A", "", 2, 3)
    record = Record(exchanges=[one, two])
    assert record.exchange("hello") is two
    assert record.exchange("other") is None


def everything() -> Scene:
    """One of everything: NAT, a drop, a reply, entries."""
    made = Scene()
    lab = NodePort(made)
    lab.handshake()
    lab.b.gets("eth0", udp("10.0.0.1:1", "10.0.0.2:2")).through("prerouting").falls_through("filter", "INPUT", "drop")
    return made


EVERYTHING = everything()
SEEDS = st.integers(0, 2**32).map(random.Random)
"""Dice rather than drawn bytes: there is little to shrink in a whole record, and a seed is told as well."""


def mangled(data: bytes, dice: random.Random) -> bytes:
    """A byte changed, some bytes lost, some gained, cut short, or left as they are."""
    where = dice.randrange(len(data) + 1)
    kind = dice.randrange(6)
    if kind == 0:
        return data[:where]
    if kind == 1:
        return data[:where] + dice.randbytes(dice.randrange(8)) + data[where:]
    if kind == 2:
        return data[:where] + data[where + dice.randrange(1, 8) :]
    if kind == 3:
        return data[:where] + dice.randbytes(1) + data[where + 1 :]
    if kind == 4:
        return message(dice.choice([1, 10]), dice.choice([0, 2, 17]), 2, data[20:where] or data[20:])
    return data


@settings(max_examples=200, deadline=None)
@given(SEEDS)
def test_no_trace_whatever_is_too_much_for_the_passes(dice: random.Random):
    capture = EVERYTHING.hosts[1].capture()
    capture.trace = Datagrams.of(mangled(each, dice) for each in capture.trace)
    for each in passes(capture):
        assert len(each.sightings) == len(each.turns)


@settings(max_examples=200, deadline=None)
@given(SEEDS)
def test_no_conntrack_messages_whatever_are_too_much_for_the_entries(dice: random.Random):
    capture = EVERYTHING.hosts[1].capture()
    assert isinstance(read_entries([mangled(each, dice) for each in [*capture.conntrack] * 3]), dict)


@settings(max_examples=75, deadline=None)
@given(SEEDS)
def test_no_frames_whatever_are_too_much_for_the_journeys(dice: random.Random):
    captures = EVERYTHING.captures()
    for capture in captures:
        kinds = [dice.choice([frame.kind, OTHERHOST, OUTGOING]) for frame in capture.frames]
        pairs = zip(capture.frames, kinds, strict=True)
        frames = [RawFrame(f.time_ns, f.interface, kind, mangled(f.data, dice)) for f, kind in pairs]
        capture.frames = Frames.of(dice.sample(frames, len(frames)))
    found = journeys(captures, EVERYTHING.segment_of)
    assert all(len(each.sightings) == len(each.turns) for each in found)


@settings(max_examples=75, deadline=None)
@given(SEEDS, st.floats(0, 1))
def test_whatever_the_taps_lost_no_sighting_is_told_twice_and_none_is_made_up(dice: random.Random, share: float):
    captures = EVERYTHING.captures()
    for capture in captures:
        capture.frames = Frames.of(frame for frame in capture.frames if dice.random() > share)
        capture.trace = Datagrams.of(event for event in capture.trace if dice.random() > share)
    record = build_record(captures, EVERYTHING.segment_of)
    seen = [sighting for journey in record.journeys for sighting in journey.sightings]
    wires = sum(sighting.point.stage is None for sighting in seen)
    assert wires == sum(len(capture.frames) for capture in captures)
    assert sum(len(flow.journeys) for flow in record.flows) == len(record.journeys)
    assert all(journey.nth >= 1 and journey.id >= 1 for journey in record.journeys)


def test_the_scene_itself_takes_endpoints_apart():
    assert [endpoint(text) for text in ("10.0.0.1:5", "[fd00::1]:80", "10.0.0.1", "fd00::1")] == [
        ("10.0.0.1", 5),
        ("fd00::1", 80),
        ("10.0.0.1", 0),
        ("fd00::1", 0),
    ]
