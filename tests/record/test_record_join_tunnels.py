"""Packets in VXLAN tunnels and the datagrams that carry them name each other, and guess nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from record_packets import Packet, udp
from record_scene import Host, Scene

from netemu.record.frames import Datagrams, Frames
from netemu.record.join.forest import lay_out
from netemu.record.join.passes import read_passes
from netemu.record.join.ties import tie
from netemu.record.join.tunnels import read_tunnels
from netemu.record.live.journeys import Live
from netemu.record.record import Record, build_record

INNER = udp("10.42.0.1:4000", "10.42.0.2:53", b"?")
OTHER = INNER.but(payload=b"!")


def carrying(packet: Packet | bytes, number: int = 42, port: int = 4789, to: str = "10.0.0.2", **more) -> Packet:
    """The datagram in which a frame goes through a tunnel (RFC 7348, 5)."""
    frame = packet if isinstance(packet, bytes) else packet.frame()
    head = b"\x08\0\0\0" + number.to_bytes(3, "big") + b"\0"
    return udp("10.0.0.1:50000", f"{to}:{port}", head + frame, **more)


@pytest.fixture
def pair(scene: Scene) -> Scene:
    for name in "BC":
        scene.host(name, eth0="lan", vx="vxlan 42")
    return scene


def enters(host: Host, packet: Packet) -> None:
    host.sends(packet, "vx")


def sent(scene: Scene, outer: Packet) -> None:
    """The datagram leaves B, and C's kernel takes it."""
    b, c, *_ = scene.hosts
    b.sends(outer, "eth0")
    c.gets("eth0", outer).delivered()


def through(scene: Scene, packet: Packet, **more) -> None:
    enters(scene.hosts[0], packet)
    sent(scene, carrying(packet, **more))
    scene.hosts[1].gets("vx", packet).delivered()


def told(scene: Scene) -> list[tuple]:
    return told_of(scene.record())


def told_of(record: Record) -> list[tuple]:
    """Of each journey that has to do with a tunnel: its id, hops and what it carries."""
    return [
        (each.id, [(str(each.sightings[hop.place].point), hop.carrier, hop.among) for hop in each.tunnels])
        if each.tunnels
        else (each.id, each.carries, each.carries_among)
        for each in record.journeys
        if each.tunnels or each.carries_among
    ]


def test_a_packet_and_the_datagram_that_carries_it_name_each_other(pair: Scene):
    through(pair, INNER)
    inner, outer = pair.record().journeys
    assert (inner.carried_by, inner.carries) == ((outer.id,), None)
    assert (outer.carried_by, outer.carries) == ((), inner.id)
    assert str(inner.sightings[inner.tunnels[0].place].point) == "B:vx out"


def test_packets_that_differ_are_told_by_their_bytes_in_whichever_order_they_left(pair: Scene):
    b = pair.hosts[0]
    for packet in (INNER, OTHER):
        enters(b, packet)
    for packet in (OTHER, INNER):
        sent(pair, carrying(packet))
    assert told(pair) == [(1, [("B:vx out", 4, 1)]), (2, [("B:vx out", 3, 1)]), (3, 2, 1), (4, 1, 1)]


def test_alike_packets_are_told_by_their_order_and_say_so(pair: Scene):
    for _ in range(2):
        through(pair, INNER)
    assert told(pair) == [(1, [("B:vx out", 2, 2)]), (2, 1, 2), (3, [("B:vx out", 4, 2)]), (4, 3, 2)]


def test_where_a_datagram_of_two_that_are_alike_is_missing_neither_is_told(pair: Scene):
    enters(pair.hosts[0], INNER)
    through(pair, INNER)
    assert told(pair) == [(1, [("B:vx out", None, 2)]), (2, [("B:vx out", None, 2)]), (3, None, 2)]


def test_where_a_frame_of_two_that_are_alike_is_missing_neither_is_told(pair: Scene):
    through(pair, INNER)
    sent(pair, carrying(INNER, ip_id=2))
    assert told(pair) == [(1, [("B:vx out", None, 2)]), (2, None, 2), (3, None, 2)]


def test_a_frame_to_several_ends_is_carried_by_a_datagram_to_each(pair: Scene):
    enters(pair.hosts[0], INNER)
    for to in ("10.0.0.2", "10.0.0.3"):
        sent(pair, carrying(INNER, to=to))
    assert told(pair) == [(1, [("B:vx out", 2, 1), ("B:vx out", 3, 1)]), (2, 1, 1), (3, 1, 1)]


def test_a_packet_whose_datagram_was_not_seen_says_so(pair: Scene):
    enters(pair.hosts[0], INNER)
    assert told(pair) == [(1, [("B:vx out", None, 0)])]


def test_a_datagram_before_the_frame_does_not_carry_it(pair: Scene):
    sent(pair, carrying(INNER))
    enters(pair.hosts[0], INNER)
    assert told(pair) == [(2, [("B:vx out", None, 0)])]


def test_a_datagram_of_another_tunnel_carries_nothing_of_this_one(pair: Scene):
    through(pair, INNER, number=43)
    assert told(pair) == [(1, [("B:vx out", None, 0)])]


def test_a_tunnel_of_the_topology_is_known_on_any_port(pair: Scene):
    through(pair, INNER, port=8472)
    assert told(pair) == [(1, [("B:vx out", 2, 1)]), (2, 1, 1)]


def test_a_datagram_that_is_no_tunnels_carries_nothing(pair: Scene):
    enters(pair.hosts[0], INNER)
    pair.hosts[0].sends(udp("10.0.0.1:1", "10.0.0.2:4789", b"\0" * 8 + INNER.frame()), "eth0")
    pair.hosts[0].sends(udp("10.0.0.1:1", "10.0.0.2:4789", b"\x08"), "eth0")
    assert told(pair) == [(1, [("B:vx out", None, 0)])]


def test_what_carries_arp_carries_no_journey(pair: Scene):
    arp = b"\xff" * 6 + b"\2" * 6 + b"\x08\x06" + b"\0" * 28
    pair.hosts[0].wire("vx", "out", arp)
    sent(pair, carrying(arp))
    assert told(pair) == []


def test_each_hop_through_a_tunnel_has_a_carrier_of_its_own(scene: Scene):
    b = scene.host("B", eth0="lan", vx="vxlan 42")
    c = scene.host("C", eth0="lan", eth1="far", vx="vxlan 42", vy="vxlan 7")
    d = scene.host("D", eth0="far", vx="vxlan 7")
    enters(b, INNER)
    sent(scene, carrying(INNER))
    onward = c.gets("vx", INNER, "vy").forwarded().packet
    second = carrying(onward, number=7, to="10.1.0.2")
    c.sends(second, "eth1")
    d.gets("eth0", second).delivered()
    d.gets("vx", onward).delivered()
    first, *_ = journeys = scene.record().journeys
    assert first.carried_by == (2, 3)
    assert [str(first.sightings[hop.place].point) for hop in first.tunnels] == ["B:vx out", "C:vy out"]
    assert [each.carries for each in journeys] == [None, 1, 1]


def test_a_tunnel_in_a_tunnel_is_carried_in_its_turn(scene: Scene):
    for name in "BC":
        scene.host(name, eth0="lan", vx="vxlan 42", vy="vxlan 7")
    b = scene.hosts[0]
    enters(b, INNER)
    middle = carrying(INNER)
    b.sends(middle, "vy")
    sent(scene, carrying(middle, number=7))
    journeys = scene.record().journeys
    assert [(each.carried_by, each.carries) for each in journeys] == [((2,), None), ((3,), 1), ((), 2)]


def test_a_tunnel_that_the_topology_does_not_know_is_told_by_the_usual_port(scene: Scene):
    scene.host("B", eth0="lan", made=None)
    scene.host("C", eth0="lan")
    scene.segment_of = {end: name for end, name in scene.segment_of.items() if name is not None}
    scene.hosts[0].sends(INNER, "made")
    scene.hosts[0].sends(OTHER, "made")
    sent(scene, carrying(INNER))
    assert told(scene) == [(1, [("B:made out", 3, 1)]), (3, 1, 1)]


def test_other_ports_are_an_argument(scene: Scene):
    scene.host("B", eth0="lan", made=None)
    scene.host("C", eth0="lan")
    segment_of = {end: name for end, name in scene.segment_of.items() if name is not None}
    scene.hosts[0].sends(INNER, "made")
    sent(scene, carrying(INNER, port=8472))
    captures = scene.captures()
    ties = tie(captures, [read_passes(each) for each in captures], segment_of)
    laid = lay_out(ties)
    assert len(read_tunnels(laid, ties.sightings, segment_of).carrier) == 0
    assert read_tunnels(laid, ties.sightings, segment_of, ports=(8472,)).carrier.tolist() == [1]


def shortened(scene: Scene, size: int) -> Record:
    captures = []
    for each in scene.captures():
        frames = [replace(frame, data=frame.data[:size], length=len(frame.data)) for frame in each.frames]
        captures.append(replace(each, frames=Frames.of(frames)))
    return build_record(captures, scene.segment_of)


def test_frames_that_were_cut_are_told_as_far_as_they_go(pair: Scene):
    for length in (100, 101):
        through(pair, INNER.but(payload=b"x" * length))
    expected = [(1, [("B:vx out", 2, 1)]), (2, 1, 1), (3, [("B:vx out", 4, 1)]), (4, 3, 1)]
    assert told_of(shortened(pair, 128)) == expected


def test_frames_of_which_next_to_nothing_was_captured_are_not_told(pair: Scene):
    through(pair, INNER.but(payload=b"x" * 100))
    assert told_of(shortened(pair, 64)) == []


def test_a_datagram_that_says_it_is_longer_than_its_frame_carries_nothing_and_spoils_nothing(pair: Scene):
    pair.hosts[0].wire("eth0", "out", carrying(OTHER.but(payload=b"x" * 100)).frame()[:-90])
    through(pair, INNER)
    assert told(pair) == [(2, [("B:vx out", 3, 1)]), (3, 2, 1)]


def test_a_record_without_tunnels_has_none(scene: Scene):
    a = scene.host("A", eth0="lan")
    a.sends(INNER, "eth0")
    tunnels = scene.record().journeys.tunnels
    assert all(len(getattr(tunnels, name)) == 0 for name in ("journey", "carrier", "outer", "carries"))


def test_told_live_both_name_each_other_by_the_ids_that_they_are_told_by(pair: Scene):
    for packet in (INNER, OTHER):
        through(pair, packet)
    live = Live(pair.segment_of)
    found = [each.journey for each in [*live.feed(pair.captures(), 0), *live.finish()]]
    assert [(each.id, each.carried_by, each.carries) for each in found] == [
        (1, (2,), None), (2, (), 1), (3, (4,), None), (4, (), 3)
    ]  # fmt: skip


def test_told_live_what_was_told_before_shifts_no_name(pair: Scene):
    b, c = pair.hosts
    plain = udp("10.0.0.1:1", "10.0.0.2:2")
    b.sends(plain, "eth0")
    c.gets("eth0", plain).delivered()
    live = Live(pair.segment_of)
    assert [each.journey.id for each in [*live.feed(pair.captures(), 0), *live.finish()]] == [1]
    for host in pair.hosts:
        host.frames.clear()
        host.trace.clear()
    through(pair, INNER)
    found = [each.journey for each in [*live.feed(pair.captures(), 0), *live.finish()]]
    assert [(each.id, each.carried_by, each.carries) for each in found] == [(2, (3,), None), (3, (), 2)]


def test_told_live_a_packet_waits_for_the_datagram_that_carries_it(pair: Scene):
    b, c = pair.hosts
    enters(b, INNER)
    c.gets("vx", INNER).delivered()
    b.sends(carrying(INNER), "eth0")  # its end comes later than that of the packet inside
    live = Live(pair.segment_of, settle_ns=1000, linger_ns=10)
    assert live.feed(pair.captures(), 0) == []
    nothing = [replace(each, frames=Frames.of(), trace=Datagrams.of()) for each in pair.captures()]
    assert live.feed(nothing, 500) == []
    found = [each.journey for each in live.feed(nothing, 1000)]
    assert [(each.carried_by, each.carries) for each in found] == [((2,), None), ((), 1)]


def plainly(events: list[tuple[str, int, int]]) -> tuple[dict[int, set[int]], dict[int, int]]:
    """By places in the events: what carries each frame, and what each datagram carries. One frame, one look."""
    carried_by: dict[int, set[int]] = {}
    carries: dict[int, int] = {}
    for payload in range(3):
        frames = [place for place, (kind, which, _) in enumerate(events) if (kind, which) == ("frame", payload)]
        datagrams = [place for place, (kind, which, _) in enumerate(events) if (kind, which) == ("datagram", payload)]
        ends = {events[place][2] for place in datagrams}
        pairs = []
        if len(frames) == len(datagrams):
            pairs = list(zip(frames, datagrams, strict=True))
        elif len(frames) == 1 and len(ends) == len(datagrams):
            pairs = [(frames[0], place) for place in datagrams]
        if all(one < other for one, other in pairs):
            for one, other in pairs:
                carried_by.setdefault(one, set()).add(other)
                carries[other] = one
    return carried_by, carries


@given(
    st.lists(
        st.tuples(st.sampled_from(("frame", "datagram")), st.integers(0, 2), st.integers(2, 4)), min_size=1, max_size=12
    )
)
@settings(deadline=None)
def test_whatever_left_in_whichever_order_is_told_as_one_look_at_each_tells_it(events: list[tuple[str, int, int]]):
    scene = Scene()
    b = scene.host("B", eth0="lan", vx="vxlan 42")
    for number, (kind, which, end) in enumerate(events):
        inner = INNER.but(payload=bytes([which]))
        if kind == "frame":
            b.sends(inner, "vx")
        else:
            b.sends(carrying(inner, to=f"10.0.0.{end}", ip_id=number), "eth0")
    carried_by, carries = plainly(events)
    journeys = scene.record().journeys
    assert [{id - 1 for id in each.carried_by} for each in journeys] == [
        carried_by.get(place, set()) for place in range(len(events))
    ]
    assert [each.carries and each.carries - 1 for each in journeys] == [
        carries.get(place) for place in range(len(events))
    ]
