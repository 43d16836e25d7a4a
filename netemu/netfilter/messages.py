"""nfnetlink's messages from bytes: nft trace events and conntrack entries.

Attribute numbers are those of linux/netfilter/nf_tables.h (NFTA_TRACE_…) and nfnetlink_conntrack.h (CTA_…).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Literal

from netemu.netfilter.conntrack import TCP_STATES, Entry, PacketConntrack, Tuple, state_name

NLMSG_ERROR, NLMSG_DONE = 2, 3
SUBSYS_CONNTRACK, SUBSYS_NFTABLES = 1, 10
MSG_CONNTRACK_NEW, MSG_CONNTRACK_DELETE = 0, 2
MSG_TRACE = 17
GENERATION = 4
"""Bytes of struct nfgenmsg before a message's attributes."""

PROTOCOLS = {1: "icmp", 2: "igmp", 6: "tcp", 17: "udp", 33: "dccp", 47: "gre", 58: "icmp6", 132: "sctp", 136: "udplite"}

TraceKind = Literal["policy", "return", "rule"]
_KINDS: dict[int, TraceKind] = {1: "policy", 2: "return", 3: "rule"}
_FAMILIES: dict[int, Literal["ip", "ip6"]] = {2: "ip", 10: "ip6"}
_VERDICTS = {
    0: "drop",
    1: "accept",
    2: "stolen",
    3: "queue",
    4: "repeat",
    5: "stop",
    -1: "continue",
    -2: "break",
    -3: "jump",
    -4: "goto",
    -5: "return",
}

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_U16 = struct.Struct("!H")
_U32 = struct.Struct("!I")
_I32 = struct.Struct("!i")
_U64 = struct.Struct("!Q")


def messages(buffer: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Each netlink message of a datagram: its type, flags and payload. A torn one ends the walk."""
    offset = 0
    while offset + _HEADER.size <= len(buffer):
        length, kind, flags, _, _ = _HEADER.unpack_from(buffer, offset)
        if length < _HEADER.size or offset + length > len(buffer):
            return
        yield kind, flags, buffer[offset + _HEADER.size : offset + length]
        offset += (length + 3) & ~3


def attributes(payload: bytes, offset: int = 0) -> dict[int, bytes]:
    """The attributes from `offset` on, by their number (without the nested and byte-order flags)."""
    found: dict[int, bytes] = {}
    while offset + 4 <= len(payload):
        length, kind = _ATTRIBUTE.unpack_from(payload, offset)
        if length < 4 or offset + length > len(payload):
            break
        found[kind & 0x3FFF] = payload[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found


@dataclass(frozen=True, slots=True)
class TraceEvent:
    """One step of one packet through one chain. Header bytes are as the packet was at that step.

    `network` and `transport` are empty for all but the first event of a base chain's turn; `transport` is cut at
    20 bytes. `id` is derived from the packet buffer's address: it is the same all through a pass, and used again.
    `ct` is None where the trace says nothing of conntrack.
    """

    id: int
    family: Literal["ip", "ip6"] | None
    table: str
    chain: str
    kind: TraceKind
    handle: int | None
    verdict: str
    target: str | None
    network: bytes
    transport: bytes
    iif: int | None
    oif: int | None
    ct: PacketConntrack | None


def trace_event(payload: bytes) -> TraceEvent | None:
    """A trace event from an NFT_MSG_TRACE payload; None if it lacks what every event has."""
    a = attributes(payload, GENERATION)
    if not {1, 2, 4, 6} <= a.keys():
        return None
    kind = _KINDS.get(_U32.unpack(a[4])[0])
    if kind is None:
        return None
    verdict, target = "", None
    if 5 in a:
        nested = attributes(a[5])
        code = _I32.unpack(nested[1])[0] if 1 in nested else -1
        verdict = _VERDICTS.get(code if code < 0 else code & 0xFF, str(code))
        target = _text(nested[2]) if 2 in nested else None
    elif 16 in a:
        verdict = _VERDICTS.get(_U32.unpack(a[16])[0] & 0xFF, "")
    return TraceEvent(
        id=_U32.unpack(a[6])[0],
        family=_FAMILIES.get(_U32.unpack(a[15])[0]) if 15 in a else None,
        table=_text(a[1]),
        chain=_text(a[2]),
        kind=kind,
        handle=_U64.unpack(a[3])[0] if 3 in a else None,
        verdict=verdict,
        target=target,
        network=a.get(8, b""),
        transport=a.get(9, b""),
        iif=_U32.unpack(a[10])[0] if 10 in a else None,
        oif=_U32.unpack(a[12])[0] if 12 in a else None,
        ct=_trace_conntrack(a),
    )


def _trace_conntrack(a: dict[int, bytes]) -> PacketConntrack | None:
    """The CT_ attributes of Linux 6.16 and later; a status of 0 is left out (nf_trace_fill_ct_info)."""
    if 21 not in a:
        return None
    state = state_name(_U32.unpack(a[21])[0])
    if 18 not in a:
        return PacketConntrack(state)
    return PacketConntrack(
        state,
        direction="reply" if 19 in a and a[19][0] else "original",
        id=_U32.unpack(a[18])[0],
        status=_U32.unpack(a[20])[0] if 20 in a else 0,
    )


def conntrack_entry(payload: bytes) -> Entry | None:
    """An entry from a conntrack message's payload; None if it lacks a tuple or its id."""
    a = attributes(payload, GENERATION)
    if not {1, 2, 12} <= a.keys():
        return None
    original, reply = _tuple(a[1]), _tuple(a[2])
    if original is None or reply is None:
        return None
    tcp = attributes(attributes(a[4]).get(1, b"")) if 4 in a else {}
    state = TCP_STATES[tcp[1][0]] if 1 in tcp and tcp[1][0] < len(TCP_STATES) else None
    return Entry(_U32.unpack(a[12])[0], original, reply, _U32.unpack(a[3])[0] if 3 in a else 0, state)


def _tuple(payload: bytes) -> Tuple | None:
    a = attributes(payload)
    ip, proto = attributes(a.get(1, b"")), attributes(a.get(2, b""))
    src, dst = ip.get(1) or ip.get(3), ip.get(2) or ip.get(4)
    if src is None or dst is None or 1 not in proto:
        return None
    number = proto[1][0]
    sport, dport = proto.get(2), proto.get(3)
    if sport is None:
        sport = dport = proto.get(4) or proto.get(7)
    return Tuple(
        PROTOCOLS.get(number, str(number)),
        str(ip_address(src)),
        _U16.unpack(sport)[0] if sport else None,
        str(ip_address(dst)),
        _U16.unpack(dport)[0] if dport else None,
    )


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode("utf-8", "replace")
