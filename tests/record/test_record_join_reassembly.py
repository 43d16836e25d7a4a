"""Fragments put together again: what a queue makes of parts, and which packets share an id."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from record_packets import Packet, parts, udp
from record_scene import Scene

from netemu.record.join.reassembly import queue
from netemu.record.record import build_record

LONG = udp("192.168.0.1:4000", "192.168.0.2:53", bytes(200), ip_id=7)
LONG6 = udp("[fd00::1]:4000", "[fd00::2]:53", bytes(200), ip_id=7)


@pytest.mark.parametrize(
    ("came", "runs", "completed"),
    [
        ([(0, 8, True), (8, 16, False)], [0, 0], 1),
        ([(8, 16, False), (0, 8, True)], [0, 0], 1),  # in any order
        ([(0, 8, True), (16, 24, False)], [-1, -1], None),  # one is missing
        ([(0, 8, True), (0, 8, True), (8, 16, False)], [0, 0, 0], 2),  # twice: thrown away
        ([(0, 16, True), (8, 24, True), (24, 32, False), (16, 24, True)], [-1, -1, -1, -1], None),  # RFC 5722
        ([(0, 8, True), (8, 16, False), (0, 8, True), (8, 16, False)], [0, 0, 1, 1], 1),  # the id again
        ([(0, 8, True), (8, 16, False), (8, 16, False)], [0, 0, -1], 1),  # one comes again, too late
        ([(8, 24, False), (8, 16, False), (0, 8, True)], [-1, -1, -1], None),  # two ends
        ([(0, 8, True), (8, 8, True), (8, 16, False)], [-1, -1, -1], None),  # nothing in it
    ],
)
def test_parts_are_put_together_as_the_kernel_does_it(came, runs, completed):
    found, lasts = queue(came)
    assert found == runs
    assert (lasts.index(True) if True in lasts else None) == completed


@pytest.mark.parametrize(
    ("times", "runs"),
    [
        ([0, 30, 60], [0, 0, 0]),
        ([0, 30, 61], [-1, -1, -1]),  # from the first on, not from the one before
        ([0, 61, 62], [-1, -1, -1]),
    ],
)
def test_parts_are_waited_for_from_the_first_on(times: list[int], runs: list[int]):
    assert queue([(0, 8, True), (8, 16, True), (16, 24, False)], times, 60)[0] == runs


def test_what_comes_when_none_is_waited_for_any_more_begins_another_packet():
    came = [(0, 8, True), (0, 8, True), (8, 16, False)]
    assert queue(came, [0, 61, 62], 60) == ([-1, 0, 0], [False, False, True])


@given(st.permutations(range(6)))
def test_the_order_in_which_parts_come_does_not_matter(order: list[int]):
    came = [(place * 8, place * 8 + 8, place < 5) for place in order]
    assert queue(came) == ([0] * 6, [False] * 5 + [True])


@pytest.fixture
def pair(scene: Scene) -> Scene:
    scene.host("A", eth0="lan")
    scene.host("B", eth0="lan")
    return scene


def sends(scene: Scene, packet: Packet, *cuts: int, lost: tuple[int, ...] = ()) -> list[Packet]:
    """A sends a packet as fragments; those that come in at B."""
    a = scene.hosts[0]
    whole = packet.but(ip_id=0) if ":" in packet.src[1:6] else packet
    a.makes(whole, "eth0").through("output", "output.nat", "postrouting", "postrouting.nat")
    pieces = parts(packet, *cuts)
    for place, piece in enumerate(pieces):
        if place not in lost:
            a.wire("eth0", "out", piece)
    return [piece for place, piece in enumerate(pieces) if place not in lost]


SECOND = 1_000_000_000


def comes(scene: Scene, pieces: list[Packet], after_s: dict[int, float] | None = None) -> None:
    """They come in at B, which puts an IPv4 packet together when the last of them has come."""
    b = scene.hosts[1]
    for place, piece in enumerate(pieces):
        scene.now += int((after_s or {}).get(place, 0) * SECOND)
        walk = b.gets("eth0", piece).through("prerouting", "prerouting.nat")
        if ":" in piece.src[1:6]:
            walk.through("input", "input.nat")
        elif place == len(pieces) - 1:
            walk.sees("input", part=None).through("input.nat")


def told(scene: Scene) -> list[tuple]:
    return [
        (each.end.kind, str(each.end.at), each.complete, each.alike, each.certain) for each in scene.record().journeys
    ]


WHOLE = ("delivered", "B@input.nat", True)


@pytest.mark.parametrize("packet", [LONG, LONG6], ids=["IPv4", "IPv6"])
def test_a_packet_in_fragments_is_one_journey(pair: Scene, packet: Packet):
    comes(pair, sends(pair, packet, 80, 160))
    assert told(pair) == [(*WHOLE, 1, True)]
    (journey,) = pair.record().journeys
    assert journey.ends == (journey.end,)
    fragments = [seen.headers.fragment for seen in journey.sightings if str(seen.point) == "B:eth0 in"]
    assert fragments == [(0, True), (80, True), (160, False)]


@pytest.mark.parametrize("packet", [LONG, LONG6], ids=["IPv4", "IPv6"])
def test_fragments_that_come_in_another_order_are_one_journey(pair: Scene, packet: Packet):
    comes(pair, sends(pair, packet, 80, 160)[::-1])
    assert told(pair) == [(*WHOLE, 1, True)]


def test_an_ipv6_packet_of_which_a_fragment_is_missing_is_delivered_nowhere(pair: Scene):
    comes(pair, sends(pair, LONG6, 80, 160, lost=(1,)))
    assert told(pair) == [("unseen", "B@input.nat", False, 1, True)]


@pytest.mark.parametrize(("after_s", "kind"), [({1: 30, 2: 29.9}, "delivered"), ({1: 30, 2: 30.1}, "unseen")])
def test_an_ipv6_packet_is_delivered_where_all_of_it_came_within_a_minute(pair: Scene, after_s, kind):
    comes(pair, sends(pair, LONG6, 80, 160), after_s)
    assert [each.end.kind for each in pair.record().journeys] == [kind]


@pytest.mark.parametrize(("limit", "kind"), [(1, "unseen"), (3, "delivered")])
def test_how_long_fragments_are_waited_for_is_as_the_topology_sets_it(pair: Scene, limit: int, kind: str):
    comes(pair, sends(pair, LONG6, 80), {1: 2})
    raw = pair.record().raw
    told = {"hosts": {"B": {"sysctls": {"net.ipv6.ip6frag_time": str(limit)}}}}
    assert [each.end.kind for each in build_record(raw.captures, raw.segment_of, topology=told).journeys] == [kind]


@pytest.mark.parametrize(("after", "kind"), [(29, "reassembled"), (40, "unseen")])
def test_a_part_that_is_waited_for_no_more_is_not_of_the_next_packet_with_its_id(pair: Scene, after: int, kind: str):
    """The trace tells that the last one's pass went on with a whole packet: of those, not of the one long before."""
    (first,) = sends(pair, LONG.but(payload=b"a" * 200), 80, 160, lost=(1, 2))
    pair.hosts[1].gets("eth0", first).through("prerouting", "prerouting.nat")
    pair.now += after * SECOND
    comes(pair, sends(pair, LONG.but(payload=b"b" * 200), 80, 160))
    ends = [journey.end.kind for journey in pair.record().journeys]
    assert ends == [kind, "delivered"]


def test_ipv6_fragments_that_lie_over_each_other_are_delivered_nowhere(pair: Scene):
    a, b = pair.hosts
    for piece in (LONG6.but(part=(0, 80)), LONG6.but(part=(72, 208)), LONG6.but(part=(80, 208))):
        a.wire("eth0", "out", piece)
        b.gets("eth0", piece).delivered()
    assert {(kind, at) for kind, at, *_ in told(pair)} == {("unseen", "B@input.nat")}


@pytest.mark.parametrize("packet", [LONG, LONG6], ids=["IPv4", "IPv6"])
def test_packets_with_one_id_are_told_by_their_order(pair: Scene, packet: Packet):
    for letter in (b"a", b"b"):
        comes(pair, sends(pair, packet.but(payload=letter * 200), 80, 160))
    assert told(pair) == [(*WHOLE, 2, True)] * 2


def test_of_packets_with_one_id_of_which_one_never_left_none_is_certain(pair: Scene):
    a, _ = pair.hosts
    a.makes(LONG, "eth0").through("output", "output.nat", "postrouting", "postrouting.nat")
    comes(pair, sends(pair, LONG.but(payload=b"b" * 200), 80, 160))
    assert [(alike, certain) for *_, alike, certain in told(pair)] == [(2, False)] * 2


def test_of_equal_ipv6_packets_of_which_one_never_left_none_is_certain(pair: Scene):
    a, _ = pair.hosts
    a.makes(LONG6.but(ip_id=0), "eth0").through("output", "output.nat", "postrouting", "postrouting.nat")
    comes(pair, sends(pair, LONG6, 80, 160))
    assert [(alike, certain) for *_, alike, certain in told(pair)] == [(2, False)] * 2


@pytest.mark.parametrize("packet", [LONG, LONG6], ids=["IPv4", "IPv6"])
def test_where_a_fragment_may_have_gone_into_another_packet_with_its_id_neither_is_certain(pair: Scene, packet: Packet):
    """Of the first packet all but the middle was lost, of the second one the middle: what B made of them is neither."""
    one = sends(pair, packet.but(payload=b"a" * 200), 80, 160)
    other = sends(pair, packet.but(payload=b"b" * 200), 80, 160)
    comes(pair, [one[1], other[0], other[2]])
    assert [(alike, certain) for *_, alike, certain in told(pair)] == [(2, False)] * 2


@pytest.mark.parametrize("packet", [LONG, LONG6], ids=["IPv4", "IPv6"])
def test_a_fragment_that_the_network_brought_twice_duplicates_its_packet(pair: Scene, packet: Packet):
    pieces = sends(pair, packet, 80, 160)
    comes(pair, [*pieces[:2], pieces[1], pieces[2]])
    first, again = pair.record().journeys
    assert (first.end.kind, first.complete, first.ends) == ("delivered", True, (first.end,))
    assert (again.duplicates, again.end.kind) == (first.id, "reassembled")
