"""Capture files in bulk read as the plain reader reads them, whatever their link type, and damage is said."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from netemu.record.decode.packets import decode_frames
from netemu.record.files.pcapng import CapturedPacket, CaptureFormatError, CaptureInterface, header, packet, read, write
from netemu.record.sides.captured import COOKED, COOKED2, ETHERNET, NULL, Captured, read_captured

POINTS = [CaptureInterface("eth0"), CaptureInterface("eth1")]
PACKET = bytes(IP(src="192.0.2.1", dst="198.51.100.2", ttl=61) / TCP(sport=1234, dport=80, seq=77) / b"payload")
PACKET6 = bytes(IPv6(src="2001:db8::1", dst="2001:db8::2", hlim=60) / TCP(sport=1234, dport=80, seq=78))

packets = st.builds(
    CapturedPacket,
    interface=st.integers(0, 1),
    time_ns=st.integers(0, 2**62),
    data=st.binary(min_size=14, max_size=70),
    length=st.integers(0, 2**31),
)


def pcap(*given: bytes, linktype: int = ETHERNET, order: str = "<", magic: int = 0xA1B23C4D) -> bytes:
    head = struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, 65535, linktype)
    return head + b"".join(struct.pack(f"{order}IIII", 5, 9, len(each), len(each)) + each for each in given)


def rows(found: Captured) -> list[tuple[int, int, bytes]]:
    columns = (each.tolist() for each in (found.interface, found.time_ns, found.start, found.end))
    return [(i, time, bytes(found.data[start:end])) for i, time, start, end in zip(*columns, strict=True)]


@given(st.lists(packets, max_size=8))
def test_a_pcapng_file_reads_as_the_plain_reader_reads_it(given: list[CapturedPacket]) -> None:
    data = b"".join(write(POINTS, given))
    plain = [(each.interface, each.time_ns, each.data) for each in read(data)[1]]
    found = read_captured(data)
    assert (rows(found), found.notes) == (plain, ())
    assert [each.name for each in found.interfaces] == ["eth0", "eth1"]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("magic", [0xA1B2C3D4, 0xA1B23C4D])
def test_a_pcap_file_reads_as_the_plain_reader_reads_it(order: str, magic: int) -> None:
    data = pcap(b"a" * 14, b"b" * 60, order=order, magic=magic)
    assert rows(read_captured(data)) == [(0, each.time_ns, each.data) for each in read(data)[1]]


@pytest.mark.parametrize(
    ("linktype", "front"),
    [
        (ETHERNET, lambda kind: bytes(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02", type=kind))),
        (COOKED, lambda kind: bytes(14) + struct.pack("!H", kind)),
        (COOKED2, lambda kind: struct.pack("!HHIHBB8x", kind, 0, 7, 1, 0, 6)),
        (NULL, lambda kind: struct.pack("<I", 2 if kind == 0x800 else 30)),
        (101, lambda kind: b""),
        (12, lambda kind: b""),
    ],
)
def test_packets_behind_every_known_link_header_decode_alike(linktype, front) -> None:
    found = read_captured(pcap(front(0x800) + PACKET, front(0x86DD) + PACKET6, linktype=linktype))
    decoded = decode_frames(found.data, found.start, found.end)
    first, second = decoded.headers(0), decoded.headers(1)
    assert (first.source, first.destination, first.ttl, first.seq, first.length) == (
        *("192.0.2.1:1234", "198.51.100.2:80"),
        *(61, 77, 7),
    )
    assert (second.source, second.ttl, second.seq) == ("[2001:db8::1]:1234", 60, 78)
    assert not decoded.mark.any()
    assert found.device.tolist() == ([7, 7] if linktype == COOKED2 else [0, 0])


@pytest.mark.parametrize("linktype", [NULL, ETHERNET, COOKED, COOKED2, 101])
def test_a_packet_shorter_than_its_link_header_is_marked_and_spoils_no_other(linktype: int) -> None:
    front = {NULL: 4, ETHERNET: 14, COOKED: 16, COOKED2: 20, 101: 0}[linktype]
    parts = [PACKET[:size] for size in range(24)]
    found = read_captured(pcap(*parts, linktype=linktype))
    assert len(found) == len(parts)
    assert not decode_frames(found.data, found.start, found.end).version[:front].any()


@pytest.mark.parametrize(
    ("data", "taken", "said"),
    [
        (pcap(b"a" * 20, b"b" * 20)[:-1], 1, "breaks off in a packet at byte 60"),
        (pcap(b"a" * 20) + b"1234", 1, "breaks off in a packet's header at byte 60"),
        (pcap(b"a" * 20) + b"\xff" * 40, 1, "is damaged at byte 60"),
        (header(POINTS) + packet(CapturedPacket(0, 1, b"a" * 20, 20))[:-4], 0, "breaks off in a block"),
        (header(POINTS) + packet(CapturedPacket(2, 1, b"a" * 20, 20)), 0, "1 packets whose interface"),
        (header(POINTS) + struct.pack("=III", 6, 7, 12), 0, "is damaged at byte"),
        (header(POINTS) + struct.pack("=IIII", 3, 16, 0, 16), 0, "carry no time"),
        (pcap(b"a" * 20, linktype=105), 0, "link type 105, which is not read"),
    ],
)
def test_of_a_damaged_file_what_is_there_is_taken_and_it_is_said(data: bytes, taken: int, said: str) -> None:
    found = read_captured(data)
    assert len(found) == taken
    assert said in " ".join(found.notes)


@pytest.mark.parametrize(
    "data", [b"", b"GIF89a", struct.pack("<I", 0xA1B2C3D4), struct.pack("<III", 0x0A0D0D0A, 28, 5)]
)
def test_what_is_no_capture_is_refused(data: bytes) -> None:
    with pytest.raises(CaptureFormatError):
        read_captured(data)


@given(st.data(), st.lists(packets, min_size=1, max_size=3))
def test_no_mutation_makes_the_reader_raise_anything_else_or_reach_outside(data, given) -> None:
    whole = bytearray(b"".join(write(POINTS, given)))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = read_captured(bytes(whole))
    except CaptureFormatError:
        return
    assert np.all((found.start <= found.end) & (found.start >= 0) & (found.end <= len(whole)))
    decode_frames(found.data, found.start, found.end)
