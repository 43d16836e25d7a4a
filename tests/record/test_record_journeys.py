"""One packet's sightings joined across hosts, wires and rewrites; and where it ends."""

from __future__ import annotations

from record_nodeport import CLIENT, POD, SENT, SERVICE, SYN
from record_packets import icmp_error, tcp, udp
from record_scene import DNATED, SNATED, Scene, new, story

from netemu.record.capture import BROADCAST, OTHERHOST
from netemu.topology.points import Point

QUESTION = udp("192.168.0.1:4000", "192.168.0.2:53", b"?")
AT_B = ["B:eth0 in", "B@prerouting", "B@prerouting.nat", "B@input", "B@input.nat", "delivered at B@input.nat"]


def test_only_nat_points_count_as_walked_where_one_table_holds_nat_and_filter_chains(scene: Scene):
    b = scene.host("B", eth0="lan")
    dnat = b.rule("nat", "pre", "tcp dport 80 dnat to 172.26.0.3", family="inet")
    allow = b.rule("nat", "forward", "accept", family="inet")
    walk = b.gets("eth0", SYN, "eth0", new(7)).sees("prerouting").matches(dnat).sees("prerouting.nat", dst=POD)
    walk.matches(allow).sees("forward", ttl=63).through("postrouting", "postrouting.nat").leaves()
    (found,) = scene.journeys()
    assert found.walked == {Point("B", stage="prerouting.nat")}


def test_equal_datagrams_are_joined_in_the_order_in_which_they_came(scene: Scene):
    a, b = scene.host("A", eth0="lan"), scene.host("B", eth0="lan")
    for _ in range(3):
        a.sends(QUESTION, "eth0")
    for _ in range(3):
        b.gets("eth0", QUESTION).delivered()
    found = scene.journeys()
    assert [story(each) for each in found] == [[*SENT, *AT_B]] * 3
    times = [[seen.time_ns for seen in each.sightings if seen.time_ns is not None] for each in found]
    assert times == [[1_000_001_000, 1_000_004_000], [1_000_002_000, 1_000_005_000], [1_000_003_000, 1_000_006_000]]


def test_a_retransmission_is_a_journey_of_its_own(scene: Scene):
    a, b = scene.host("A", eth0="lan"), scene.host("B", eth0="lan")
    deny = b.rule("filter", "INPUT", "-A INPUT -j DROP")
    a.sends(SYN, "eth0")
    b.gets("eth0", SYN).through("prerouting", "prerouting.nat").matches(deny, "drop")
    a.sends(SYN.but(ip_id=2), "eth0")
    b.gets("eth0", SYN.but(ip_id=2)).delivered()
    assert [story(each)[-1] for each in scene.journeys()] == [
        "dropped at B@prerouting.nat by INPUT -A INPUT -j DROP",
        "delivered at B@input.nat",
    ]


def test_a_broadcast_is_one_journey_to_all_who_got_it(scene: Scene):
    a, b, c = (scene.host(name, eth0="lan") for name in "ABC")
    call = udp("192.168.0.1:4000", "192.168.0.255:67", b"anyone")
    a.sends(call, "eth0")
    b.gets("eth0", call, kind=BROADCAST).delivered()
    c.gets("eth0", call, kind=BROADCAST).through("prerouting", "prerouting.nat").falls_through(
        "filter", "INPUT", "drop"
    )
    (told,) = scene.stories()
    at_c = ["C:eth0 in", "C@prerouting", "C@prerouting.nat"]
    assert told == [*SENT, *AT_B[:-1], *at_c, "delivered at B@input.nat"]


def test_what_one_receiver_of_a_broadcast_rewrote_is_no_rewrite_at_the_next(scene: Scene):
    a, b, c = (scene.host(name, eth0="lan") for name in "ABC")
    redirect = b.rule("nat", "PREROUTING", "-A PREROUTING -j REDIRECT --to-ports 1067")
    call = udp("192.168.0.1:4000", "192.168.0.255:67", b"anyone")
    a.sends(call, "eth0")
    walk = b.gets("eth0", call, ct=new(7), kind=BROADCAST).sees("prerouting").matches(redirect)
    walk.sees("prerouting.nat", new(7, *DNATED), dst="192.168.0.2:1067").through("input", "input.nat")
    c.gets("eth0", call, kind=BROADCAST).delivered()
    (told,) = scene.stories()
    assert [line for line in told if "|" in line] == [
        "B@prerouting.nat | dst 192.168.0.255:67 => 192.168.0.2:1067 by rule: -A PREROUTING -j REDIRECT --to-ports 1067"
    ]


def test_a_flooded_frame_for_another_host_is_no_part_of_the_journey(scene: Scene):
    a, b, c = (scene.host(name, eth0="lan") for name in "ABC")
    a.sends(QUESTION, "eth0")
    b.gets("eth0", QUESTION).delivered()
    c.wire("eth0", "in", QUESTION, OTHERHOST)
    assert scene.stories() == [[*SENT, *AT_B]]


def test_a_flooded_frame_that_nobody_sent_in_this_record_is_no_journey(scene: Scene):
    scene.host("C", eth0="lan").wire("eth0", "in", QUESTION, OTHERHOST)
    assert scene.stories() == []


def test_a_packet_over_loopback_is_one_journey_though_its_trace_id_changes(scene: Scene):
    b = scene.host("B", eth0="lan")
    packet = udp("127.0.0.1:4000", "127.0.0.1:53", b"?")
    b.sends(packet, "lo", id=1)
    b.gets("lo", packet, id=2).delivered()
    assert scene.stories() == [
        [*(line.replace("A", "B").replace("eth0", "lo") for line in SENT), "B:lo in", *AT_B[1:]],
    ]


def test_loopback_frames_of_two_hosts_are_not_mixed_up(scene: Scene):
    a, b = scene.host("A", eth0="lan"), scene.host("B", eth0="lan")
    packet = udp("127.0.0.1:4000", "127.0.0.1:53", b"?")
    a.sends(packet, "lo")
    b.gets("lo", packet).delivered()
    assert [{seen.point.host for seen in each.sightings} for each in scene.journeys()] == [{"A"}, {"B"}]


def test_equal_frames_on_two_segments_are_not_mixed_up(scene: Scene):
    a, b = scene.host("A", eth0="red"), scene.host("B", eth0="blue")
    a.sends(QUESTION, "eth0")
    b.gets("eth0", QUESTION).delivered()
    assert [told[-1] for told in scene.stories()] == ["unseen at A:eth0 out", "delivered at B@input.nat"]


def test_equal_frames_on_interfaces_outside_the_topology_are_not_mixed_up(scene: Scene):
    """As on a tunnel or a veth pair that a command made on one host: its far end is not some other host's device."""
    a, b = scene.host("A", tun0="x"), scene.host("B", veth9="x")
    scene.segment_of.clear()
    a.sends(QUESTION, "tun0")
    b.gets("veth9", QUESTION).delivered()
    assert [told[-1] for told in scene.stories()] == ["unseen at A:tun0 out", "delivered at B@input.nat"]


def test_interleaved_passes_are_two_journeys(scene: Scene):
    a, b = scene.host("A", eth0="lan"), scene.host("B", eth0="lan")
    other = QUESTION.but(src="192.168.0.1:4001")
    a.sends(QUESTION, "eth0")
    a.sends(other, "eth0")
    walks = [b.gets("eth0", packet) for packet in (QUESTION, other)]
    for stage in ("prerouting", "prerouting.nat", "input", "input.nat"):
        for walk in walks:
            walk.sees(stage)
    assert scene.stories() == [[*SENT, *AT_B]] * 2
    assert [{seen.headers.sport for seen in each.sightings} for each in scene.journeys()] == [{4000}, {4001}]


def test_a_trace_id_that_is_used_again_does_not_mix_two_packets(scene: Scene):
    a, b = scene.host("A", eth0="lan"), scene.host("B", eth0="lan")
    other = QUESTION.but(src="192.168.0.1:4001")
    for packet in (QUESTION, other):
        a.sends(packet, "eth0", id=1)
        b.gets("eth0", packet, id=1).delivered()
    assert scene.stories() == [[*SENT, *AT_B]] * 2


def test_a_frame_that_no_hook_saw_ends_on_the_wire(scene: Scene):
    a, b = scene.host("A", eth0="lan"), scene.host("B", eth0="lan")
    a.sends(QUESTION, "eth0")
    b.wire("eth0", "in", QUESTION)
    assert scene.stories() == [[*SENT, "B:eth0 in", "unseen at B:eth0 in"]]


def test_a_pass_whose_start_was_lost_begins_a_journey_of_its_own(scene: Scene):
    b = scene.host("B", eth0="lan")
    b.gets("eth0", QUESTION, start_lost=True).delivered()
    assert sorted(scene.stories()) == [["B:eth0 in", "unseen at B:eth0 in"], AT_B[1:]]
    assert [each.complete for each in scene.journeys()] == [False, False]


def test_a_drop_by_a_policy_names_the_chain(scene: Scene):
    a, b = scene.host("A", eth0="lan"), scene.host("B", eth0="lan")
    a.sends(QUESTION, "eth0")
    b.gets("eth0", QUESTION).through("prerouting", "prerouting.nat").falls_through("filter", "FORWARD", "drop")
    assert scene.stories() == [[*SENT, *AT_B[:3], "dropped at B@prerouting.nat by FORWARD policy"]]


def test_a_packet_dropped_in_the_raw_table_ends_there_by_that_rule(scene: Scene):
    """raw is at -300, before a tap's first stage at -101; only the tap's start, at -450, comes before it."""
    a, b = scene.host("A", eth0="lan"), scene.host("B", eth0="lan")
    deny = b.rule("raw", "PREROUTING", "-A PREROUTING -j DROP")
    a.sends(QUESTION, "eth0")
    b.gets("eth0", QUESTION).matches(deny, "drop")
    (found,) = scene.journeys()
    assert story(found)[-1] == "dropped at B:eth0 in by PREROUTING -A PREROUTING -j DROP"
    assert [turn.text for turn in found.rules] == ["-A PREROUTING -j DROP"]


def test_a_packet_that_mangle_marks_before_the_first_stage_is_still_one_journey(scene: Scene):
    a, b = scene.host("A", eth0="lan"), scene.host("B", eth0="lan")
    mark = b.rule("mangle", "PREROUTING", "-A PREROUTING -j DSCP --set-dscp 0x2e")
    a.sends(QUESTION, "eth0")
    walk = b.gets("eth0", QUESTION).matches(mark, "continue").sees("prerouting", tos=0xB8)
    walk.through("prerouting.nat", "input", "input.nat")
    assert scene.stories() == [[*SENT, *AT_B]]


def test_a_host_that_does_not_forward_ends_the_journey_before_its_forward_hook(scene: Scene):
    a, b = scene.host("A", eth0="lan"), scene.host("B", eth0="lan")
    packet = QUESTION.but(dst="172.26.0.3:53")
    a.sends(packet, "eth0")
    b.gets("eth0", packet).through("prerouting", "prerouting.nat")
    assert scene.stories() == [[*SENT, *AT_B[:3], "unseen at B@prerouting.nat"]]


def test_a_locally_made_reset_begins_its_own_journey_after_the_packet_it_answers(scene: Scene):
    a, b = scene.host("A", eth0="lan"), scene.host("B", eth0="lan")
    reject = b.rule("filter", "INPUT", "-A INPUT -j REJECT --reject-with tcp-reset")
    reset = tcp(SERVICE, CLIENT, "RST ACK", ack=2)
    a.sends(SYN, "eth0")
    walk = b.gets("eth0", SYN).through("prerouting", "prerouting.nat")
    b.sends(reset, "eth0")
    walk.matches(reject, "drop")
    a.gets("eth0", reset).delivered()
    told = scene.stories()
    assert told[0] == [
        *SENT,
        *AT_B[:3],
        "dropped at B@prerouting.nat by INPUT -A INPUT -j REJECT --reject-with tcp-reset",
    ]
    assert (told[1][0], told[1][-1]) == ("B@output", "delivered at A@input.nat")


def test_a_routers_icmp_error_is_a_complete_journey(scene: Scene):
    a, b = scene.host("A", eth0="lan"), scene.host("B", eth0="lan")
    error = icmp_error("192.168.0.2", "192.168.0.1", 0, QUESTION)
    b.sends(error, "eth0")
    a.gets("eth0", error).delivered()
    (found,) = scene.journeys()
    assert (found.complete, found.first.headers.icmp) == (True, (3, 0))


def test_a_packet_dropped_on_its_way_out_leaves_no_frame_but_its_journey_is_there(scene: Scene):
    a = scene.host("A", eth0="lan")
    deny = a.rule("filter", "OUTPUT", "-A OUTPUT -j DROP")
    a.makes(QUESTION, "eth0").through("output", "output.nat").matches(deny, "drop")
    assert scene.stories() == [["A@output", "A@output.nat", "dropped at A@output.nat by OUTPUT -A OUTPUT -j DROP"]]


def test_an_answer_dropped_on_its_way_out_comes_after_the_packet_it_answers(scene: Scene):
    """No wire dates the answer; the frame that came in before it does."""
    a, b = scene.host("A", eth0="lan"), scene.host("B", eth0="lan")
    deny = b.rule("filter", "OUTPUT", "-A OUTPUT -j DROP")
    a.sends(QUESTION, "eth0")
    b.gets("eth0", QUESTION).delivered()
    b.makes(udp("192.168.0.2:53", "192.168.0.1:4000", b"!"), "eth0").sees("output").matches(deny, "drop")
    assert [told[0] for told in scene.stories()] == ["A@output", "B@output"]


def test_a_packet_rewritten_on_its_way_out_leaves_as_what_it_became(scene: Scene):
    """DNAT at output, then routed again: the frame has the new destination."""
    a, b = scene.host("A", eth0="lan", eth1="wan"), scene.host("B", eth1="wan")
    dnat = a.rule("nat", "OUTPUT", "-A OUTPUT -j DNAT --to-destination 10.0.0.2")
    walk = a.makes(QUESTION, "eth0", new(7)).sees("output").matches(dnat)
    walk.oif = "eth1"
    walk.sees("output.nat", new(7, *DNATED), dst="10.0.0.2:53").through("postrouting", "postrouting.nat").leaves()
    b.gets("eth1", walk.packet).delivered()
    (told,) = scene.stories()
    assert told[1:6] == [
        "A@output.nat | dst 192.168.0.2:53 => 10.0.0.2:53 by rule: -A OUTPUT -j DNAT --to-destination 10.0.0.2",
        "A@postrouting",
        "A@postrouting.nat",
        "A:eth1 out",
        "B:eth1 in",
    ]


def test_a_packet_nated_on_two_hosts_in_a_row_is_one_journey(scene: Scene):
    a, b = scene.host("A", eth0="lan"), scene.host("B", eth0="lan", eth1="mid")
    c, d = scene.host("C", eth0="mid", eth1="far"), scene.host("D", eth0="far")
    outer = b.rule("nat", "POSTROUTING", "-A POSTROUTING -j SNAT --to-source 10.0.0.1")
    inner = c.rule("nat", "PREROUTING", "-A PREROUTING -j DNAT --to-destination 10.9.9.9")
    packet = udp("192.168.0.1:4000", "10.0.0.2:53", b"?")
    a.sends(packet, "eth0")
    walk = b.gets("eth0", packet, "eth1", new(7)).through("prerouting", "prerouting.nat").sees("forward", ttl=63)
    walk.sees("postrouting").matches(outer).sees("postrouting.nat", new(7, *SNATED), src="10.0.0.1:4000").leaves()
    walk = c.gets("eth0", walk.packet, "eth1", new(8)).sees("prerouting").matches(inner)
    walk.sees("prerouting.nat", new(8, *DNATED), dst="10.9.9.9:53").sees("forward", ttl=62)
    walk.through("postrouting", "postrouting.nat").leaves()
    d.gets("eth0", walk.packet).delivered()
    (told,) = scene.stories()
    assert [line for line in told if "by rule" in line] == [
        f"B@postrouting.nat | src 192.168.0.1:4000 => 10.0.0.1:4000 by rule: {outer.text}",
        f"C@prerouting.nat | dst 10.0.0.2:53 => 10.9.9.9:53 by rule: {inner.text}",
    ]
    assert told[-1] == "delivered at D@input.nat"


def test_a_journey_begun_before_the_record_is_not_complete(scene: Scene):
    scene.host("B", eth0="lan").gets("eth0", QUESTION).delivered()
    (found,) = scene.journeys()
    assert (found.end.kind, found.complete) == ("delivered", False)


def test_a_packet_that_comes_to_a_point_twice_has_two_visits_each_with_its_own_changes(scene: Scene):
    """Two hosts that route to each other: the packet goes round."""
    a, b = scene.host("A", eth0="lan"), scene.host("B", eth0="lan")
    packet = QUESTION.but(dst="203.0.113.9:53", ttl=4)
    a.sends(packet, "eth0")
    for ttl in (4, 2):
        b.gets("eth0", packet.but(ttl=ttl), "eth0").forwarded()
        a.gets("eth0", packet.but(ttl=ttl - 1), "eth0").forwarded()
    (found, *_) = scene.journeys()
    point = Point("B", stage="forward")
    assert [found.sightings[place].headers.ttl for place in found.visits(point)] == [3, 1]
    changes = [(c.place in found.visits(point), c.before, c.after) for c in found.rewrites if c.at == point]
    assert changes == [(True, "4", "3"), (True, "2", "1")]
    assert found.at(point) is found.sightings[found.visits(point)[0]]


def test_an_ipv6_packet_is_joined_like_any_other(scene: Scene):
    a, b = scene.host("A", eth0="lan"), scene.host("B", eth0="lan")
    packet = tcp("[fd00::1]:4000", "[fd00::2]:80")
    a.sends(packet, "eth0")
    b.gets("eth0", packet).delivered()
    assert scene.stories() == [[*SENT, *AT_B]]


def test_fragments_are_each_a_journey_where_nothing_defragments(scene: Scene):
    a, b = scene.host("A", eth0="lan"), scene.host("B", eth0="lan")
    for offset in (0x2000, 185):
        frame = bytearray(QUESTION.but(ip_id=5).frame())
        frame[20:22] = offset.to_bytes(2, "big")
        a.wire("eth0", "out", bytes(frame))
        b.wire("eth0", "in", bytes(frame))
    assert scene.stories() == [["A:eth0 out", "B:eth0 in", "unseen at B:eth0 in"]] * 2
    assert [each.first.headers.sport for each in scene.journeys()] == [4000, None]


def test_a_locally_made_packet_is_joined_though_its_checksum_is_partial_at_the_hooks(scene: Scene):
    a = scene.host("A", eth0="lan")
    a.sends(SYN, "eth0")
    whole = SYN.transport
    a.trace[:] = [event.replace(whole, whole[:16] + b"\x12\x34" + whole[18:]) for event in a.trace]
    assert [told[-1] for told in scene.stories()] == ["unseen at A:eth0 out"]
