"""Link headers, ARP and VXLAN of one frame, plainly: what the columns of netemu.record.decode.link are held against."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from netemu.record.decode.headers import split_frame
from netemu.record.decode.packets import MALFORMED, OTHER, TRUNCATED, WHOLE

TAGS = (0x8100, 0x88A8)


@dataclass(frozen=True)
class PlainLink:
    """A frame's link header, and the ARP message in it."""

    mark: int
    dst_mac: int = 0
    src_mac: int = 0
    ethertype: int = 0
    vlan: int = -1
    priority: int = -1
    arp_op: int = -1
    sender_mac: int = 0
    sender: int = -1
    target_mac: int = 0
    target: int = -1


def number(data: bytes) -> int:
    return int.from_bytes(data, "big")


def plain_link(frame: bytes) -> PlainLink:
    """What one frame's columns should be."""
    if len(frame) < 14:
        return PlainLink(TRUNCATED)
    kind, body, tag = number(frame[12:14]), frame[14:], None
    while kind in TAGS and len(body) >= 4:
        tag = number(body[:2]) if tag is None else tag
        kind, body = number(body[2:4]), body[4:]
    head = (number(frame[:6]), number(frame[6:12]), kind, *((-1, -1) if tag is None else (tag % 4096, tag // 8192)))
    if kind == 0x0806:
        return _arp(body, head)
    if kind in TAGS:
        return PlainLink(TRUNCATED, *head)
    if kind == 0x0800:
        return PlainLink(_ipv4(body), *head)
    return PlainLink(_ipv6(body) if kind == 0x86DD else OTHER, *head)


def _arp(body: bytes, head: tuple[int, ...]) -> PlainLink:
    if len(body) < 8:
        return PlainLink(TRUNCATED, *head)
    hardware, protocol, hardware_length, protocol_length = number(body[:2]), number(body[2:4]), body[4], body[5]
    op, ethernet, ip = number(body[6:8]), hardware in (1, 6), protocol == 0x0800
    if (ethernet and hardware_length != 6) or (ip and protocol_length != 4):
        return PlainLink(MALFORMED, *head, op)
    if len(body) < 8 + 2 * hardware_length + 2 * protocol_length:
        return PlainLink(TRUNCATED, *head, op)
    if not (ethernet and ip):
        return PlainLink(OTHER, *head, op)
    addresses = (number(body[first:end]) for first, end in ((8, 14), (14, 18), (18, 24), (24, 28)))
    return PlainLink(WHOLE, *head, op, *addresses)


def _ipv4(body: bytes) -> int:
    if not body:
        return TRUNCATED
    words = (body[0] & 15) * 4
    if body[0] >> 4 != 4 or words < 20:
        return MALFORMED
    if len(body) < words:
        return TRUNCATED
    total = number(body[2:4])
    return MALFORMED if total < words else TRUNCATED if total > len(body) else WHOLE


def _ipv6(body: bytes) -> int:
    if body and body[0] >> 4 != 6:
        return MALFORMED
    return WHOLE if len(body) >= 40 and len(body) >= 40 + number(body[4:6]) else TRUNCATED


def plain_vxlan(frame: bytes, ports: Collection[int]) -> tuple[int, bytes] | None:
    """The VNI and the frame that VXLAN carries in this one; None where it carries none."""
    packet = split_frame(frame)
    if packet is None or _later_fragment(frame, packet.network):
        return None
    version = packet.network[0] >> 4
    proto = packet.protocol if packet.protocol is not None else packet.network[9 if version == 4 else 6]
    datagram = packet.transport
    if proto != 17 or len(datagram) < 16 or number(datagram[2:4]) not in ports:
        return None
    size = number(datagram[4:6])
    if size < 16 or not datagram[8] & 8:
        return None
    return number(datagram[12:15]), datagram[16:size]


def _later_fragment(frame: bytes, network: bytes) -> bool:
    if network[0] >> 4 == 4:
        return number(network[6:8]) % 8192 > 0
    at, kind = frame.index(network) + 40, network[6]
    while kind in (0, 43, 44, 51, 60) and at + 8 <= len(frame):
        if kind == 44 and number(frame[at + 2 : at + 4]) // 8:
            return True
        kind, at = frame[at], at + (8 if kind == 44 else 8 * (frame[at + 1] + 1))
    return False
