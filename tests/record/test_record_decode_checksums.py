"""Checksums: right, wrong, unfinished, and what can't be told; columns as the plain reference has them."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from record_checksums_plain import VOUCHED, checksums, total
from record_packets import echo, parts, tcp, udp
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6, IPv6ExtHdrHopByHop, IPv6ExtHdrRouting
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Raw
from test_record_decode_packets import SEEDS, columns, mutated

from netemu.record.capture import UNFINISHED
from netemu.record.decode.checksums import WORDS, frame_checksums, header_checksums

ETHER = Ether(dst="02:00:00:00:00:02", src="02:00:00:00:00:01")
FOUR, SIX = IP(src="10.0.0.1", dst="10.0.0.2"), IPv6(src="fd00::1", dst="fd00::2")
WHOLE = [
    bytes(frame)
    for frame in (
        ETHER / FOUR / TCP(dport=80) / Raw(b"odd"),
        ETHER / SIX / TCP(dport=80) / Raw(b"even"),
        ETHER / FOUR / UDP(dport=53) / Raw(b"question"),
        ETHER / SIX / UDP(dport=53) / Raw(b"question"),
        ETHER / FOUR / ICMP() / Raw(b"ping"),
        ETHER / SIX / ICMPv6EchoRequest(data=b"ping"),
        ETHER / Dot1Q(vlan=7) / FOUR / UDP(dport=53) / Raw(b"question"),
        ETHER / SIX / IPv6ExtHdrHopByHop() / UDP(dport=53) / Raw(b"x"),
        ETHER / IP(src="10.0.0.1", dst="10.0.0.2", options=[b"\x01\x01\x01\x00"]) / TCP(dport=80),
    )
]


def told(*frames: bytes, status: int = 0) -> list[tuple[str | None, str | None]]:
    found = frame_checksums(*columns(list(frames)), np.full(len(frames), status, np.uint8))
    return [(WORDS[ip], WORDS[carried]) for ip, carried in zip(*(each.tolist() for each in found), strict=True)]


def changed(frame: bytes, place: int, by: int = 1) -> bytes:
    """The same with another byte at a place, counted from the end where that is below 0."""
    found = bytearray(frame)
    found[place] ^= by
    return bytes(found)


@pytest.mark.parametrize("frame", WHOLE)
def test_what_scapy_computed_is_right_and_wrong_when_a_byte_changed(frame: bytes):
    four = b"\x08\x00" in (frame[12:14], frame[16:18])
    ip = "right" if four else None
    assert told(frame) == [(ip, "right")]
    routed = frame == WHOLE[-2] or (four and frame == WHOLE[-1])
    assert told(changed(frame, -1)) == [(ip, "unknown" if routed else "wrong")]


def test_an_ip_header_that_was_damaged_is_told_apart_from_what_it_carries():
    assert told(changed(WHOLE[2], 14 + 8)) == [("wrong", "right")]


def test_padding_and_what_stands_behind_the_packet_count_nothing():
    assert told(udp("10.0.0.1:1", "10.0.0.2:2", b"?").frame()[:60] + b"\7" * 9) == [("right", "right")]


def test_udp_without_a_checksum_has_none():
    frame = bytes(ETHER / FOUR / UDP(dport=53, chksum=0) / Raw(b"question"))
    assert told(frame) == [("right", "absent")]


@pytest.mark.parametrize(("frame", "at"), [(WHOLE[0], 50), (WHOLE[1], 70), (WHOLE[2], 40), (WHOLE[3], 60)])
def test_what_is_left_to_the_device_is_unfinished_and_never_wrong(frame: bytes, at: int):
    """The field then holds the pseudo-header's sum (skb_checksum_start, CHECKSUM_PARTIAL)."""
    four = frame[12:14] == b"\x08\x00"
    network = frame[14 : 34 if four else 54]
    proto = network[9] if four else network[6]
    size = len(frame) - 14 - len(network)
    pseudo = network[12:20] if four else network[8:40]
    left = total(pseudo + size.to_bytes(4, "big") + bytes([0, 0, 0, proto]))
    partial = frame[:at] + left.to_bytes(2, "big") + frame[at + 2 :]
    assert told(partial)[0][1] == "unfinished"
    assert told(changed(frame, -1), status=UNFINISHED)[0][1] == "unfinished"
    assert told(frame, status=UNFINISHED)[0][1] == "right"
    assert told(changed(frame, -1), status=VOUCHED)[0][1] == "unknown"


def test_of_what_was_cut_or_is_a_fragment_nothing_is_told():
    whole = udp("10.0.0.1:1", "10.0.0.2:2", b"x" * 80, ip_id=5)
    assert told(whole.frame()[:64]) == [("right", "unknown")]
    assert told(*(part.frame() for part in parts(whole, 40))) == [("right", "unknown")] * 2
    assert told(whole.frame()[:30]) == [("unknown", None)]


def test_behind_a_routing_header_the_pseudo_header_is_another_ones():
    frame = bytes(ETHER / SIX / IPv6ExtHdrRouting(addresses=["fd00::9"], segleft=1) / UDP(dport=53) / Raw(b"x"))
    assert told(changed(frame, -1)) == [(None, "unknown")]


def test_what_has_no_checksum_that_is_looked_at_has_none():
    assert told(bytes(ETHER / ARP()), bytes(ETHER / IP(proto=132) / Raw(b"x" * 24)), b"") == [
        (None, None),
        ("right", None),
        (None, None),
    ]


def test_at_a_hook_the_ip_header_alone_is_judged():
    heads = [tcp("10.0.0.1:1", "10.0.0.2:2").network, changed(echo("10.0.0.1", "10.0.0.2", 7).network, 8)]
    heads += [tcp("[fd00::1]:1", "[fd00::2]:2").network, tcp("1.2.3.4:1", "5.6.7.8:2", options=b"\1" * 40).network[:40]]
    data, starts, ends = columns(heads)
    found = header_checksums(data, starts, ends - starts)
    assert [WORDS[each] for each in found] == ["right", "wrong", None, "unknown"]


def compare_checksums(frames: list[bytes], status: list[int]) -> None:
    """Hold the columns against the plain reference."""
    found = frame_checksums(*columns(frames), np.array(status, np.uint8))
    for frame, said, ip, carried in zip(frames, status, found.ip.tolist(), found.carried.tolist(), strict=True):
        plain = checksums(frame, said)
        mine = WORDS[ip], WORDS[carried]
        if plain == (None, None) and mine[0] == "unknown":
            continue  # not even the header is whole
        assert mine == plain, frame.hex()


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 2**32))
def test_columns_and_the_plain_reference_agree_on_damaged_frames(seed: int):
    dice = random.Random(seed)
    frames = [mutated(dice, [*SEEDS, *WHOLE]) for _ in range(200)]
    compare_checksums(frames, [dice.choice((0, 0, UNFINISHED, VOUCHED)) for _ in frames])
