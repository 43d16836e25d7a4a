"""What ICMP errors quote, and packets as they would be quoted: digests that are equal where a quote fits.

An error carries the head of the packet that caused it (RFC 792; RFC 4443, 3): addresses, protocol, the id of IPv4 and
of IPv6's fragments, and the first eight bytes of its transport header. Of a fragment behind the first it has no such
header; of one that has it, UDP's length is that of the whole packet, and is left out.
"""

from __future__ import annotations

import numpy as np

from netemu.netfilter.conntrack import Tuple
from netemu.record.decode.headers import IPV4, IPV6, MORE, OFFSET, decode, split_frame
from netemu.record.decode.packets import Packets
from netemu.record.decode.rows import Column, big_endian, mix
from netemu.record.join.fragments import is_fragment

QUOTED = 68
"""How many bytes of a quoted packet are looked at: the longest IPv4 header, and eight."""
_ICMP, _ICMP6, _TCP, _UDP = 1, 58, 6, 17
_WITH_PORTS = (17, 33, 132, 136)
_ECHO = (0x0800, 0x0000, 0x8000, 0x8100)
_FRAGMENT = 44


def is_error(packets: Packets) -> Column:
    """Which packets are ICMP errors."""
    kind = packets.icmp >> 8
    four = (packets.proto == _ICMP) & np.isin(kind, (3, 4, 5, 11, 12))
    return four | ((packets.proto == _ICMP6) & (kind >= 1) & (kind <= 4))


def tuple_in(inner: bytes) -> Tuple | None:
    """The tuple of the packet that an error quotes: TCP's ports are there, though its header is not whole."""
    six = inner[:1] and inner[0] >> 4 == 6
    packet = split_frame(bytes(12) + (IPV6 if six else IPV4).to_bytes(2, "big") + inner)
    headers = decode(packet) if packet is not None else None
    if packet is None or headers is None:
        return None
    later = headers.fragment is not None and headers.fragment[0] > 0
    if headers.proto != "tcp" or later or headers.sport is not None:
        return headers.tuple
    sport, dport = (int.from_bytes(packet.transport[place : place + 2], "big") for place in (0, 2))
    return Tuple(headers.proto, headers.src, sport, headers.dst, dport)


def quoted(inner: Column, size: Column) -> tuple[Column, Column, Column]:
    """Of the packets in errors: the destination's lower half, the digest, whether headers and eight bytes are there."""
    version = inner[:, 0] >> 4
    words = np.where(version == 4, (inner[:, 0] & 0xF).astype(np.int64) * 4, 40)
    is4, is6 = (version == 4) & (words >= 20), version == 6
    in_parts = is6 & (inner[:, 6] == _FRAGMENT)
    words = np.where(in_parts, 48, words)
    told = (is4 | is6) & (size >= words + 8)
    proto = np.where(is4, inner[:, 9], np.where(in_parts, inner[:, 40], inner[:, 6])).astype(np.int64)
    at = np.where(told, words, 0)[:, None] + np.arange(8)
    head = np.ascontiguousarray(np.take_along_axis(inner, at, axis=1))
    ports, second = big_endian(head, 0, 4), big_endian(head, 4, 4)
    second = np.where(proto == _UDP, second & np.uint32(0xFFFF0000), second)
    icmp = np.isin(proto, (_ICMP, _ICMP6))
    first = np.where(icmp, ports & np.uint32(0xFFFF0000), ports).astype(np.uint64)
    field = np.where(is4, big_endian(inner, 6, 2) & (MORE | OFFSET), 0)
    later = (field & OFFSET != 0) | (in_parts & (big_endian(inner, 42, 2) & np.uint16(0xFFF8) != 0))
    whole_udp = (proto == _UDP) & (field == 0) & ~in_parts
    kept = (proto == _TCP) | whole_udp | (icmp & np.isin(ports >> np.uint32(16), _ECHO))
    first = np.where((kept | np.isin(proto, _WITH_PORTS) | icmp) & ~later, first, 0)
    second = np.where(kept & ~later, second, 0).astype(np.uint64)
    nothing = np.zeros(len(inner), np.uint64)
    src = np.where(is4, big_endian(inner, 12, 4), big_endian(inner, 16, 8))
    dst = np.where(is4, big_endian(inner, 16, 4), big_endian(inner, 32, 8))
    halves = (np.where(is4, nothing, big_endian(inner, place, 8)) for place in (8, 24))
    ip_id = np.where(is4, big_endian(inner, 4, 2), np.where(in_parts, big_endian(inner, 44, 4), 0)).astype(np.uint64)
    key = _digest(version, proto, ip_id, (*halves, src, dst), first, second)
    return dst.astype(np.uint64), key, told


def quoted_as(packets: Packets, row: Column) -> Column:
    """The same digest of packets that were seen."""
    proto, icmp = packets.proto[row].astype(np.int64), packets.icmp[row].astype(np.int64)
    sport, dport = (np.maximum(port[row], 0).astype(np.int64) for port in (packets.sport, packets.dport))
    first = np.where(icmp >= 0, icmp << 16, sport << 16 | dport)
    sequence = np.maximum(packets.seq[row], 0)
    second = np.where(proto == _UDP, (packets.length[row].astype(np.int64) + 8 & 0xFFFF) << 16, sequence)
    echo = packets.icmp_id[row].astype(np.int64)
    second = np.where(echo >= 0, echo << 16 | sequence, second)
    in_parts = is_fragment(packets.fragment[row]) | ((packets.version[row] == 6) & (packets.ip_id[row] > 0))
    second = np.where((proto == _UDP) & ((packets.sport[row] < 0) | in_parts), 0, second)
    halves = (getattr(packets, f"{side}_{half}")[row] for half in ("high", "low") for side in ("src", "dst"))
    first, second = first.astype(np.uint64), second.astype(np.uint64)
    return _digest(packets.version[row], proto, packets.ip_id[row], tuple(halves), first, second)


def _digest(
    version: Column, proto: Column, ip_id: Column, halves: tuple[Column, ...], first: Column, second: Column
) -> Column:
    total = mix(
        version.astype(np.uint64) << np.uint64(56) | proto.astype(np.uint64) << np.uint64(40) | ip_id.astype(np.uint64)
    )
    for place, half in enumerate(halves):
        total = mix(total ^ half.astype(np.uint64), place)
    return mix(mix(total ^ first, 5) ^ second, 6)
