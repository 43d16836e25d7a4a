"""Which packet is which: what order tells, what it can't, and what was sent or came twice."""

from __future__ import annotations

import pytest
from record_packets import tcp, udp
from record_scene import Scene

ASKED = udp("192.168.0.1:4000", "192.168.0.2:53", b"?")


@pytest.fixture
def pair(scene: Scene) -> Scene:
    scene.host("A", eth0="lan")
    scene.host("B", eth0="lan")
    return scene


def sure(scene: Scene) -> list[tuple[int, bool]]:
    return [(each.alike, each.certain) for each in scene.record().journeys]


def test_packets_that_differ_are_unique(pair: Scene):
    a, b = pair.hosts
    for port in (53, 54):
        packet = ASKED.but(dst=f"192.168.0.2:{port}")
        a.sends(packet, "eth0")
        b.gets("eth0", packet).delivered()
    assert sure(pair) == [(1, True)] * 2


def test_as_many_frames_in_as_out_are_told_by_their_order(pair: Scene):
    a, b = pair.hosts
    for _ in range(3):
        a.sends(ASKED, "eth0")
        b.gets("eth0", ASKED).delivered()
    assert sure(pair) == [(3, True)] * 3


def test_where_one_of_two_was_lost_on_the_wire_neither_is_certain(pair: Scene):
    a, b = pair.hosts
    a.sends(ASKED, "eth0")
    a.sends(ASKED, "eth0")
    b.gets("eth0", ASKED).delivered()
    assert sure(pair) == [(2, False)] * 2


def test_where_one_of_two_was_lost_between_hook_and_wire_neither_is_certain(pair: Scene):
    a, b = pair.hosts
    a.sends(ASKED, "eth0")
    a.makes(ASKED, "eth0").through("output", "output.nat", "postrouting", "postrouting.nat")
    b.gets("eth0", ASKED).delivered()
    assert sure(pair) == [(2, False)] * 2


def test_where_a_rule_dropped_one_of_two_the_trace_tells_which(pair: Scene):
    a, b = pair.hosts
    deny = b.rule("filter", "INPUT", "-A INPUT -j DROP")
    a.sends(ASKED, "eth0")
    b.gets("eth0", ASKED).delivered()
    a.sends(ASKED, "eth0")
    b.gets("eth0", ASKED).through("prerouting", "prerouting.nat").matches(deny, "drop")
    assert sure(pair) == [(2, True)] * 2


def test_all_that_were_lost_are_certain_each_by_itself(pair: Scene):
    for _ in range(2):
        pair.hosts[0].sends(ASKED, "eth0")
    assert [certain for _, certain in sure(pair)] == [True] * 2


def test_a_frame_that_came_twice_for_one_that_left_is_a_duplicate(pair: Scene):
    a, b = pair.hosts
    a.sends(ASKED, "eth0")
    b.gets("eth0", ASKED).delivered()
    b.gets("eth0", ASKED).delivered()
    first, second = pair.record().journeys
    assert (first.duplicates, second.duplicates) == (None, first.id)
    assert not first.certain


def test_a_packet_that_left_twice_for_one_pass_is_a_duplicate(pair: Scene):
    """netem duplicates behind the hooks, in front of the tap."""
    a, b = pair.hosts
    a.sends(ASKED, "eth0")
    a.wire("eth0", "out", ASKED)
    for _ in range(2):
        b.gets("eth0", ASKED).delivered()
    assert [each.duplicates for each in pair.record().journeys] == [None, 1]


def test_a_host_that_looks_at_a_frame_not_meant_for_it_makes_nothing_uncertain(scene: Scene):
    a, b, c = (scene.host(name, eth0="lan") for name in "ABC")
    for _ in range(2):
        a.sends(ASKED, "eth0")
        b.gets("eth0", ASKED).delivered()
    c.wire("eth0", "in", ASKED, 3)
    assert [each.certain for each in scene.record().journeys] == [True] * 2


@pytest.mark.parametrize(
    ("flags", "segments", "expected"),
    [
        ("SYN", [(1, b""), (1, b"")], [None, 1]),
        ("ACK", [(1, b""), (1, b"")], [None, None]),
        ("PSH ACK", [(1, b"abc"), (4, b"def"), (1, b"abc"), (4, b"def")], [None, None, 1, 2]),
        ("PSH ACK", [(1, b"abc"), (1, b"abc"), (1, b"abc")], [None, 1, 2]),
        ("PSH ACK", [(1, b"abcdef"), (3, b"cdef")], [None, 1]),
        ("PSH ACK", [(4, b"def"), (1, b"abc")], [None, None]),  # reordered: nothing is repeated
        ("PSH ACK", [(2**32 - 1, b"abc"), (2, b"def"), (2**32 - 1, b"abc")], [None, None, 1]),
    ],
)
def test_a_segment_whose_sequence_range_was_sent_before_is_a_retransmission(pair: Scene, flags, segments, expected):
    a, b = pair.hosts
    for ip_id, (seq, payload) in enumerate(segments):
        packet = tcp("192.168.0.1:4000", "192.168.0.2:80", flags, seq=seq, payload=payload, ip_id=ip_id)
        a.sends(packet, "eth0")
        b.gets("eth0", packet).delivered()
    assert [each.retransmits for each in pair.record().journeys] == expected


def test_a_duplicate_is_no_retransmission(pair: Scene):
    a, b = pair.hosts
    syn = tcp("192.168.0.1:4000", "192.168.0.2:80", seq=1)
    a.sends(syn, "eth0")
    b.gets("eth0", syn).delivered()
    b.gets("eth0", syn).delivered()
    assert [(each.duplicates, each.retransmits) for each in pair.record().journeys] == [(None, None), (1, None)]


def test_the_same_numbers_the_other_way_round_are_no_retransmission(pair: Scene):
    a, b = pair.hosts
    there, back = ("192.168.0.1:4000", "192.168.0.2:80"), ("192.168.0.2:80", "192.168.0.1:4000")
    a.sends(tcp(*there, "SYN", seq=1), "eth0")
    b.sends(tcp(*back, "SYN ACK", seq=1, ack=2), "eth0")
    assert [each.retransmits for each in pair.record().journeys] == [None, None]


def test_a_broadcast_has_an_end_at_each_receiver_and_is_certain(scene: Scene):
    a, b, c = (scene.host(name, eth0="lan") for name in "ABC")
    deny = c.rule("filter", "INPUT", "-A INPUT -j DROP")
    a.sends(ASKED, "eth0")
    b.gets("eth0", ASKED).delivered()
    c.gets("eth0", ASKED).through("prerouting", "prerouting.nat").matches(deny, "drop")
    (found,) = scene.record().journeys
    assert [(end.kind, str(end.at), end.why) for end in found.ends] == [
        ("delivered", "B@input.nat", None),
        ("dropped", "C@prerouting.nat", "rule"),
    ]
    assert [str(found.sightings[end.place].point) for end in found.ends] == [str(end.at) for end in found.ends]
    assert (found.end, found.certain) == (found.ends[0], True)
