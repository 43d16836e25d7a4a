"""Journeys told piece by piece are those of the whole record, each once, and nothing of them is kept."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from record_nodeport import NodePort
from record_packets import Packet, icmp_error, tcp, udp
from record_scene import Scene, story
from record_scenes import any_captures, any_scene

from netemu.record.capture import HostCapture
from netemu.record.frames import Datagrams
from netemu.record.live.journeys import Completed, Live
from netemu.record.record import build_record

MS = 1_000_000


def cut(dice: random.Random, length: int, pieces: int) -> list[slice]:
    places = sorted([0, length, *(dice.randrange(length + 1) for _ in range(pieces - 1))])
    return [slice(first, last) for first, last in pairwise(places)]


def in_pieces(dice: random.Random, captures: list[HostCapture], pieces: int) -> list[list[HostCapture]]:
    """Each tap's bytes cut at places of its own."""
    hosts = []
    for each in captures:
        cuts = [cut(dice, len(part), pieces) for part in (each.frames, each.trace, each.conntrack)]
        hosts.append(
            [
                replace(
                    each,
                    frames=each.frames.select(frames),
                    trace=each.trace.select(trace),
                    conntrack=each.conntrack.select(conntrack),
                    entries=[],
                )
                for frames, trace, conntrack in zip(*cuts, strict=True)
            ]
        )
    return [list(each) for each in zip(*hosts, strict=True)]


def told(journey) -> tuple:
    changes = [(str(each.at), each.field, each.before, each.after, each.by) for each in journey.rewrites]
    return story(journey), journey.sightings, changes, journey.rules, journey.end, journey.complete


def live_of(live: Live, pieces: list[list[HostCapture]], step: int = 0) -> list[Completed]:
    found = []
    for number, piece in enumerate(pieces):
        found += live.feed(piece, number * step)
    return found + live.finish(len(pieces) * step)


@settings(max_examples=20, deadline=None)
@example(10_999_060, 5)  # a piece in which a pass is all that came, and it saw nothing
@given(st.integers(0, 2**32), st.integers(1, 9))
def test_random_pieces_give_the_journeys_of_the_whole(seed: int, pieces: int):
    dice = random.Random(seed)
    captures, segment_of = any_captures(dice)
    captures = [replace(each, rules_before=each.rules_after) if each.rules_after.legacy else each for each in captures]
    whole = build_record(captures, segment_of)
    found = live_of(Live(segment_of, 10**12, 10**12), in_pieces(dice, captures, pieces))
    assert [told(each.journey) for each in found] == [told(each) for each in whole.journeys]
    assert [each.journey.id for each in found] == list(range(1, len(found) + 1))


def lab_with(packets: int) -> NodePort:
    lab = NodePort(Scene())
    for number in range(packets):
        lab.handshake(100 + number, f"192.168.0.1:{4000 + number}")
    return lab


def as_it_went(dice: random.Random, connections: int, lag: int) -> tuple[Scene, list[list[HostCapture]]]:
    """Handshakes one after the other, and what each tap had handed over at each: up to `lag` steps late."""
    lab = NodePort(Scene())
    lengths = []
    for number in range(connections):
        lab.handshake(100 + number, f"192.168.0.1:{4000 + number % 3}")
        lengths.append([(len(each.frames), len(each.trace), len(each.conntrack)) for each in lab.scene.captures()])
    lengths += [lengths[-1]] * lag
    captures = lab.scene.captures()
    reached = [[0, 0, 0] for _ in captures]
    pieces = []
    for step in range(len(lengths)):
        piece = []
        for host, each in enumerate(captures):
            parts = []
            for tap, part in enumerate((each.frames, each.trace, each.conntrack)):
                late = max(step - (dice.randrange(lag + 1) if tap < 2 else 0), 0)
                known = max(lengths[late][host][tap], reached[host][tap])
                known = lengths[step][host][tap] if step >= connections else known
                parts.append(part.select(slice(reached[host][tap], known)))
                reached[host][tap] = known
            frames, trace, conntrack = parts
            piece.append(replace(each, frames=frames, trace=trace, conntrack=conntrack, entries=[]))
        pieces.append(piece)
    return lab.scene, pieces


def numbered(journeys) -> list[str]:
    flows: dict[int, object] = {}
    for each in journeys:
        flows.setdefault(each.flow, each.first.headers.tuple)
    return sorted(str((flows[each.flow], each.direction, each.nth, story(each))) for each in journeys)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 12), st.integers(0, 3))
def test_journeys_come_out_early_with_the_flows_and_numbers_of_the_whole(seed: int, connections: int, lag: int):
    scene, pieces = as_it_went(random.Random(seed), connections, lag)
    whole = scene.record()
    live = Live(scene.segment_of, 10**12, (lag + 1) * 1000)
    early = [each for number, piece in enumerate(pieces) for each in live.feed(piece, number * 1000)]
    found = early + live.finish(len(pieces) * 1000)
    assert numbered([each.journey for each in found]) == numbered(whole.journeys)
    assert len(early) >= 3 * (connections - lag - 1)
    assert live.pending == 0


def test_a_journey_comes_out_once_its_end_was_seen_and_taps_had_time(lab: NodePort):
    lab.handshake()
    captures = lab.scene.captures()
    live = Live(lab.scene.segment_of, settle_ns=1000 * MS, linger_ns=50 * MS)
    assert live.feed(captures, 0) == []
    assert live.feed([], 49 * MS) == []
    found = live.feed([], 50 * MS)
    assert [(each.journey.direction, each.journey.nth) for each in found] == [
        ("original", 1),
        ("reply", 1),
        ("original", 2),
    ]
    assert {each.journey.flow for each in found} == {1}
    assert all(each.frames for each in found)
    assert live.pending == 0
    assert live.feed([], 5000 * MS) == live.finish(6000 * MS) == []


def test_a_packet_that_is_not_seen_any_further_comes_out_when_it_had_time_to(scene: Scene):
    a, b = scene.host("A", eth0="lan"), scene.host("B", eth0="lan")
    a.sends(udp("192.168.0.1:4000", "192.168.0.2:53", b"lost"), "eth0")
    b.gets("eth0", udp("192.168.0.9:4000", "192.168.0.2:53", b"other")).delivered()
    live = Live(scene.segment_of, settle_ns=1000 * MS, linger_ns=50 * MS)
    live.feed(scene.captures(), 0)
    (first,) = live.feed([], 100 * MS)
    assert first.journey.end.kind == "delivered", "an earlier packet of another flow keeps nobody waiting"
    assert live.feed([], 999 * MS) == []
    (late,) = live.feed([], 1000 * MS)
    assert late.journey.end.kind == "unseen"
    assert live.pending == 0


def test_a_later_packet_of_the_same_flow_waits_for_the_earlier_one(scene: Scene):
    a, b = scene.host("A", eth0="lan"), scene.host("B", eth0="lan")
    a.sends(tcp("192.168.0.1:4000", "192.168.0.2:80", seq=1), "eth0")
    again = tcp("192.168.0.1:4000", "192.168.0.2:80", seq=2)
    a.sends(again, "eth0")
    b.gets("eth0", again).delivered()
    live = Live(scene.segment_of, settle_ns=1000 * MS, linger_ns=50 * MS)
    live.feed(scene.captures(), 0)
    assert live.feed([], 100 * MS) == []
    assert [(each.journey.nth, each.journey.end.kind) for each in live.feed([], 1000 * MS)] == [
        (1, "unseen"),
        (2, "delivered"),
    ]


def test_flows_go_on_over_journeys_that_were_told_long_ago(lab: NodePort):
    lab.handshake()
    captures = lab.scene.captures()
    live = Live(lab.scene.segment_of, linger_ns=0)
    first = live.feed(captures, 0)
    later = [
        each.journey for each in live.feed([replace(c, conntrack=Datagrams.of(), entries=[]) for c in captures], 10**12)
    ]
    assert [(each.flow, each.direction, each.nth) for each in later] == [
        (1, "original", 3),
        (1, "reply", 2),
        (1, "original", 4),
    ]
    assert len(first) == 3


@pytest.mark.parametrize("seed", range(4))
def test_what_is_kept_is_bounded_whatever_comes(seed: int):
    dice = random.Random(seed)
    live = Live({}, settle_ns=1000, linger_ns=0)
    for now in range(0, 50_000, 500):
        live.feed(any_scene(dice).captures(), now)
    live.feed([], 10**6)
    live.feed([], 2 * 10**6)
    assert live.pending == 0


def test_flows_that_were_long_without_a_packet_are_forgotten():
    lab = lab_with(8)
    live = Live(lab.scene.segment_of, linger_ns=0)
    live.flows.most_flows = live.flows.most_entries = 2
    live.feed(lab.scene.captures(), 0)
    assert len(live.flows._flows) <= 2
    assert len({flow for flow, _ in live.flows._tuples.values()}) <= 2
    assert len(live.flows._entries) <= 2
    assert len(live.flows._by_tuple) <= 4


def test_a_journey_without_a_wire_gives_the_headers_that_its_hook_saw(scene: Scene):
    a = scene.host("A", eth0="lan")
    drop = a.rule("filter", "OUTPUT", "-A OUTPUT -j DROP")
    a.makes(udp("10.0.0.1:4000", "10.0.0.2:53"), "eth0").sees("output").matches(drop, "drop")
    (only,) = Live(scene.segment_of, linger_ns=0).feed(scene.captures(), 0)
    assert only.frames == ()
    assert only.headers[:1] == b"\x45"
    assert np.frombuffer(only.headers[20:24], ">u2").tolist() == [4000, 53]


ASKED = udp("192.168.0.1:4000", "192.168.0.9:53", b"?")


def routed(scene: Scene) -> tuple:
    return scene.host("A", eth0="lan"), scene.host("B", eth0="lan")


def asks(scene: Scene, packet: Packet = ASKED) -> list[HostCapture]:
    """A's packet comes to B, which takes it no further; what the taps had of it."""
    a, b = scene.hosts
    a.sends(packet, "eth0")
    b.gets("eth0", packet).through("prerouting", "prerouting.nat")
    return taken(scene)


def refuses(scene: Scene, packet: Packet = ASKED) -> list[HostCapture]:
    a, b = scene.hosts
    error = icmp_error("192.168.0.2", "192.168.0.1", 0, packet)
    b.sends(error, "eth0")
    a.gets("eth0", error).delivered()
    return taken(scene)


def taken(scene: Scene) -> list[HostCapture]:
    """What the taps had since the last time."""
    found = scene.captures()
    for host in scene.hosts:
        host.frames.clear()
        host.trace.clear()
    return found


def test_an_error_and_the_packet_that_it_quotes_wait_for_each_other(scene: Scene):
    routed(scene)
    live = Live(scene.segment_of, settle_ns=1000 * MS, linger_ns=50 * MS)
    assert live.feed(asks(scene), 0) == []
    assert live.feed(refuses(scene), 500 * MS) == []
    assert live.feed([], 600 * MS) == [], "the error's end was seen, but its packet may still be under way"
    asked, error = (each.journey for each in live.feed([], 1000 * MS))
    assert (error.quotes, error.flow, error.direction, error.nth) == (asked.id, asked.flow, "reply", 0)
    assert (asked.end.why, asked.errors[0].journey) == ("no-route", error.id)


def test_an_error_that_comes_after_its_packet_was_told_names_it_and_its_flow(scene: Scene):
    routed(scene)
    live = Live(scene.segment_of, settle_ns=1000 * MS, linger_ns=50 * MS)
    live.feed(asks(scene), 0)
    (asked,) = live.feed([], 1000 * MS)
    live.feed(refuses(scene), 5000 * MS)
    (told,) = live.feed([], 6000 * MS)
    error = told.journey
    assert (error.quotes, error.flow, error.direction, error.nth) == (asked.journey.id, 1, "reply", 0)
    assert (error.error.kind, error.error.host, error.error.among) == ("net-unreachable", "B", 1)
    assert str(error.about) == str(ASKED.tuple)


def test_of_packets_that_fit_the_last_one_before_the_error_is_named_and_how_many_there_are(scene: Scene):
    routed(scene)
    live = Live(scene.segment_of, settle_ns=1000 * MS, linger_ns=50 * MS)
    asked = []
    for number in range(3):
        live.feed(asks(scene), number * 10_000 * MS)
        asked += live.feed([], number * 10_000 * MS + 1000 * MS)
    live.feed(refuses(scene), 50_000 * MS)
    (told,) = live.feed([], 60_000 * MS)
    assert (told.journey.quotes, told.journey.error.among) == (asked[-1].journey.id, 3)


def test_an_error_about_a_packet_that_is_not_known_says_what_it_quotes(scene: Scene):
    routed(scene)
    live = Live(scene.segment_of, settle_ns=1000 * MS, linger_ns=50 * MS)
    live.packets.most = 2
    live.feed(asks(scene), 0)
    live.feed([], 1000 * MS)
    live.feed(asks(scene, ASKED.but(dst="192.168.0.8:53", payload=b"other")), 2000 * MS)
    live.feed(asks(scene, ASKED.but(dst="192.168.0.7:53", payload=b"more")), 3000 * MS)
    live.feed([], 9000 * MS)
    assert len(live.packets) == 2
    live.feed(refuses(scene), 10_000 * MS)
    (told,) = live.feed([], 20_000 * MS)
    error = told.journey
    assert (error.quotes, error.error.among, str(error.about)) == (None, 0, str(ASKED.tuple))
    assert (error.flow, error.nth) == (4, 1)
