"""Link headers, ARP and VXLAN's inner frames as columns: against the plain reading of one frame, and by example."""

from __future__ import annotations

import random
from dataclasses import asdict
from ipaddress import ip_address

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from record_link_plain import plain_link, plain_vxlan
from record_packets import udp
from record_scene import Scene
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Raw
from test_record_decode_packets import ETHER, SEEDS, columns, mutated

from netemu.errors import UsageError
from netemu.record.decode.link import LinkColumns, Links, decode_links, decode_vxlan, mac_text
from netemu.record.decode.packets import MALFORMED, OTHER, TRUNCATED, WHOLE, decode_frames
from netemu.record.record import build_record

PORTS = (4789, 8472)
WHO_HAS = ARP(op=1, hwsrc="02:00:00:00:00:01", psrc="10.0.0.1", hwdst="00:00:00:00:00:00", pdst="10.0.0.2")
IS_AT = ARP(op=2, hwsrc="02:00:00:00:00:02", psrc="10.0.0.2", hwdst="02:00:00:00:00:01", pdst="10.0.0.1")
INNER = Ether(dst="02:00:00:00:00:22", src="02:00:00:00:00:11")
OUTER = ETHER / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=50000, dport=4789)
CARRIED = INNER / IP(src="10.42.0.1", dst="10.42.0.2") / TCP(sport=1, dport=2) / Raw(b"hello")
LINK_SEEDS = [
    bytes(frame)
    for frame in (
        ETHER / WHO_HAS,
        ETHER / IS_AT / Raw(bytes(18)),
        ETHER / Dot1Q(vlan=7, prio=5) / WHO_HAS,
        ETHER / Dot1AD(vlan=8) / Dot1Q(vlan=7) / IS_AT,
        ETHER / ARP(hwtype=6, hwlen=6, hwsrc="02:00:00:00:00:01", psrc="10.0.0.1", pdst="10.0.0.2"),
        ETHER / ARP(hwtype=32, hwlen=20, plen=4, hwsrc=bytes(20), psrc="10.0.0.1", hwdst=bytes(20), pdst="10.0.0.2"),
        ETHER / ARP(op=9, hwsrc="02:00:00:00:00:01", psrc="10.0.0.1", pdst="10.0.0.2"),
        OUTER / VXLAN(vni=42) / CARRIED,
        OUTER / VXLAN(vni=0xFFFFFF, flags=8) / INNER / WHO_HAS,
        OUTER
        / VXLAN(vni=1)
        / INNER
        / Dot1Q(vlan=3)
        / IPv6(src="fd00::1", dst="fd00::2")
        / UDP(sport=5, dport=6)
        / Raw(b"x"),
        ETHER / IP() / UDP(dport=8472) / VXLAN(vni=2) / CARRIED,
        ETHER / IPv6(src="fd00::1", dst="fd00::2") / UDP(dport=4789) / VXLAN(vni=3) / CARRIED,
        ETHER
        / IPv6(src="fd00::1", dst="fd00::2")
        / IPv6ExtHdrHopByHop()
        / IPv6ExtHdrFragment(m=1)
        / UDP(dport=4789)
        / VXLAN(vni=4)
        / CARRIED,
        ETHER
        / IPv6(src="fd00::1", dst="fd00::2")
        / IPv6ExtHdrFragment(offset=8)
        / UDP(dport=4789)
        / VXLAN(vni=5)
        / CARRIED,
        ETHER / IP(flags="MF") / UDP(dport=4789, len=3000) / VXLAN(vni=6) / CARRIED,
        ETHER / IP(frag=8) / UDP(dport=4789) / VXLAN(vni=7) / CARRIED,
        ETHER / Raw(b"\x88\xcc" + bytes(40)),
    )
]
FRAMES = st.lists(
    st.one_of(
        st.binary(max_size=120),
        st.integers(0, 2**40).map(lambda seed: mutated(random.Random(seed), LINK_SEEDS)),
        st.sampled_from(LINK_SEEDS + SEEDS),
    ),
    max_size=12,
)


def links(*frames: bytes) -> Links:
    return decode_links(*columns(list(frames)))


def row_of(found: Links, row: int) -> dict[str, int]:
    return {name: int(getattr(found, name)[row]) for name in Links.__dataclass_fields__}


def compare_links(frames: list[bytes]) -> None:
    """Hold every column of the link headers, and all that VXLAN carries, against the plain reading."""
    data, starts, ends = columns(frames)
    found = decode_links(data, starts, ends)
    assert [row_of(found, row) for row in range(len(frames))] == [asdict(plain_link(frame)) for frame in frames]
    carried = [(row, *inner) for row, frame in enumerate(frames) if (inner := plain_vxlan(frame, PORTS)) is not None]
    vxlan = decode_vxlan(data, starts, ends, PORTS)
    places = zip(vxlan.row.tolist(), vxlan.vni.tolist(), vxlan.start.tolist(), vxlan.end.tolist(), strict=True)
    assert [(row, vni, bytes(data[start:end])) for row, vni, start, end in places] == carried
    alone = decode_frames(*columns([inner for *_, inner in carried]))
    for name in type(alone).__dataclass_fields__:
        assert getattr(vxlan.packets, name).tolist() == getattr(alone, name).tolist()


@settings(max_examples=300, deadline=None)
@given(FRAMES)
def test_the_columns_read_every_frame_as_the_plain_reading_does(frames: list[bytes]):
    compare_links(frames)


def test_thousands_of_mutated_frames_at_once_are_read_as_one_by_one():
    dice = random.Random(5)
    compare_links([mutated(dice, LINK_SEEDS) for _ in range(4000)])


def test_more_frames_than_are_read_at_once_keep_their_rows():
    frames = [LINK_SEEDS[7], LINK_SEEDS[0], b""] * 11000
    data, starts, ends = columns(frames)
    found, vxlan = decode_links(data, starts, ends), decode_vxlan(data, starts, ends)
    assert found.arp_op.tolist() == [-1, 1, -1] * 11000
    assert vxlan.row.tolist() == list(range(0, 33000, 3))
    assert len(vxlan) == len(vxlan.packets) == 11000
    assert set(vxlan.packets.dport.tolist()) == {2}


@pytest.mark.parametrize(
    ("frame", "mark", "op"),
    [
        (LINK_SEEDS[0], WHOLE, 1),
        (LINK_SEEDS[1], WHOLE, 2),
        (LINK_SEEDS[4], WHOLE, 1),
        (LINK_SEEDS[5], OTHER, 1),
        (LINK_SEEDS[0][:41], TRUNCATED, 1),
        (LINK_SEEDS[0][:21], TRUNCATED, -1),
        (LINK_SEEDS[0][:18] + b"\x08" + LINK_SEEDS[0][19:], MALFORMED, 1),
        (LINK_SEEDS[0][:19] + b"\x10" + LINK_SEEDS[0][20:], MALFORMED, 1),
        (LINK_SEEDS[0][:13], TRUNCATED, -1),
        (LINK_SEEDS[2][:17], TRUNCATED, -1),
        (LINK_SEEDS[-1], OTHER, -1),
        (SEEDS[0], WHOLE, -1),
        (SEEDS[0][:50], TRUNCATED, -1),
    ],
    ids=[
        *("request", "reply, padded", "IEEE 802", "InfiniBand", "cut", "no fixed part", "MAC length", "address length"),
        *("no link header", "half a tag", "LLDP", "IP", "IP cut"),
    ],
)
def test_a_frame_is_marked_by_its_link_header_and_arp(frame: bytes, mark: int, op: int):
    found = links(frame)
    assert (found.mark.tolist(), found.arp_op.tolist()) == ([mark], [op])
    assert (found.sender[0] >= 0) == (mark == WHOLE and op >= 0)


def test_arp_tells_who_asks_and_who_is_asked_for():
    found = row_of(links(LINK_SEEDS[1]), 0)
    assert (mac_text(found["sender_mac"]), found["sender"]) == ("02:00:00:00:00:02", int(ip_address("10.0.0.2")))
    assert (mac_text(found["target_mac"]), found["target"]) == ("02:00:00:00:00:01", int(ip_address("10.0.0.1")))
    assert (mac_text(found["dst_mac"]), mac_text(found["src_mac"])) == ("02:00:00:00:00:02", "02:00:00:00:00:01")
    assert (found["ethertype"], found["vlan"], found["priority"]) == (0x0806, -1, -1)


def test_of_several_vlan_tags_the_outermost_is_told():
    found = links(LINK_SEEDS[2], LINK_SEEDS[3])
    assert (found.vlan.tolist(), found.priority.tolist()) == ([7, 8], [5, 0])
    assert found.ethertype.tolist() == [0x0806, 0x0806]


def carried(*frames: bytes, ports: tuple[int, ...] = (4789,)) -> list[tuple]:
    """Of each frame that carries one: row, VNI, mark, protocol and ports inside."""
    found = decode_vxlan(*columns(list(frames)), ports)
    inner = found.packets
    told = (found.row, found.vni, inner.mark, inner.proto, inner.sport, inner.dport)
    return list(zip(*(column.tolist() for column in told), strict=True))


def test_what_vxlan_carries_is_decoded_with_its_number_and_its_outer_frame():
    frames = (SEEDS[0], LINK_SEEDS[7], LINK_SEEDS[8], LINK_SEEDS[9], LINK_SEEDS[11])
    assert carried(*frames) == [
        (1, 42, WHOLE, 6, 1, 2),
        (2, 0xFFFFFF, OTHER, -1, -1, -1),
        (3, 1, WHOLE, 17, 5, 6),
        (4, 3, WHOLE, 6, 1, 2),
    ]


def test_the_inner_frames_link_headers_are_read_where_they_lie():
    data, starts, ends = columns([LINK_SEEDS[8]])
    found = decode_vxlan(data, starts, ends)
    inner = row_of(decode_links(data, found.start, found.end), 0)
    assert (mac_text(inner["dst_mac"]), inner["arp_op"], inner["sender"]) == ("02:00:00:00:00:22", 1, 0x0A000001)


def test_vxlan_is_looked_for_at_the_ports_that_are_asked_for():
    assert carried(LINK_SEEDS[7], LINK_SEEDS[10], ports=(8472,)) == [(1, 2, WHOLE, 6, 1, 2)]
    assert carried(LINK_SEEDS[7], LINK_SEEDS[10], ports=()) == []


def test_a_first_fragment_carries_a_frame_that_is_cut_and_a_later_one_none():
    assert carried(LINK_SEEDS[14][:100], LINK_SEEDS[15], LINK_SEEDS[13]) == [(0, 6, TRUNCATED, 6, 1, 2)]


@pytest.mark.parametrize(
    ("place", "value"), [(42, 0), (38, 0), (23, 6)], ids=["no VNI flag", "length", "not UDP"]
)  # fmt: skip
def test_what_is_no_vxlan_carries_nothing(place: int, value: int):
    frame = bytearray(LINK_SEEDS[7])
    frame[place : place + 2] = bytes([value, 15]) if place == 38 else bytes([value, frame[place + 1]])
    assert carried(bytes(frame)) == []


@pytest.mark.parametrize("port", [0, 65536, -1, "4789", True, 4789.0])
def test_what_is_no_port_is_refused(port):
    with pytest.raises(UsageError, match="is no UDP port"):
        decode_vxlan(*columns([]), [port])


def test_no_frames_have_no_columns():
    assert (len(links()), len(decode_vxlan(*columns([])))) == (0, 0)


def test_a_records_columns_are_decoded_when_asked_for_and_then_kept(scene: Scene):
    b = scene.host("B", eth0="lan")
    b.wire("eth0", "in", LINK_SEEDS[0])
    b.wire("eth0", "in", udp("10.0.0.1:1", "10.0.0.2:2"))
    b.wire("eth0", "out", LINK_SEEDS[7])
    record = scene.record()
    found = record.link("B")
    assert found.arp_op.tolist() == [1, -1, -1]
    assert record.link("B") is found
    assert record.link.vxlan("B").row.tolist() == [2]
    assert record.link.vxlan("B") is record.link.vxlan("B", [4789])
    assert len(record.link.vxlan("B", [1])) == 0
    assert str(record.link) == "<link headers of 1 hosts>"


def test_a_host_that_the_record_has_not_is_refused(scene: Scene):
    scene.host("B", eth0="lan")
    with pytest.raises(UsageError, match="no host 'b', did you mean 'B'"):
        scene.record().link("b")
    with pytest.raises(UsageError, match="no host 'A'"):
        LinkColumns().vxlan("A")


def test_asking_for_link_headers_leaves_the_frames_as_they_are(scene: Scene):
    b = scene.host("B", eth0="lan")
    b.wire("eth0", "in", LINK_SEEDS[7])
    captures = scene.captures()
    before = captures[0].frames.data.copy()
    record = build_record(captures, scene.segment_of)
    record.link("B")
    record.link.vxlan("B")
    assert np.array_equal(captures[0].frames.data, before)
