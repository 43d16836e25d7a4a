"""The column decoder against the plain one, on whole, random, damaged and hostile frames."""

from __future__ import annotations

import random
import struct
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from record_packets import MACS, echo, icmp_error, tcp, udp
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Raw

from netemu.record.decode import packets
from netemu.record.decode.headers import Split, decode, identity, split_frame
from netemu.record.decode.packets import (
    MALFORMED,
    OTHER,
    TRUNCATED,
    WHOLE,
    Packets,
    concatenate,
    decode_frames,
    decode_splits,
    decoded_in_parts,
)
from netemu.record.decode.rows import digest, found_in, ranges, ranks, same, stable_order, whole_digest, windows

ETHER = Ether(dst="02:00:00:00:00:02", src="02:00:00:00:00:01")
ICMP_NEXT = b"\x3a"
SEEDS = [
    tcp("192.168.0.1:54522", "192.168.0.2:30000", "SYN", seq=5, ip_id=9).frame(),
    tcp("[fd00::1]:54522", "[fd00::2]:80", "SYN ACK", seq=5, ack=6).frame(),
    udp("10.0.0.1:4000", "10.0.0.2:53", b"question").frame(b"\x81\x00\x00\x05"),
    udp("10.0.0.1:4000", "10.0.0.2:53", b"question").frame(b"\x88\xa8\x00\x05\x81\x00\x20\x06"),
    echo("10.0.0.1", "10.0.0.2", 77).frame(),
    icmp_error("10.0.0.9", "10.0.0.1", 3, udp("10.0.0.1:4000", "10.0.0.2:53", b"question")).frame(),
    tcp("1.2.3.4:1", "5.6.7.8:2", options=b"\x01" * 40).frame(),
    *(
        bytes(frame)
        for frame in (
            ETHER / ARP(psrc="10.0.0.1", pdst="10.0.0.2"),
            ETHER / IPv6(src="fd00::1", dst="fd00::2") / IPv6ExtHdrHopByHop() / UDP(sport=1, dport=2) / Raw(b"xyz"),
            ETHER / IPv6() / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / TCP(sport=1, dport=2),
            ETHER / IPv6() / IPv6ExtHdrFragment(offset=3, m=1) / UDP(sport=1, dport=2) / Raw(b"xyz"),
            ETHER / IP(flags="MF", frag=0) / UDP(sport=1, dport=2) / Raw(b"x" * 24),
            ETHER / IP(frag=3) / Raw(b"x" * 24),
            ETHER / IP(proto=132) / Raw(b"x" * 24),
            ETHER / IP() / ICMP(type=13, ts_ori=1, ts_rx=2, ts_tx=3) / Raw(b"x" * 24),
            ETHER / Dot1Q(vlan=7) / IP() / UDP(dport=4789) / VXLAN(vni=9) / ETHER / IP() / TCP(),
            ETHER / IPv6() / IPv6ExtHdrFragment(m=1, id=7) / UDP(sport=1, dport=2) / Raw(b"xyz"),
            ETHER / IPv6() / IPv6ExtHdrHopByHop() / IPv6ExtHdrFragment(offset=9) / IPv6ExtHdrDestOpt() / Raw(b"xyz"),
            ETHER / IP() / TCP(sport=1, dport=2, dataofs=15),
        )
    ),
]


def columns(frames: list[bytes]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One flat buffer, and where each frame starts and ends in it."""
    ends = np.cumsum([len(frame) for frame in frames], dtype=np.int64)
    starts = ends - np.array([len(frame) for frame in frames], dtype=np.int64)
    return np.frombuffer(b"".join(frames), np.uint8), starts, ends


def decoded(frames: list[bytes]) -> Packets:
    return decode_frames(*columns(frames))


@pytest.mark.parametrize("at_once", [2, packets.AT_ONCE])
def test_without_keys_all_else_is_the_same(at_once: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(packets, "AT_ONCE", at_once)
    dice = random.Random(1)
    some = columns([*SEEDS, *(mutated(dice) for _ in range(20))])
    whole, bare = decode_frames(*some), concatenate(list(decoded_in_parts(*some, keys=False)))
    assert whole.key.any()
    assert not bare.key.any()
    for each in fields(Packets):
        if each.name != "key":
            assert getattr(bare, each.name).tolist() == getattr(whole, each.name).tolist(), each.name


def mutated(dice: random.Random, seeds: list[bytes] = SEEDS) -> bytes:
    """One of the seeds with some bytes changed, cut, or repeated; or nothing but dice."""
    if dice.random() < 0.1:
        return dice.randbytes(dice.randrange(100))
    frame = bytearray(dice.choice(seeds))
    for _ in range(dice.randrange(4)):
        place = min(int(dice.expovariate(1 / 20)), len(frame) - 1) if frame else 0
        what = dice.randrange(4)
        if what == 0 and frame:
            frame[place] = dice.choice([0, 1, 6, 17, 44, 0x40, 0x45, 0x60, 0xFF, dice.randrange(256)])
        elif what == 1:
            del frame[dice.randrange(len(frame) + 1) :]
        elif what == 2:
            frame[12:12] = b"\x81\x00" + dice.randbytes(2)
        elif frame:
            frame[place:place] = dice.randbytes(dice.randrange(9))
    return bytes(frame)


FRAMES = st.lists(
    st.one_of(
        st.binary(max_size=120),
        st.integers(0, 2**40).map(lambda seed: mutated(random.Random(seed))),
        st.sampled_from(SEEDS),
    ),
    max_size=12,
)


def compare(frames: list[bytes]) -> None:
    """Hold every column that both decoders know against the plain one."""
    found = decoded(frames)
    keys = {}
    for row, frame in enumerate(frames):
        packet = split_frame(frame)
        plain = decode(packet) if packet is not None else None
        assert found.headers(row) == plain
        if packet is None or plain is None:
            assert found.mark[row] != WHOLE
            continue
        assert found.behind[row] == (-1 if packet.protocol is None else packet.protocol)
        assert packet.network[0] >> 4 == 4 or found.ip_id[row] == packet.ident
        known = (identity(packet), len(packet.network), min(len(packet.transport), 20))
        assert keys.setdefault(int(found.key[row]), known) == known
    assert len(set(keys.values())) == len(keys)


@settings(max_examples=300, deadline=None)
@given(FRAMES)
def test_the_column_decoder_reads_every_frame_as_the_plain_one_does(frames: list[bytes]):
    compare(frames)


def test_thousands_of_mutated_frames_at_once_are_read_as_one_by_one():
    dice = random.Random(4)
    compare([mutated(dice) for _ in range(4000)])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.binary(max_size=64), st.binary(max_size=40)), max_size=8), st.integers(0, 2**40))
def test_headers_that_lie_apart_are_read_as_the_plain_decoder_does(pairs, seed: int):
    dice = random.Random(seed)
    for frame in (mutated(dice), dice.choice(SEEDS)):
        packet = split_frame(frame)
        pairs += [(packet.network[:40], packet.transport[: dice.randrange(21)])] if packet else []
    data, starts, ends = columns([part for pair in pairs for part in pair])
    lengths = ends - starts
    found = decode_splits(data, starts[::2], lengths[::2], starts[1::2], lengths[1::2])
    assert [found.headers(row) for row in range(len(pairs))] == [decode(Split(*pair)) for pair in pairs]


def test_a_frame_and_the_trace_know_the_same_packet_by_the_same_key():
    packets = [split_frame(frame) for frame in SEEDS]
    frames = [frame for frame, packet in zip(SEEDS, packets, strict=True) if packet is not None]
    splits = [part for packet in packets if packet for part in (packet.network[:40], packet.transport[:20])]
    data, starts, ends = columns(splits)
    hooks = decode_splits(data, starts[::2], (ends - starts)[::2], starts[1::2], (ends - starts)[1::2])
    assert hooks.key.tolist() == decoded(frames).key.tolist()


def test_nothing_at_all_is_decoded_to_nothing():
    assert len(decoded([])) == 0
    assert len(concatenate([])) == 0
    assert decoded([b""]).mark.tolist() == [TRUNCATED]


@pytest.mark.parametrize(
    ("frame", "mark"),
    [
        (SEEDS[0], WHOLE),
        (bytes(ETHER / ARP()), OTHER),
        (SEEDS[0][:50], TRUNCATED),
        (SEEDS[0][:30], TRUNCATED),
        (SEEDS[0][:13], TRUNCATED),
        (SEEDS[2][:16], TRUNCATED),
        (MACS + b"\x08\x00" + b"\x60" + bytes(60), MALFORMED),
        (MACS + b"\x08\x00" + b"\x44" + bytes(60), MALFORMED),
        (MACS + b"\x08\x00" + b"\x45\x00\x00\x13" + bytes(60), MALFORMED),
        (SEEDS[12], WHOLE),
    ],
    ids=[
        "whole", "arp", "no ports", "no header", "no link", "tag alone", "version", "header length", "total", "fragment"
    ],
)  # fmt: skip
def test_a_frame_that_is_not_whole_is_marked(frame: bytes, mark: int):
    assert decoded([frame]).mark.tolist() == [mark]


def test_vlan_tags_and_fragments_have_columns_of_their_own():
    found = decoded([SEEDS[0], SEEDS[2], SEEDS[3], SEEDS[11], SEEDS[12]])
    assert found.vlan.tolist() == [-1, 5, 5, -1, -1]
    assert [value >> 13 for value in found.fragment.tolist()] == [2, 2, 2, 1, 0]
    assert (found.fragment & 0x1FFF).tolist() == [0, 0, 0, 0, 3]
    assert found.ethertype.tolist() == [0x0800] * 5


def test_an_ipv6_fragment_tells_where_it_is_and_a_later_one_has_no_ports():
    packet = udp("[fd00::1]:4000", "[fd00::2]:53", b"?" * 8)
    later = b"\x11\0" + struct.pack("!HI", 185 << 3 | 1, 0x01020304)
    last = b"\x3c\0" + struct.pack("!HI", 370 << 3, 0x01020304)  # what looks like another extension header is payload
    frames = [
        packet.but(extensions=(44, b"\x11\0\0\x01\x01\x02\x03\x04")).frame(),
        packet.but(extensions=(44, later)).frame(),
        packet.but(extensions=(0, b"\x2c" + bytes(7) + last)).frame(),
        packet.but(extensions=(44, b"\x11" + bytes(7))).frame(),  # an atomic fragment: a whole packet (RFC 6946)
    ]
    compare(frames)
    found = decoded(frames)
    assert [found.headers(row).fragment for row in range(4)] == [(0, True), (1480, True), (2960, False), None]
    assert found.ip_id.tolist() == [0x01020304] * 3 + [0]
    assert found.dport.tolist() == [53, -1, -1, 53]
    assert found.proto.tolist() == [17, 17, 60, 17]
    assert found.mark.tolist() == [WHOLE] * 4


def test_rows_are_selected_and_put_together_again():
    found = decoded(SEEDS)
    halves = [found.select(np.arange(5)), found.select(np.arange(5, len(SEEDS)))]
    together = concatenate(halves)
    assert [together.headers(row) for row in range(len(SEEDS))] == [found.headers(row) for row in range(len(SEEDS))]


@example([b"as long as"] * 2, 16)
@example([b"as long as"] * 2, 15)
@given(st.lists(st.binary(max_size=40), min_size=1, max_size=20), st.integers(1, 48))
def test_windows_hold_each_rows_bytes_and_zeros_behind_them(parts: list[bytes], width: int):
    data, starts, ends = columns(parts)
    found = windows(data, starts, ends - starts, width)
    assert [bytes(row) for row in found] == [part[:width].ljust(width, b"\0") for part in parts]


@given(st.lists(st.binary(max_size=20), max_size=30))
def test_equal_rows_and_only_those_have_equal_digests(parts: list[bytes]):
    data, starts, ends = columns(parts)
    digests = whole_digest(data, starts, ends - starts).tolist()
    assert len(set(digests)) == len(set(parts))
    assert all(len({d for d, part in zip(digests, parts, strict=True) if part == one}) == 1 for one in parts)


@example([b"all alike" * 3, b"all alike" * 2 + b"some more"])
@example([b"\1" + bytes(7), b"\2" + bytes(15), bytes(8), b""])
@given(st.lists(st.one_of(st.binary(max_size=20), st.binary(min_size=12, max_size=12)), min_size=1, max_size=20))
def test_a_row_has_one_digest_in_any_company(parts: list[bytes]):
    data, starts, ends = columns(parts)
    alone = [whole_digest(data, starts[row : row + 1], (ends - starts)[row : row + 1])[0] for row in range(len(parts))]
    assert whole_digest(data, starts, ends - starts).tolist() == alone


def test_a_digest_tells_the_order_of_its_bytes():
    assert len(set(digest(np.array([[1, 0] * 8, [0, 1] * 8, [0] * 16, [1] * 16], np.uint8)).tolist())) == 4


@given(st.lists(st.integers(0, 2), min_size=1, max_size=5))
def test_values_are_the_same_where_all_of_them_are(values: list[int]):
    assert same(np.array(values)) == (len(set(values)) == 1)


@given(st.lists(st.integers(0, 4), max_size=30))
def test_ranks_and_ranges_count_as_one_would_by_hand(codes: list[int]):
    column = np.array(codes, np.int64)
    assert ranks(column).tolist() == [codes[:place].count(code) for place, code in enumerate(codes)]
    assert ranges(column * 10, column).tolist() == [code * 10 + k for code in codes for k in range(code)]


@given(st.lists(st.integers(0, 9)), st.lists(st.integers(0, 9)))
def test_codes_are_found_among_those_known(codes: list[int], known: list[int]):
    found = found_in(np.array(codes, np.uint64), np.array(known, np.uint64))
    assert found.tolist() == [code in known for code in codes]


@given(st.lists(st.sampled_from([0, 1, 5, 2**63, 2**63 + 1, 2**63 + 2, 2**64 - 1]), max_size=40))
def test_a_stable_order_is_one_whatever_the_codes(codes: list[int]):
    found = stable_order(np.array(codes, np.uint64))
    assert found.tolist() == sorted(range(len(codes)), key=codes.__getitem__)


def test_a_packet_is_read_the_same_in_any_company():
    """Regular packets are read at fixed places (regular.py) if no others are among them, or beside them."""
    syn, question = tcp("10.0.0.1:1", "10.0.0.2:2", ip_id=9), udp("10.0.0.1:1", "10.0.0.2:2", b"question" * 3)
    regular = [syn.frame(), question.frame(), syn.but(ttl=3, seq=7, flags="ACK").frame()]
    odd = [b"", syn.frame()[:40], tcp("[fd00::1]:4000", "[fd00::2]:80").frame(), syn.but(options=b"\1" * 4).frame()]
    together = decoded([*odd, *regular])
    for place, frame in enumerate([*odd, *regular]):
        alone = decoded([frame])
        for column in fields(Packets):
            mine, theirs = getattr(alone, column.name), getattr(together, column.name)
            assert mine[0] == theirs[place], column.name
            assert mine.dtype == theirs.dtype, column.name


def test_what_is_the_same_in_all_packets_is_kept_once():
    found = decoded([udp("10.0.0.1:1", "10.0.0.2:2", b"question").but(ip_id=number).frame() for number in range(1000)])
    assert found.select(np.array([3, 5])).ip_id.tolist() == [3, 5]
    once = [each.name for each in fields(Packets) if getattr(found, each.name).strides == (0,)]
    assert {"version", "src_high", "src_low", "vlan", "seq", "mark"} <= set(once)
    assert found.select(np.array([3, 5])).src_low.strides == (0,)
    assert len(found.select(np.array([], np.int64)).version) == 0
