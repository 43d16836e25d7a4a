"""Journeys joined to connections: two directions, across every NAT on the way."""

from __future__ import annotations

import numpy as np
import pytest
from record_nodeport import CLIENT, POD, SERVICE, NodePort
from record_packets import echo, echo_reply, endpoint, icmp_error, tcp, udp
from record_scene import BOTH_NATED, SNATED, Ct, Scene, attribute, established, message, new, reply

from netemu.netfilter.conntrack import Tuple
from netemu.netfilter.messages import attributes
from netemu.record.flows import Flow, _Joiner, read_entries
from netemu.record.journeys import Journey
from netemu.record.record import Record
from netemu.record.shown import Shown, _summed

ASKED = udp("192.168.0.1:4000", "192.168.0.2:53", b"?")
ANSWERED = udp("192.168.0.2:53", "192.168.0.1:4000", b"!")


def told(record: Record) -> list[str]:
    """Every journey's place: flow, direction, nth."""
    return [f"{each.flow} {each.direction} {each.nth}" for each in record.journeys]


def across(scene: Scene, packet, ct: Ct | None = None) -> None:
    """A packet between A and B, in whichever direction its addresses say."""
    ends = [host for host in scene.hosts if host.name in "AB"]
    ends = ends if endpoint(packet.src)[0].endswith(".1") else ends[::-1]
    ends[0].sends(packet, "eth0", ct if ends[0].name == "B" else None)
    ends[1].gets("eth0", packet, ct=ct if ends[1].name == "B" else None).delivered()


@pytest.fixture
def pair(scene: Scene) -> Scene:
    scene.host("A", eth0="lan")
    scene.host("B", eth0="lan")
    return scene


@pytest.mark.parametrize("old", [False, True], ids=["6.16 and later", "before 6.16"])
def test_a_reply_is_joined_to_its_request_across_nat(old: bool):
    lab = NodePort(Scene(old))
    lab.handshake()
    record = lab.scene.record()
    assert told(record) == ["1 original 1", "1 reply 1", "1 original 2"]
    (flow,) = record.flows
    assert flow.original == tcp(CLIENT, SERVICE).tuple
    assert flow.entries["B"].reply == tcp(POD, "192.168.0.2:54522").tuple
    assert flow.entries["B"].tcp_state == "ESTABLISHED"


def test_the_ordinal_counts_in_each_direction(pair: Scene):
    for packet in (ASKED, ANSWERED, ASKED, ANSWERED, ANSWERED, ASKED):
        across(pair, packet)
    assert told(pair.record()) == [
        "1 original 1",
        "1 reply 1",
        "1 original 2",
        "1 reply 2",
        "1 reply 3",
        "1 original 3",
    ]


def test_two_connections_through_the_same_nat_are_two_flows(lab: NodePort):
    lab.handshake()
    lab.handshake(8, "192.168.0.1:54523")
    record = lab.scene.record()
    assert told(record) == [f"{flow} {rest}" for flow in (1, 2) for rest in ("original 1", "reply 1", "original 2")]
    assert [flow.entries["B"].id for flow in record.flows] == [7, 8]


def test_a_tuple_used_again_under_another_entry_is_another_flow(lab: NodePort):
    lab.handshake(7)
    lab.handshake(8)
    record = lab.scene.record()
    assert told(record) == [f"{flow} {rest}" for flow in (1, 2) for rest in ("original 1", "reply 1", "original 2")]


def test_flows_of_hosts_that_track_nothing_are_joined_by_their_tuples(pair: Scene):
    other = udp("192.168.0.1:4001", "192.168.0.2:53")
    for packet in (ASKED, other, ANSWERED):
        across(pair, packet)
    record = pair.record()
    assert told(record) == ["1 original 1", "2 original 1", "1 reply 1"]
    assert [flow.entries for flow in record.flows] == [{}, {}]


def test_packets_that_are_not_tracked_are_joined_by_their_tuples(pair: Scene):
    across(pair, ASKED, Ct("untracked"))
    across(pair, ANSWERED, Ct("untracked"))
    assert told(pair.record()) == ["1 original 1", "1 reply 1"]


def test_an_icmp_error_is_no_reply_of_the_flow_it_is_about(pair: Scene):
    pair.hosts[1].entry(7, ASKED, ANSWERED, "confirmed")
    across(pair, ASKED, new(7, "confirmed"))
    error = icmp_error("192.168.0.2", "192.168.0.1", 3, ASKED)
    across(pair, error, Ct("related", 7, "reply", ("confirmed",)))
    record = pair.record()
    assert told(record) == ["1 original 1", "1 reply 0"]  # in its flow, but none of its packets
    assert [len(record.flows[0].packets(direction)) for direction in ("original", "reply")] == [1, 0]
    assert record.flows[0].packets("reply") == []


def test_a_syn_sent_again_after_an_entry_that_never_was_confirmed_stays_in_its_flow(lab: NodePort):
    """A packet dropped before confirmation leaves no entry; its retransmission gets another id."""
    syn = tcp(CLIENT, SERVICE, seq=1, ip_id=1)
    lab.a.sends(syn, "eth0")
    lab.b.gets("eth0", syn, "eth0", new(6)).sees("prerouting").matches(lab.dnat).sees("prerouting.nat", dst=POD)
    lab.handshake(7)
    record = lab.scene.record()
    assert told(record) == ["1 original 1", "1 original 2", "1 reply 1", "1 original 3"]
    assert record.flows[0].entries["B"].id == 7


def test_replies_are_joined_where_nat_happens_on_two_hosts_in_a_row(scene: Scene):
    a, b = scene.host("A", eth0="lan"), scene.host("B", eth0="lan", eth1="mid")
    c, d = scene.host("C", eth0="mid", eth1="far"), scene.host("D", eth0="far")
    asked, outside = udp("192.168.0.1:4000", "10.0.0.2:53"), udp("10.0.0.1:4000", "10.0.0.2:53")
    inside = udp("10.9.0.1:4000", "10.9.9.9:53")
    b.entry(7, asked, udp("10.0.0.2:53", "10.0.0.1:4000"), *SNATED, "confirmed")
    c.entry(8, outside, udp("10.9.9.9:53", "10.9.0.1:4000"), *BOTH_NATED)
    a.sends(asked, "eth0")
    b.gets("eth0", asked, "eth1", new(7)).through("prerouting", "prerouting.nat").sees("forward", ttl=63).sees(
        "postrouting"
    ).sees("postrouting.nat", new(7, *SNATED), src="10.0.0.1:4000").leaves()
    walk = c.gets("eth0", outside.but(ttl=63), "eth1", new(8)).sees("prerouting")
    walk.sees("prerouting.nat", dst="10.9.9.9:53").sees("forward", ttl=62).sees("postrouting")
    walk.sees("postrouting.nat", new(8, *BOTH_NATED), src="10.9.0.1:4000").leaves()
    d.gets("eth0", inside.but(ttl=62)).delivered()

    answer = udp("10.9.9.9:53", "10.9.0.1:4000")
    d.sends(answer, "eth0")
    walk = c.gets("eth1", answer, "eth0", reply(8, *BOTH_NATED)).sees("prerouting")
    walk.sees("prerouting.nat", dst="10.0.0.1:4000").sees("forward", ttl=63).sees("postrouting")
    walk.sees("postrouting.nat", src="10.0.0.2:53").leaves()
    walk = b.gets("eth1", walk.packet, "eth0", reply(7, *SNATED)).sees("prerouting")
    walk.sees("prerouting.nat", dst="192.168.0.1:4000").sees("forward", ttl=62)
    walk.through("postrouting", "postrouting.nat").leaves()
    a.gets("eth0", walk.packet).delivered()

    record = scene.record()
    assert told(record) == ["1 original 1", "1 reply 1"]
    assert {host: entry.id for host, entry in record.flows[0].entries.items()} == {"B": 7, "C": 8}


def test_an_answer_whose_request_was_not_seen_beyond_the_nat_is_joined_through_the_entry(lab: NodePort):
    """C and pod have no taps that saw the request; the entry at B still tells whose answer it is."""
    asked = tcp(CLIENT, SERVICE)
    lab.entry()
    lab.a.sends(asked, "eth0")
    lab.b.gets("eth0", asked, "eth0", new(7)).sees("prerouting")
    lab.pod.sends(tcp(POD, "192.168.0.2:54522", "SYN ACK"), "eth0")
    assert told(lab.scene.record()) == ["1 original 1", "1 reply 1"]


def test_a_flow_whose_first_seen_packet_is_a_reply_has_the_entrys_directions(lab: NodePort):
    """A record begun in the middle of a connection: conntrack knows who began it."""
    lab.entry()
    lab.answer(tcp(POD, "192.168.0.2:54522", "ACK"))
    lab.later(tcp(CLIENT, SERVICE, "ACK"), established(7, *BOTH_NATED))
    assert told(lab.scene.record()) == ["1 reply 1", "1 original 1"]


def test_an_answer_dropped_on_its_way_out_is_a_reply(pair: Scene):
    across(pair, ASKED)
    b = pair.hosts[1]
    deny = b.rule("filter", "OUTPUT", "-A OUTPUT -j DROP")
    b.makes(ANSWERED, "eth0").sees("output").matches(deny, "drop")
    assert told(pair.record()) == ["1 original 1", "1 reply 1"]


def test_echoes_are_told_apart_by_their_ids(pair: Scene):
    for ident in (5, 6):
        across(pair, echo("192.168.0.1", "192.168.0.2", ident))
    for ident in (6, 5):
        across(pair, echo_reply("192.168.0.2", "192.168.0.1", ident))
    assert told(pair.record()) == ["1 original 1", "2 original 1", "2 reply 1", "1 reply 1"]


def test_echoes_through_an_old_kernels_conntrack_find_their_entry():
    scene = Scene(old=True)
    scene.host("A", eth0="lan")
    b = scene.host("B", eth0="lan")
    asked, answered = echo("192.168.0.1", "192.168.0.2", 5), echo_reply("192.168.0.2", "192.168.0.1", 5)
    b.entry(7, asked, answered.but(dst="192.168.0.1"), "confirmed")
    across(scene, asked, new(7))
    across(scene, answered, reply(7))
    record = scene.record()
    assert told(record) == ["1 original 1", "1 reply 1"]
    assert record.flows[0].entries["B"].original == Tuple("icmp", "192.168.0.1", 5, "192.168.0.2", 5)


def test_an_entry_keeps_its_last_status_and_state_from_events_dump_and_end(scene: Scene):
    b = scene.host("B", eth0="lan")
    asked, answered = tcp("10.0.0.1:1", "10.0.0.2:2"), tcp("10.0.0.2:2", "10.0.0.1:1")
    b.entry(7, asked, answered, "confirmed", tcp_state="SYN_SENT")
    b.entry(7, asked, answered, "confirmed", "seen-reply", tcp_state="ESTABLISHED")
    b.entry(7, asked, answered, "confirmed", "seen-reply", "assured", dumped=True, tcp_state="TIME_WAIT")
    b.entry(8, answered, asked, dumped=True)
    found = read_entries([*b.events, *b.dumped])
    assert list(found) == [7, 8]
    assert (found[7].original, found[7].reply) == (asked.tuple, answered.tuple)
    assert (found[7].status, found[7].tcp_state) == (2 + 4 + 8, "TIME_WAIT")
    assert (found[8].status, found[8].tcp_state) == (0, None)


def test_an_entrys_end_without_a_status_leaves_the_one_it_had(scene: Scene):
    b = scene.host("B", eth0="lan")
    asked, answered = udp("10.0.0.1:1", "10.0.0.2:2"), udp("10.0.0.2:2", "10.0.0.1:1")
    b.entry(7, asked, answered, "confirmed", "assured")
    b.entry(7, asked, answered, deleted=True)
    assert read_entries(b.events)[7].status == 4 + 8


def test_messages_that_are_no_entries_are_left_out():
    assert read_entries([b"", b"torn", message(1, 1, 2, b""), message(1, 0, 2, b""), message(10, 17, 2, b"")]) == {}


@pytest.mark.parametrize("number", [1, 2, 3, 4, 12])
def test_an_entry_with_an_attribute_of_a_wrong_size_raises_nothing(scene: Scene, number: int):
    """Such a message is torn or of a kernel to come: it may be left out, but it must not end the record."""
    b = scene.host("B", eth0="lan")
    b.entry(7, ASKED, ANSWERED, "confirmed", tcp_state="ESTABLISHED")
    parts = attributes(b.events[0][16:], 4)
    for size in range(10):
        body = b"".join(attribute(kind, value if kind != number else bytes(size)) for kind, value in parts.items())
        assert len(read_entries([message(1, 0, 2, body)])) <= 1


@pytest.mark.parametrize("where", ["src", "dst", "proto", "sport", "dport", "tcp"])
def test_an_entry_with_a_nested_attribute_of_a_wrong_size_raises_nothing(where: str):
    def part(number: int, name: str, value: bytes, size: int) -> bytes:
        return attribute(number, bytes(size) if name == where else value)

    for size in range(10):
        ports = part(2, "sport", b"\x00\x01", size) + part(3, "dport", b"\x00\x02", size)
        ends = part(1, "src", bytes(4), size) + part(2, "dst", bytes(4), size)
        directed = attribute(1, ends) + attribute(2, part(1, "proto", b"\x11", size) + ports)
        info = attribute(4, attribute(1, part(1, "tcp", b"\x03", size)))
        body = attribute(1, directed) + attribute(2, directed) + attribute(12, bytes(4)) + info
        assert len(read_entries([message(1, 0, 2, body)])) <= 1


def test_entries_of_equal_ids_on_two_hosts_are_two_entries(lab: NodePort):
    lab.entry()
    lab.c.entry(7, udp("1.1.1.1:1", "2.2.2.2:2"), udp("2.2.2.2:2", "1.1.1.1:1"), "confirmed")
    lab.first(tcp(CLIENT, SERVICE))
    (flow,) = lab.scene.record().flows
    assert list(flow.entries) == ["B"]


def test_a_flow_gives_its_packets_by_direction():
    journeys = [Journey((), (), (), (), None, False, direction=way) for way in ("original", "reply", "original")]
    flow = Flow(1, Tuple("udp", "1.1.1.1", 1, "2.2.2.2", 2), journeys=journeys)
    assert (flow.packets("original"), flow.packets("reply")) == ([journeys[0], journeys[2]], [journeys[1]])


def test_packets_that_show_the_same_are_looked_at_once(pair: Scene):
    """Joining takes time in proportion to the number of kinds of packets, not to that of packets in a flow."""
    for _ in range(40):
        across(pair, ASKED)
        across(pair, ANSWERED)
    found = pair.journeys()
    joiner = _Joiner(found, Shown.of(found, {}), {})
    joiner.join()
    assert (len(joiner.flows), joiner.taken, list(found.reply)) == (1, 2, [False, True] * 40)


@pytest.mark.parametrize("counts", [[1, 1], [2, 0], [0, 2], [0, 0], [3, 1]])
def test_a_digest_of_what_is_shown_is_each_journeys_own(counts):
    """Also where there are as many values as journeys, but not one each."""
    values = np.arange(5, 5 + sum(counts), dtype=np.uint64)
    found = _summed(values, np.repeat([0, 1], counts), np.append(0, np.cumsum(counts)), 3).tolist()
    for each, mine in zip(found, np.split(values, [counts[0]]), strict=True):
        beside = np.append(mine, np.arange(9, dtype=np.uint64))  # in company of another that has many
        alone = _summed(beside, np.repeat([0, 1], [len(mine), 9]), np.array([0, len(mine), len(mine) + 9]), 3)
        assert each == alone[0]
