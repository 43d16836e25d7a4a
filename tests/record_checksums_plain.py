"""One frame's checksums, computed byte by byte: what decode/checksums.py does for many at once."""

from __future__ import annotations

from netemu.record.decode.headers import split_frame

UNFINISHED, VOUCHED = 8, 128
FIELD = {6: (16, 20), 17: (6, 8), 1: (2, 4), 2: (2, 4), 58: (2, 4)}
"""By protocol: where its checksum is, and how many bytes its header has at least."""


def total(data: bytes) -> int:
    """The one's complement sum of 16-bit words (RFC 1071)."""
    data += bytes(len(data) % 2)
    found = sum(int.from_bytes(data[place : place + 2], "big") for place in range(0, len(data), 2))
    while found > 0xFFFF:
        found = (found & 0xFFFF) + (found >> 16)
    return found


def checksums(frame: bytes, status: int = 0) -> tuple[str | None, str | None]:
    """What is known of an IP frame's header's checksum, and of that behind it; of anything else nothing."""
    packet = split_frame(frame)
    if packet is None:
        return None, None
    network, transport = packet.network, packet.transport
    four = network[0] >> 4 == 4
    ip = ("right" if total(network) == 0xFFFF else "wrong") if four else None
    return ip, carried(four, network, transport, packet.protocol, packet.fragment, frame, status)


def extensions(frame: bytes, number: int) -> int:
    """How many bytes of extension headers an IPv6 frame has (RFC 8200, 4)."""
    begin = 14
    while frame[begin - 2 : begin] in (b"\x81\x00", b"\x88\xa8"):
        begin += 4
    at = begin = begin + 40
    while number in (0, 43, 44, 51, 60) and at + 8 <= len(frame):
        number, at = frame[at], at + (8 if number == 44 else (frame[at + 1] + 1) * 8)
    return at - begin


def carried(four, network, transport, protocol, fragment, frame, status) -> str | None:
    proto = network[9] if four else protocol if protocol is not None else network[6]
    if proto not in FIELD or (proto == 58 and four) or (proto in (1, 2) and not four):
        return None
    place, least = FIELD[proto]
    parted = int.from_bytes(network[6:8], "big") if four else fragment
    if parted & 0x3FFF or len(transport) < least:
        return "unknown"
    if four and int.from_bytes(network[2:4], "big") < len(network):
        return "unknown"
    said = int.from_bytes(network[2:4], "big") if four else 40 + int.from_bytes(network[4:6], "big")
    size = said - len(network) - (0 if four else extensions(frame, network[6]))
    value = transport[place : place + 2]
    if proto == 17:
        if value == b"\0\0":
            return "absent"
        length = int.from_bytes(transport[4:6], "big")
        odd = length < 8 or length > size
        size = size if odd else length
    else:
        odd = False
    pseudo = b""
    if proto not in (1, 2):
        pseudo = (network[12:20] if four else network[8:40]) + size.to_bytes(4, "big") + bytes([0, 0, 0, proto])
    begun = bool(status & UNFINISHED) or (pseudo != b"" and int.from_bytes(value, "big") == total(pseudo))
    if odd or size > len(transport):
        return "unfinished" if begun else "unknown"
    if total(pseudo + transport[:size]) == 0xFFFF:
        return "right"
    if begun:
        return "unfinished"
    elsewhere = pseudo != b"" and (protocol is not None or (four and len(network) > 20))
    return "unknown" if elsewhere or status & VOUCHED else "wrong"
