"""Headers from bytes: whole ones, cut ones, and such as no packet ever had."""

from __future__ import annotations

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from record_packets import MACS, Packet, echo, echo_reply, icmp_error, tcp, udp
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrHopByHop
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw

from netemu.netfilter.conntrack import Tuple
from netemu.record.decode.headers import Headers, Split, decode, identity, split_frame

SYN = tcp("192.168.0.1:54522", "192.168.0.2:30000", "SYN", seq=5, ip_id=9)
SYN6 = tcp("[fd00::1]:54522", "[fd00::2]:80", "SYN ACK", seq=5, ack=6)
ETHER = Ether(dst="02:00:00:00:00:02", src="02:00:00:00:00:01")
QUESTION = udp("10.0.0.1:4000", "10.0.0.2:53", b"question")


def read(frame: bytes) -> Headers | None:
    packet = split_frame(frame)
    return decode(packet) if packet is not None else None


def test_a_tcp_packet_is_read():
    assert read(SYN.frame()) == Headers("tcp", "192.168.0.1", "192.168.0.2", 64, 54522, 30000, "SYN", 5, 0, 0)


def test_a_tcp_packet_over_ipv6_is_read():
    assert read(SYN6.frame()) == Headers("tcp", "fd00::1", "fd00::2", 64, 54522, 80, "SYN ACK", 5, 6, 0)


def test_a_datagram_is_read_with_its_payloads_length():
    assert read(QUESTION.frame()) == Headers("udp", "10.0.0.1", "10.0.0.2", 64, 4000, 53, length=8)


def test_padding_of_a_short_frame_is_no_payload():
    frame = udp("10.0.0.1:4000", "10.0.0.2:53", b"?").frame()
    assert len(frame) == 60
    assert read(frame).length == 1
    assert len(split_frame(frame).transport) == 9


def test_an_echo_has_its_id_on_both_sides_of_its_tuple():
    asked, answered = (
        read(echo("10.0.0.1", "10.0.0.2", 77, 3).frame()),
        read(echo_reply("10.0.0.2", "10.0.0.1", 77).frame()),
    )
    assert (asked.icmp, asked.icmp_id, asked.seq, asked.sport) == ((8, 0), 77, 3, None)
    assert asked.tuple == Tuple("icmp", "10.0.0.1", 77, "10.0.0.2", 77)
    assert asked.tuple.inverse == answered.tuple


def test_an_icmp_error_has_no_id():
    error = read(icmp_error("10.0.0.9", "10.0.0.1", 3, QUESTION).frame())
    assert (error.icmp, error.icmp_id, error.seq) == ((3, 3), None, None)
    assert error.tuple == Tuple("icmp", "10.0.0.9", None, "10.0.0.1", None)


@pytest.mark.parametrize(
    "frame",
    [
        ETHER / IP(src="1.2.3.4", dst="5.6.7.8", ttl=3) / TCP(sport=1, dport=2, flags="FA", seq=7, ack=8) / Raw(b"xyz"),
        ETHER / IP(src="1.2.3.4", dst="5.6.7.8", options=b"\x94\x04\x00\x00") / UDP(sport=1, dport=2) / Raw(b"xyz"),
        ETHER / IPv6(src="fd00::1", dst="fd00::2", hlim=9) / UDP(sport=1, dport=2) / Raw(b"xyz"),
        ETHER / IP(src="1.2.3.4", dst="5.6.7.8") / TCP(options=[("MSS", 1460), ("NOP", None)]) / Raw(b"xyz"),
        ETHER / IP(src="1.2.3.4", dst="5.6.7.8") / ICMP(id=4, seq=2) / Raw(b"xyz"),
    ],
    ids=["tcp", "ip options", "udp over ipv6", "tcp options", "echo"],
)
def test_scapy_and_netemu_read_the_same(frame):
    frame = Ether(bytes(frame))
    ip = frame[IP] if IP in frame else frame[IPv6]
    found = read(bytes(frame))
    assert (found.src, found.dst, found.ttl) == (ip.src, ip.dst, ip.ttl if IP in frame else ip.hlim)
    assert found.length == 3
    for layer in (TCP, UDP):
        if layer in frame:
            assert (found.sport, found.dport) == (frame[layer].sport, frame[layer].dport)
    if TCP in frame:
        assert (found.seq, found.ack) == (frame[TCP].seq, frame[TCP].ack)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_vlan_tags_are_stepped_over(depth: int):
    assert read(SYN.frame(b"\x81\x00\x00\x05" * depth)) == read(SYN.frame())


def test_a_service_tag_of_a_provider_bridge_is_stepped_over():
    """IEEE 802.1ad's tag, 0x88A8, is what the outer of two tags carries; wire taps put back whichever was there."""
    assert read(SYN.frame(b"\x88\xa8\x00\x05\x81\x00\x00\x06")) == read(SYN.frame())


def test_an_ipv6_extension_header_is_stepped_over():
    """The nft trace's transport header is the one after all extension headers (nft_set_pktinfo_ipv6)."""
    plain = ETHER / IPv6(src="fd00::1", dst="fd00::2") / UDP(sport=1, dport=2) / Raw(b"xyz")
    longer = ETHER / IPv6(src="fd00::1", dst="fd00::2") / IPv6ExtHdrHopByHop() / UDP(sport=1, dport=2) / Raw(b"xyz")
    assert read(bytes(longer)) == read(bytes(plain))
    assert split_frame(bytes(longer)).transport == split_frame(bytes(plain)).transport


@pytest.mark.parametrize(
    "frame",
    [b"", b"\0" * 13, MACS + b"\x08\x00", bytes(ETHER / ARP()), MACS + b"\x81\x00", MACS + b"\x86\xdd" + b"\x60" * 39],
    ids=["nothing", "short", "no header", "arp", "tag alone", "short ipv6"],
)
def test_a_frame_without_a_whole_ip_header_is_no_packet(frame: bytes):
    assert split_frame(frame) is None


def test_a_header_length_below_the_shortest_is_no_packet():
    frame = bytearray(SYN.frame())
    frame[14] = 0x44
    assert split_frame(bytes(frame)) is None


def test_a_version_that_is_not_the_ethertypes_is_no_packet():
    as_v6 = MACS + b"\x86\xdd" + SYN.network + SYN.transport
    as_v4 = MACS + b"\x08\x00" + SYN6.network + SYN6.transport
    assert (read(as_v6), read(as_v4)) == (None, None)


def test_a_cut_transport_header_leaves_its_fields_unknown():
    for packet, needed in ((SYN, 14), (QUESTION, 8)):
        for there in range(needed):
            found = decode(Split(packet.network, packet.transport[:there]))
            assert (found.src, found.sport, found.dport, found.seq) == (packet.tuple.src, None, None, None)
        assert decode(Split(packet.network, packet.transport[:needed])).sport == packet.tuple.sport


def test_a_later_fragment_has_no_ports_whatever_its_bytes_say():
    head = bytearray(QUESTION.network)
    head[6:8] = struct.pack("!H", 185)
    found = decode(Split(bytes(head), QUESTION.transport))
    assert found.tuple == Tuple("udp", "10.0.0.1", None, "10.0.0.2", None)


def test_a_first_fragment_has_its_ports():
    head = bytearray(QUESTION.network)
    head[6:8] = struct.pack("!H", 0x2000)
    assert decode(Split(bytes(head), QUESTION.transport)).sport == 4000


def test_an_unknown_protocol_is_told_by_its_number():
    head = bytearray(QUESTION.network)
    head[9] = 253
    assert decode(Split(bytes(head), b"whatever")).proto == "253"


def key(packet: Packet) -> bytes:
    return identity(Split(packet.network, packet.transport))


@pytest.mark.parametrize("packet", [SYN, SYN6, QUESTION, echo("10.0.0.1", "10.0.0.2", 7)], ids=lambda p: p.proto)
def test_a_packet_is_known_by_what_the_trace_shows_of_it(packet: Packet):
    assert key(packet) == identity(Split(packet.network[:40], packet.transport[:20]))
    assert key(packet) == identity(split_frame(packet.frame()))


def test_a_packet_with_the_longest_options_is_known_by_what_the_trace_shows_of_it():
    """The trace's network header ends after 40 bytes (NFT_TRACETYPE_NETWORK_HSIZE)."""
    packet = SYN.but(options=b"\x01" * 40)
    assert key(packet) == identity(Split(packet.network[:40], packet.transport[:20]))


@pytest.mark.parametrize("packet", [SYN, SYN6, QUESTION, echo("10.0.0.1", "10.0.0.2", 7)], ids=lambda p: p.proto)
def test_a_partial_checksum_does_not_make_it_another_packet(packet: Packet):
    where = {"tcp": 16, "udp": 6, "icmp": 2}[packet.proto]
    partial = packet.transport[:where] + b"\xab\xcd" + packet.transport[where + 2 :]
    network = packet.network if ":" in packet.src[1:6] else packet.network[:10] + b"\0\0" + packet.network[12:]
    assert identity(Split(network, partial)) == key(packet)


@pytest.mark.parametrize(
    "change",
    [{"src": "192.168.0.9:54522"}, {"dst": "192.168.0.2:1"}, {"ttl": 63}, {"seq": 6}, {"ip_id": 10}, {"flags": "ACK"}],
    ids=lambda change: next(iter(change)),
)
def test_another_header_field_makes_it_another_packet(change: dict):
    assert key(SYN) != key(SYN.but(**change))


def damaged(packet: Packet, cut: int, place: int, value: int) -> bytes:
    """A frame with one byte changed, then cut short."""
    frame = bytearray(packet.frame())
    frame[place % len(frame)] = value
    return bytes(frame[: cut % (len(frame) + 1)])


PACKETS = st.sampled_from([SYN, SYN6, QUESTION, SYN.but(options=b"\x01" * 8), echo("10.0.0.1", "10.0.0.2", 7)])
KINDS = st.sampled_from([b"\x08\x00", b"\x86\xdd", b"\x81\x00"])
FRAMES = st.one_of(
    st.binary(max_size=120),
    st.builds(lambda kind, tail: MACS + kind + tail, KINDS, st.binary(max_size=100)),
    st.builds(damaged, PACKETS, st.integers(0, 255), st.integers(0, 255), st.integers(0, 255)),
)


@given(FRAMES)
@example(MACS + b"\x08\x00" + b"\x45" + b"\0" * 19)
@example(MACS + b"\x08\x00" + b"\x65" + b"\xff" * 60)
def test_no_frame_whatever_is_too_much_for_the_decoder(frame: bytes):
    packet = split_frame(frame)
    if packet is not None and (found := decode(packet)) is not None:
        assert isinstance(identity(packet), bytes)
        assert found.length >= 0
        assert found.tuple.inverse.inverse == found.tuple


@given(st.binary(max_size=64), st.binary(max_size=40))
def test_no_headers_whatever_are_too_much_for_the_decoder(network: bytes, transport: bytes):
    packet = Split(network, transport)
    if decode(packet) is not None:
        assert isinstance(identity(packet), bytes)


@given(st.integers(0, 65535), st.integers(0, 65535), st.binary(max_size=40), st.integers(1, 255))
def test_every_datagram_is_read_as_it_was_written(sport: int, dport: int, payload: bytes, ttl: int):
    found = read(udp(f"10.0.0.1:{sport}", f"10.0.0.2:{dport}", payload, ttl=ttl).frame())
    assert found == Headers("udp", "10.0.0.1", "10.0.0.2", ttl, sport, dport, length=len(payload))
