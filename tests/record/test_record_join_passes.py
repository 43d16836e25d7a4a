"""Trace events grouped to passes: one packet's way through one host's hooks."""

from __future__ import annotations

import pytest
from record_nodeport import NodePort
from record_packets import tcp, udp
from record_passes import Pass, passes
from record_scene import DNATED, Ct, Scene, attribute, established, message, new, u32

from netemu.netfilter.messages import attributes

QUESTION = udp("192.168.0.1:4000", "192.168.0.2:53", b"?")
OTHER = udp("192.168.0.9:4000", "192.168.0.2:53", b"!")
SYN = tcp("192.168.0.1:54522", "192.168.0.2:30000", seq=1)


def way(each: Pass) -> list[str]:
    """A pass to be read: where it began, its stages, and the turns before each."""
    lines = [each.start]
    for seen, turns in zip(each.sightings, each.turns, strict=True):
        lines += [f"{turn.table} {turn.chain}: {turn.text} {turn.verdict}" for turn in turns]
        lines.append(f"{seen.point.stage} {seen.headers.src}")
    return lines + [f"{turn.table} {turn.chain}: {turn.text} {turn.verdict}" for turn in each.rest]


def test_a_pass_holds_its_stages_and_the_rules_between_them(scene: Scene):
    b = scene.host("B", eth0="lan")
    dnat = b.rule("nat", "PREROUTING", "-A PREROUTING -j DNAT")
    allow = b.rule("filter", "INPUT", "-A INPUT -j ACCEPT")
    walk = b.gets("eth0", QUESTION, ct=new(7)).sees("prerouting").matches(dnat).sees("prerouting.nat")
    walk.matches(allow).sees("input").sees("input.nat")
    assert [way(each) for each in passes(b.capture())] == [
        [
            "prerouting",
            "prerouting 192.168.0.1",
            "nat PREROUTING: -A PREROUTING -j DNAT accept",
            "prerouting.nat 192.168.0.1",
            "filter INPUT: -A INPUT -j ACCEPT accept",
            "input 192.168.0.1",
            "input.nat 192.168.0.1",
        ]
    ]


def test_interleaved_trace_ids_are_two_passes(scene: Scene):
    b = scene.host("B", eth0="lan")
    one, two = b.gets("eth0", QUESTION), b.gets("eth0", OTHER)
    for stage in ("prerouting", "prerouting.nat", "input", "input.nat"):
        one.sees(stage)
        two.sees(stage)
    found = passes(b.capture())
    assert [{seen.headers.src for seen in each.sightings} for each in found] == [{"192.168.0.1"}, {"192.168.0.9"}]
    assert [each.stage for each in found] == ["input.nat", "input.nat"]


def test_a_trace_id_that_a_later_packet_uses_again_begins_a_pass_of_its_own(scene: Scene):
    b = scene.host("B", eth0="lan")
    b.gets("eth0", QUESTION, id=5).delivered()
    b.gets("eth0", OTHER, id=5).delivered()
    assert [len(each.sightings) for each in passes(b.capture())] == [4, 4]


def test_a_pass_whose_start_was_lost_is_kept_without_a_start(scene: Scene):
    b = scene.host("B", eth0="lan")
    b.gets("eth0", QUESTION, start_lost=True).delivered()
    assert [(each.start, each.stage) for each in passes(b.capture())] == [("", "input.nat")]


def test_a_pass_whose_start_was_lost_is_not_hung_on_an_earlier_packet_of_the_same_trace_id(scene: Scene):
    b = scene.host("B", eth0="lan")
    b.gets("eth0", QUESTION, id=5).delivered()
    b.gets("eth0", OTHER, id=5, start_lost=True).delivered()
    assert [(each.start, len(each.sightings)) for each in passes(b.capture())] == [("prerouting", 4), ("", 4)]


def test_the_interfaces_that_a_packet_came_from_and_went_to_are_known(scene: Scene):
    b = scene.host("B", eth0="lan", eth1="wan")
    b.gets("eth0", QUESTION, "eth1").forwarded()
    b.sends(OTHER, "eth1")
    assert [(each.iif, each.oif) for each in passes(b.capture())] == [(2, 3), (None, 3)]


def test_the_rule_that_dropped_a_packet_is_named(scene: Scene):
    b = scene.host("B", eth0="lan")
    deny = b.rule("filter", "INPUT", "-A INPUT -j DROP")
    b.gets("eth0", QUESTION).through("prerouting", "prerouting.nat").matches(deny, "drop")
    (found,) = passes(b.capture())
    assert (found.stage, found.dropped_by.text) == ("prerouting.nat", "-A INPUT -j DROP")


def test_the_policy_that_dropped_a_packet_is_named(scene: Scene):
    b = scene.host("B", eth0="lan")
    b.gets("eth0", QUESTION).through("prerouting", "prerouting.nat").falls_through("filter", "INPUT", "drop")
    (found,) = passes(b.capture())
    assert (found.dropped_by.chain, found.dropped_by.text) == ("INPUT", "policy")


def test_the_end_of_a_chain_is_no_rule_and_only_the_policy_after_it_is_a_turn(scene: Scene):
    """Linux 6.18 tells the end of a base chain by a rule event without a handle, then tells the policy."""
    b = scene.host("B", eth0="lan")
    b.rule("nat", "PREROUTING", "-A PREROUTING -p tcp -j DNAT")
    b.gets("eth0", QUESTION).sees("prerouting").falls_through("nat", "PREROUTING").sees("prerouting.nat")
    assert [way(each) for each in passes(b.capture())] == [
        ["prerouting", "prerouting 192.168.0.1", "nat PREROUTING: policy accept", "prerouting.nat 192.168.0.1"]
    ]


def test_a_jump_and_the_rule_of_the_chain_it_leads_to_are_both_turns(scene: Scene):
    b = scene.host("B", eth0="lan")
    jump = b.rule("nat", "PREROUTING", "-A PREROUTING -j KUBE-SERVICES")
    dnat = b.rule("nat", "KUBE-SERVICES", "-A KUBE-SERVICES -j DNAT")
    b.gets("eth0", SYN).sees("prerouting").matches(jump, "jump", "KUBE-SERVICES").matches(dnat).sees("prerouting.nat")
    (found,) = passes(b.capture())
    assert [(turn.text, turn.verdict, turn.nat) for turn in found.turns[1]] == [
        ("-A PREROUTING -j KUBE-SERVICES", "jump KUBE-SERVICES", True),
        ("-A KUBE-SERVICES -j DNAT", "accept", True),
    ]


def test_a_rule_that_was_not_read_back_is_known_by_its_handle(scene: Scene):
    b = scene.host("B", eth0="lan")
    rule = b.rule("filter", "INPUT", "-A INPUT -j ACCEPT")
    b.gets("eth0", QUESTION).through("prerouting", "prerouting.nat").matches(rule).sees("input")
    b.rules.clear()
    (found,) = passes(b.capture())
    assert [turn.text for turn in found.turns[2]] == ["handle 2"]


def test_a_rule_of_an_inet_table_is_found_for_a_packet_of_either_family(scene: Scene):
    b = scene.host("B", eth0="lan")
    rule = b.rule("guard", "in", "tcp dport 22 accept", family="inet")
    b.gets("eth0", SYN).through("prerouting", "prerouting.nat").matches(rule).sees("input")
    b.gets("eth0", tcp("[fd00::1]:4", "[fd00::2]:22")).through("prerouting").matches(rule).sees("input")
    assert [turn.rule.key for each in passes(b.capture()) for turns in each.turns for turn in turns] == [rule.key] * 2


def test_conntrack_is_read_from_the_trace_where_it_carries_it(scene: Scene):
    b = scene.host("B", eth0="lan")
    walk = b.gets("eth0", SYN, ct=new(7)).sees("prerouting").sees("prerouting.nat", new(7, *DNATED))
    walk.sees("input", Ct("untracked"))
    (found,) = passes(b.capture())
    assert [(seen.ct.state, seen.ct.id, seen.ct.direction, seen.ct.manips) for seen in found.sightings] == [
        ("new", 7, "original", ()),
        ("new", 7, "original", ("dst",)),
        ("untracked", None, None, None),
    ]


def test_on_old_kernels_the_tap_rule_that_matched_tells_the_state():
    scene = Scene(old=True)
    b = scene.host("B", eth0="lan")
    b.gets("eth0", SYN, ct=new(7)).sees("prerouting").sees("prerouting.nat", new(7, *DNATED))
    b.gets("eth0", SYN, ct=established(7, *DNATED)).sees("prerouting")
    told = [(seen.ct.ctinfo, seen.ct.id, seen.ct.manips) for each in passes(b.capture()) for seen in each.sightings]
    assert told == [("NEW", None, ()), ("NEW", None, ("dst",)), ("ESTABLISHED", None, ("dst",))]


def test_a_host_that_tracks_nothing_has_no_state_on_any_kernel():
    for old in (False, True):
        scene = Scene(old)
        b = scene.host("B", eth0="lan")
        b.gets("eth0", SYN).delivered()
        assert [seen.ct for each in passes(b.capture()) for seen in each.sightings] == [None] * 4


def test_a_packet_dropped_before_the_first_stage_keeps_the_rule_that_dropped_it(scene: Scene):
    b = scene.host("B", eth0="lan")
    deny = b.rule("raw", "PREROUTING", "-A PREROUTING -j DROP")
    b.gets("eth0", QUESTION).matches(deny, "drop")
    (found,) = passes(b.capture())
    assert (found.stage, found.dropped_by.text) == ("", "-A PREROUTING -j DROP")


def test_other_messages_on_the_trace_socket_are_left_out(scene: Scene):
    b = scene.host("B", eth0="lan")
    b.gets("eth0", QUESTION).delivered()
    b.trace.insert(3, message(10, 3, 2, b"\0" * 40))
    b.trace.insert(5, b"torn")
    assert [each.stage for each in passes(b.capture())] == ["input.nat"]


def test_several_messages_in_one_datagram_are_all_read(scene: Scene):
    b = scene.host("B", eth0="lan")
    b.gets("eth0", QUESTION).delivered()
    b.trace[:] = [b"".join(b.trace)]
    assert [len(each.sightings) for each in passes(b.capture())] == [4]


NETWORK = "4500003c66ec40004006527cc0a80001c0a80002"
TRANSPORT = "d53875301be3a81500000000a002faf023860000"


def test_a_message_of_linux_6_18_is_read_as_a_scene_writes_it(lab: NodePort):
    """The nat rule's event and the stage after it, as they came from a live kernel, the link header left out."""
    real = (
        "0800" + "0f00" + "00000002" + "0800" + "0400" + "00000003" + "0800" + "0600" + "0f21e8cc"
        "0f00" + "0200" + b"prerouting\0".hex() + "00" + "0b00" + "0100" + b"netemu\0".hex() + "00"
        "0c00" + "0300" + "000000000000000f" + "0c00" + "0580" + "0800010000000001" + "0800" + "0a00" + "00000002"
        "0600" + "0b00" + "00010000" + "1800" + "0800" + NETWORK + "1800" + "0900" + TRANSPORT + "0800" + "1500"
        "00000008" + "0500" + "1300" + "00000000" + "0800" + "1200" + "3ce5a9b6"
    )
    lab.b.trace.append(message(10, 17, 1, bytes.fromhex(real)))
    (found,) = passes(lab.b.capture())
    (seen,) = found.sightings
    assert (str(seen.point), seen.headers.src, seen.headers.sport, seen.headers.flags) == (
        "B@prerouting",
        "192.168.0.1",
        54584,
        "SYN",
    )
    assert (seen.ct.state, seen.ct.id, seen.ct.direction, seen.ct.status) == ("new", 0x3CE5A9B6, "original", 0)
    assert found.iif == 2


def test_an_event_whose_network_header_is_cut_short_is_no_sighting(scene: Scene):
    b = scene.host("B", eth0="lan")
    walk = b.gets("eth0", QUESTION)
    walk.event("netemu", "prerouting", 1, headers=True)
    whole = attribute(8, walk.packet.network)
    b.trace[-1] = b.trace[-1].replace(whole, attribute(8, walk.packet.network[:19]))
    assert [each.sightings for each in passes(b.capture())] == [[]]


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5, 6, 8, 9, 10, 12, 15, 16, 18, 19, 20, 21])
def test_an_event_with_an_attribute_of_a_wrong_size_raises_nothing(number: int):
    """Such a message is torn or of a kernel to come: it may be left out, but it must not end the record."""
    for size in range(10):
        b = Scene().host("B", eth0="lan")
        walk = b.gets("eth0", QUESTION, "eth0", new(7, *DNATED)).sees("postrouting")
        walk.falls_through("filter", "INPUT")
        for place, event in enumerate(b.trace):
            parts = attributes(event[16:], 4)
            body = b"".join(attribute(kind, value if kind != number else bytes(size)) for kind, value in parts.items())
            b.trace[place] = message(10, 17, 1, body)
        assert len(passes(b.capture())) <= 4


@pytest.mark.parametrize("state", [0, 16, 128])
def test_a_conntrack_state_that_has_no_name_raises_nothing(scene: Scene, state: int):
    b = scene.host("B", eth0="lan")
    b.gets("eth0", QUESTION, ct=new(7)).sees("prerouting")
    known, unknown = attribute(21, u32(8)), attribute(21, u32(state))
    b.trace[:] = [event.replace(known, unknown) for event in b.trace]
    assert len(passes(b.capture())) == 1
