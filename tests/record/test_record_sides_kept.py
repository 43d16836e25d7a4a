"""What a packet keeps through NAT is the same number on both sides, and another number for another packet."""

from __future__ import annotations

import struct

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoRequest,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrFragment,
)

from netemu.record.sides.captured import read_captured
from netemu.record.sides.kept import Kept, decode_kept, shortest_cut


def kept(*given: object, most: int | None = None, snap: int = 65535) -> Kept:
    head = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 65535, 101)
    whole = [bytes(each) for each in given]
    body = b"".join(struct.pack("<IIII", 5, 9, len(each[:snap]), len(each)) + each[:snap] for each in whole)
    found = read_captured(head + body)
    return decode_kept(found.data, found.start, found.end, most)[1]


IN = {"src": "192.168.1.2", "dst": "198.51.100.7", "ttl": 64}
OUT = {"src": "203.0.113.9", "dst": "198.51.100.7", "ttl": 63}
BACK_IN = {"src": "198.51.100.7", "dst": "192.168.1.2", "ttl": 50}
BACK_OUT = {"src": "198.51.100.7", "dst": "203.0.113.9", "ttl": 51}
QUOTE_IN = IP(**IN, id=4) / UDP(sport=5000, dport=53) / b"question"
QUOTE_OUT = IP(**OUT, id=4) / UDP(sport=61000, dport=53) / b"question"


@pytest.mark.parametrize(
    ("inside", "outside"),
    [
        (
            IP(**IN, id=7) / TCP(sport=5000, seq=9, flags="A") / (b"x" * 50),
            IP(**OUT, id=7) / TCP(sport=61000, seq=9, flags="A") / (b"x" * 50),
        ),
        (
            IP(**IN, id=7) / TCP(sport=5000, seq=9, flags="S", options=[("MSS", 1460)]),
            IP(**OUT, id=7) / TCP(sport=61000, seq=9, flags="S", options=[("MSS", 1400), ("NOP", None)]),
        ),
        (IP(**IN, id=7) / UDP(sport=5000) / b"hello", IP(**OUT, id=7) / UDP(sport=61000) / b"hello"),
        (IP(**IN) / ICMP(id=3, seq=4) / b"ping", IP(**OUT) / ICMP(id=999, seq=4) / b"ping"),
        (IP(**IN, id=8, frag=100) / b"fragment", IP(**OUT, id=8, frag=100) / b"fragment"),
        (IP(**BACK_IN) / ICMP(type=3, code=3) / QUOTE_IN, IP(**BACK_OUT) / ICMP(type=3, code=3) / QUOTE_OUT),
        (
            IPv6(src="fd00::2", dst="2001:db8::1", hlim=64) / ICMPv6EchoRequest(id=1, seq=5, data=b"six"),
            IPv6(src="2001:db8:9::2", dst="2001:db8::1", hlim=63) / ICMPv6EchoRequest(id=77, seq=5, data=b"six"),
        ),
    ],
)
def test_a_packet_has_the_same_key_on_both_sides_of_a_nat(inside, outside) -> None:
    found = kept(inside, outside)
    assert found.key[0] == found.key[1]
    assert found.src_id[0] != found.src_id[1] or found.dst_id[0] != found.dst_id[1]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (IP(**IN) / TCP(seq=9), IP(**IN) / TCP(seq=10)),
        (IP(**IN) / TCP(ack=9), IP(**IN) / TCP(ack=10)),
        (IP(**IN) / TCP(window=9), IP(**IN) / TCP(window=10)),
        (IP(**IN) / TCP(flags="A"), IP(**IN) / TCP(flags="FA")),
        (IP(**IN) / TCP(flags="A") / (b"x" * 99 + b"y"), IP(**IN) / TCP(flags="A") / (b"x" * 100)),
        (IP(**IN, id=1) / UDP() / b"a", IP(**IN, id=2) / UDP() / b"a"),
        (IP(**IN) / UDP() / b"a", IP(**IN) / UDP() / b"a\0"),
        (IP(**IN) / ICMP(seq=1), IP(**IN) / ICMP(seq=2)),
        (IP(**IN) / ICMP(type=8), IP(**IN) / ICMP(type=0)),
        (IP(**IN) / ICMP(type=3, code=3) / QUOTE_IN, IP(**IN) / ICMP(type=3, code=1) / QUOTE_IN),
        (
            IP(**IN) / ICMP(type=3) / (IP(**IN, id=5) / UDP() / b"question"),
            IP(**IN) / ICMP(type=3) / (IP(**IN, id=6) / UDP() / b"question"),
        ),
    ],
)
def test_another_packet_has_another_key(one, other) -> None:
    found = kept(one, other)
    assert found.key[0] != found.key[1]


@pytest.mark.parametrize(
    ("error", "about"),
    [
        (IP(src="10.9.9.9", dst="192.168.1.2") / ICMP(type=11) / QUOTE_IN, QUOTE_IN),
        (
            IPv6(src="fd00::9", dst="fd00::2")
            / ICMPv6DestUnreach()
            / (IPv6(src="fd00::2", dst="fd00::7") / UDP(sport=5, dport=6) / b"q"),
            IPv6(src="fd00::2", dst="fd00::7") / UDP(sport=5, dport=6) / b"q",
        ),
    ],
)
def test_an_icmp_error_has_the_ends_of_the_packet_it_quotes_the_other_way_round(error, about) -> None:
    found = kept(error, about)
    assert (found.src[0], found.dst[0]) == (found.dst[1], found.src[1])
    assert (found.src_id[0], found.dst_id[0]) == (found.dst_id[1], found.src_id[1])


BIG = IP(src="10.0.0.2", dst="10.0.0.7", id=9, frag=185, proto=17) / (b"\0\7\0\7" * 8)
BIG6 = IPv6(src="fd00::2", dst="fd00::7", nh=44) / IPv6ExtHdrFragment(nh=17, offset=181, id=7) / (b"\0\7\0\7" * 8)


@pytest.mark.parametrize(
    ("error", "about"),
    [
        (IP(src="10.9.9.9", dst="10.0.0.2") / ICMP(type=11) / BIG, BIG),
        (IPv6(src="fd00::9", dst="fd00::2") / ICMPv6TimeExceeded() / BIG6, BIG6),
    ],
)
def test_an_icmp_error_that_quotes_a_later_fragment_is_of_its_datagram_and_reads_no_ports(error, about) -> None:
    found = kept(error, about)
    assert found.part[0] == found.part[1] != 0
    assert found.quotes.tolist() == [True, False]
    assert (found.src[0], found.dst[0]) == (found.dst[1], found.src[1])


def test_captures_of_different_snap_lengths_agree_on_what_both_have() -> None:
    packet = IP(**IN, id=7) / UDP(sport=5000) / bytes(range(200))
    head = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 65535, 101)
    cut = bytes(packet)[:96]
    found = read_captured(head + struct.pack("<IIII", 5, 9, len(cut), len(packet)) + cut)
    most = shortest_cut(found.data, found.start, found.end)
    assert most == 76
    assert kept(packet, most=most).key[0] == kept(packet, most=most, snap=96).key[0]
    assert kept(packet).key[0] != kept(packet, snap=96).key[0]


def test_nothing_is_taken_for_cut_where_all_is_there() -> None:
    head = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 65535, 101)
    whole = bytes(QUOTE_IN)
    found = read_captured(head + struct.pack("<IIII", 5, 9, len(whole), len(whole)) + whole)
    assert shortest_cut(found.data, found.start, found.end) is None
