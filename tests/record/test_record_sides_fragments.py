"""Fragments in captures of several sides are of their datagram's flow, on each side and across NAT."""

from __future__ import annotations

import struct
from itertools import pairwise
from random import Random
from time import process_time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, UDP, fragment
from scapy.layers.inet6 import ICMPv6TimeExceeded, IPv6, IPv6ExtHdrFragment, fragment6

from netemu.record.sides.captured import read_captured
from netemu.record.sides.fragments import _Part, _Waiting
from netemu.record.sides.joined import JoinedSides, join_sides
from netemu.record.sides.missing import Missing, missing
from netemu.record.sides.side import read_sides

MILLISECOND = 1_000_000
SECOND = 1000 * MILLISECOND


def joined(*files: list[tuple[int, object]]) -> JoinedSides:
    """Sides of which each is packets and their times in ns, as raw IP."""
    named = []
    for place, packets in enumerate(files):
        head = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 65535, 101)
        rows = [(*divmod(time, SECOND), bytes(packet)) for time, packet in packets]
        body = b"".join(struct.pack("<IIII", second, rest, len(d), len(d)) + d for second, rest, d in rows)
        named.append((f"side{place}", read_captured(head + body)))
    return join_sides(read_sides(named))


def spaced(*packets: object, begin: int = 0) -> list[tuple[int, object]]:
    return [(begin + place * MILLISECOND, packet) for place, packet in enumerate(packets)]


def datagram(src: str, sport: int, ident: int, size: int = 3000) -> list[IP]:
    payload = bytes(n * ident % 251 for n in range(size))
    return fragment(IP(src=src, dst="198.51.100.7", id=ident) / UDP(sport=sport, dport=53) / payload, 1480)


def datagram6(src: str, sport: int, ident: int, fill: bytes) -> list[IPv6]:
    whole = IPv6(src=src, dst="fd02::7") / IPv6ExtHdrFragment(id=ident) / UDP(sport=sport, dport=53) / (fill * 3000)
    whole[UDP].chksum = 9
    return fragment6(whole, 1280)


def test_fragments_are_of_their_datagrams_flow_on_both_sides_of_a_nat() -> None:
    inside = [part for n in (1, 2) for part in datagram(f"192.168.1.{n}", 5000, n)]
    outside = [part for n in (1, 2) for part in datagram("203.0.113.9", 60000 + n, n)]
    found = joined(spaced(*inside), spaced(*outside))
    assert len(found.flows) == len(found.joined) == 2
    assert [found.tuple_at(flow, 1).source for flow in range(2)] == ["203.0.113.9:60001", "203.0.113.9:60002"]
    assert found.rows.tolist() == [[n, n] for n in range(6)]
    assert found.nth.tolist() == [1, 2, 3, 1, 2, 3]
    assert not found.by_order.any()


def test_a_fragment_that_came_before_the_first_is_of_its_datagrams_flow() -> None:
    first, *others = datagram("192.168.1.2", 5000, 7)
    found = joined(spaced(*others, first), spaced(*datagram("203.0.113.9", 60000, 7)))
    assert len(found.flows) == 1
    assert found.tuple_at(0, 0).source == "192.168.1.2:5000"


def test_an_ipv6_datagram_gets_another_id_by_a_router_that_tracks_and_is_joined_all_the_same() -> None:
    inside = [*datagram6("fd01::2", 5000, 11, b"a"), *datagram6("fd01::2", 5000, 12, b"b")]
    outside = [*datagram6("fd09::1", 60000, 98, b"a"), *datagram6("fd09::1", 60000, 97, b"b")]
    found = joined(spaced(*inside), spaced(*outside))
    assert len(found.flows) == 1
    assert found.rows.tolist() == [[n, n] for n in range(6)]


def test_clients_whose_ids_meet_behind_a_nat_are_told_by_what_was_whole_before_the_next_came() -> None:
    inside = spaced(*datagram("192.168.1.1", 5000, 7, 2000), *datagram("192.168.1.2", 5000, 7, 2500))
    outside = spaced(*datagram("203.0.113.9", 60001, 7, 2000), *datagram("203.0.113.9", 60002, 7, 2500))
    found = joined(inside, outside)
    assert len(found.flows) == 2
    assert found.rows.tolist() == [[n, n] for n in range(4)]


def test_fragments_of_two_clients_that_come_mixed_under_one_id_are_nobodys() -> None:
    (one, one_more), (other, other_more) = (datagram("203.0.113.9", 60000 + n, 7, 2000) for n in (1, 2))
    found = joined(spaced(one, other, one_more, other_more), spaced())
    flows = [found.tuple_at(flow, 0) for flow in range(len(found.flows))]
    assert sorted((flow.sport or 0) for flow in flows) == [0, 60001, 60002]


def test_ids_that_meet_a_minute_later_are_another_datagrams() -> None:
    one, other = (datagram("203.0.113.9", 60000 + n, 7, 2000) for n in (1, 2))
    found = joined([*spaced(one[0]), *spaced(*other, begin=61 * SECOND)], spaced())
    flows = [found.tuple_at(flow, 0).sport for flow in range(len(found.flows))]
    assert flows == [60001, 60002]


def sports(found: JoinedSides) -> list[int | None]:
    """Each packet's flow, by its client's port."""
    return [found.tuple_at(flow, 0).sport for flow in found.flow.tolist()]


def test_a_datagram_that_never_was_whole_leaves_others_open_no_longer_than_a_host_waits() -> None:
    """One client's last fragment is lost; another one's datagrams come twice a minute, under the same id."""
    one, other = (datagram("203.0.113.9", 60000 + n, 7, 2000) for n in (1, 2))
    later = [seen for begin in (1, 31, 61) for seen in spaced(*other, begin=begin * SECOND)]
    found = joined([*spaced(one[0]), *later], spaced())
    by_row = [found.tuple_at(int(flow), 0).sport for flow in found.flow[np.argsort(found.rows[:, 0])]]
    assert by_row == [60001, 60002, None, 60002, None, 60002, 60002]


@pytest.mark.parametrize(("last", "told"), [(60 * SECOND, True), (60 * SECOND + 1, False)])
def test_a_host_waits_for_a_datagrams_fragments_from_the_first_that_came_on(last: int, told: bool) -> None:
    """Not from the one before: it came half a minute later. Another client's has the id before them, and was whole."""
    other, one = (datagram("203.0.113.9", 60000 + n, 7) for n in (1, 2))
    begin = 100 * SECOND
    times = [begin, begin + 30 * SECOND, begin + last]
    found = sports(joined([*spaced(*other), *zip(times, one, strict=True)], spaced()))
    assert found.count(60002) == (3 if told else 1)


@pytest.mark.parametrize("seed", range(20))
def test_what_waits_is_whole_where_its_parts_end_to_end_are_one_datagram(seed: int) -> None:
    """Held against the parts sorted; some run out on the way."""
    random = Random(seed)
    waiting, plain = _Waiting(), list[_Part]()
    for place in range(400):
        start, time = random.choice((0, 0, 8, 16, 24)), place * 10 * SECOND
        part = _Part(place, time, start, start + random.choice((0, 8, 8, 16)), random.random() < 0.6, 1)
        waiting.run_out(time)
        waiting.add(part)
        while plain and time - plain[0].time_ns > 60 * SECOND:
            plain = plain[next((at for at, each in enumerate(plain) if at and not each.start), len(plain)) :]
        plain.append(part)
        assert list(waiting.parts) == plain
        laid = sorted(plain, key=lambda each: each.start)
        tiled = all(one.end == other.start and one.more for one, other in pairwise(laid))
        whole = tiled and not laid[0].start and not laid[-1].more and all(each.start < each.end for each in laid)
        assert waiting.whole == whole
        if whole:
            waiting, plain = _Waiting(), []


def test_many_fragments_that_never_are_whole_hold_nobody_up() -> None:
    """30,000 under one id within a minute: were all looked at again for each, this would take half a minute."""
    parts = [bytes(part) for n in (1, 2) for part in datagram("203.0.113.9", 60000 + n, 7)[:2]]
    begin = process_time()
    found = joined(spaced(*parts * 7500), spaced())
    assert process_time() - begin < 10
    assert len(found.flows) == 3


@pytest.mark.parametrize(
    ("parts", "error"),
    [
        (datagram("192.168.1.2", 5000, 7), IP(src="10.9.9.9", dst="192.168.1.2") / ICMP(type=11)),
        (datagram6("fd01::2", 5000, 7, b"a"), IPv6(src="fd09::9", dst="fd01::2") / ICMPv6TimeExceeded()),
    ],
    ids=["IPv4", "IPv6"],
)
@pytest.mark.parametrize("which", [0, 1], ids=["the first", "a later one"])
def test_an_icmp_error_that_quotes_a_fragment_is_of_its_datagrams_flow(parts, error, which) -> None:
    quoted = bytes(parts[which])[:80]
    found = joined(spaced(*parts, error / quoted), spaced())
    assert len(found.flows) == 1
    assert found.reply.tolist() == [False] * 3 + [True]
    assert found.tuple_at(0, 0).sport == 5000


def asked(src: str, sport: int) -> list[tuple[int, object]]:
    """Datagrams by which a flow is known and clocks can be compared, before and behind what is sent between."""
    server = {"src": "198.51.100.7", "dst": src}
    there = [IP(src=src, dst="198.51.100.7", id=40 + n) / UDP(sport=sport, dport=53) / b"question" for n in range(2)]
    back = [IP(**server, id=50 + n) / UDP(sport=53, dport=sport) / b"an answer" for n in range(2)]
    return [*spaced(there[0], back[0]), *spaced(there[1], back[1], begin=SECOND)]


def test_what_a_router_cut_up_is_not_lost() -> None:
    payload = bytes(1400)
    inside, outside = (
        IP(src=src, dst="198.51.100.7", id=9, ttl=ttl) / UDP(sport=sport, dport=53) / payload
        for src, sport, ttl in (("192.168.1.2", 5000, 64), ("203.0.113.9", 60000, 63))
    )
    one, other = asked("192.168.1.2", 5000), asked("203.0.113.9", 60000)
    found = joined(
        sorted([*one, *spaced(inside, begin=SECOND // 2)], key=lambda seen: seen[0]),
        sorted([*other, *spaced(*fragment(outside, 576), begin=SECOND // 2)], key=lambda seen: seen[0]),
    )
    states = missing(found)
    assert len(found.flows) == 1
    assert states[(found.rows < 0).any(axis=1)].max(axis=1).tolist() == [Missing.CUT_OTHERWISE] * 4


def test_of_a_datagram_cut_up_alike_a_fragment_that_is_not_there_is_lost() -> None:
    one, other = asked("192.168.1.2", 5000), asked("203.0.113.9", 60000)
    inside, outside = datagram("192.168.1.2", 5000, 7), datagram("203.0.113.9", 60000, 7)
    found = joined(
        sorted([*one, *spaced(*inside, begin=SECOND // 2)], key=lambda seen: seen[0]),
        sorted([*other, *spaced(*outside, begin=SECOND // 2)[::2]], key=lambda seen: seen[0]),
    )
    assert missing(found).max(axis=1).tolist() == [0, 0, 0, Missing.LOST, 0, 0, 0]


def mixed(random: Random, queues: list[list[tuple[int, IP]]]) -> list[tuple[int, IP]]:
    """Datagrams' fragments, each datagram's in order, mixed among each other."""
    left, found = [list(queue) for queue in queues], []
    while any(left):
        found.append(random.choice([queue for queue in left if queue]).pop(0))
    return found


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 2**32))
def test_no_fragment_is_ever_of_another_datagrams_flow_or_joined_to_another_fragment(seed: int) -> None:
    """Clients behind one address, whose ids meet; each datagram's fragments come in order."""
    random, inside, outside = Random(seed), [], []
    number = 0
    for client in range(random.randint(2, 5)):
        ident, size = random.randint(1, 2), random.choice((2000, 2000, 4000))
        ends = (f"192.168.1.{client}", 5000), ("203.0.113.9", client)
        pairs = zip(*(datagram(src, port, ident, size) for src, port in ends), strict=True)
        numbered = [(number + place, *pair) for place, pair in enumerate(pairs)]
        number += len(numbered)
        inside.append([(place, one) for place, one, _ in numbered])
        outside.append([(place, other) for place, _, other in numbered])
    truth = [mixed(random, side) for side in (inside, outside)]
    found = joined(*(spaced(*(packet for _, packet in side)) for side in truth))
    for rows, by_order in zip(found.rows.tolist(), found.by_order.tolist(), strict=True):
        both = {truth[side][row][0] for side, row in enumerate(rows) if row >= 0}
        assert len(both) == 1 or by_order
    ports = {place: client for client, queue in enumerate(outside) for place, _ in queue}
    for row, flow in enumerate(found.sides[1].flow.tolist()):
        port = found.sides[1].packets.sport[found.sides[1].first[flow]]
        assert port in (-1, ports[truth[1][row][0]])
