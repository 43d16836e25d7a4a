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
NLM_F_CREATE = 0x400
"""linux/netlink.h: on an event of conntrack's, the entry is new."""
GENERATION = 4
"""Bytes of struct nfgenmsg before a message's attributes."""

PROTOCOLS = {1: "icmp", 2: "igmp", 6: "tcp", 17: "udp", 33: "dccp", 47: "gre", 58: "icmp6", 132: "sctp", 136: "udplite"}

TraceKind = Literal["policy", "return", "rule"]
_KINDS: dict[int, TraceKind] = {1: "policy", 2: "return", 3: "rule"}
_FAMILIES = {1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"}
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


class Attributes(dict[int, bytes]):
    """A message's attributes by their number; one that is missing, or of another size than asked, is None."""

    def number(self, kind: int, size: int = 4) -> int | None:
        """An unsigned number in network byte order."""
        value = self.get(kind)
        return None if value is None or len(value) != size else int.from_bytes(value, "big")

    def text(self, kind: int) -> str:
        """A text, without its closing zero; empty if it is not there."""
        return self.get(kind, b"").rstrip(b"\0").decode("utf-8", "replace")

    def address(self, kind: int) -> str | None:
        """An IPv4 or IPv6 address."""
        value = self.get(kind, b"")
        return str(ip_address(value)) if len(value) in (4, 16) else None

    def nested(self, kind: int) -> Attributes:
        """The attributes inside this one; none if it is not there."""
        return attributes(self.get(kind, b""))


def messages(buffer: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Each netlink message of a datagram: its type, flags and payload. A torn one ends the walk."""
    offset = 0
    while offset + _HEADER.size <= len(buffer):
        length, kind, flags, _, _ = _HEADER.unpack_from(buffer, offset)
        if length < _HEADER.size or offset + length > len(buffer):
            return
        yield kind, flags, buffer[offset + _HEADER.size : offset + length]
        offset += (length + 3) & ~3


def attributes(payload: bytes, offset: int = 0) -> Attributes:
    """The attributes from `offset` on, by their number (without the nested and byte-order flags)."""
    found = Attributes()
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
    20 bytes. `family` is the table's. `id` is derived from the packet buffer's address: it is the same all through
    a pass, and used again. `ct` is None where the trace says nothing of conntrack.
    """

    id: int
    family: str
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
    id, kind = a.number(6), _KINDS.get(a.number(4) or 0)
    if id is None or kind is None or not {1, 2} <= a.keys():
        return None
    verdict, target = "", None
    if 5 in a:
        nested = a.nested(5)
        code = nested.number(1) or 0
        signed = code - (1 << 32) if code >= 1 << 31 else code & 0xFF
        verdict = _VERDICTS.get(signed, str(signed))
        target = nested.text(2) or None
    elif (policy := a.number(16)) is not None:
        verdict = _VERDICTS.get(policy & 0xFF, "")
    return TraceEvent(
        id=id,
        family=_FAMILIES.get(payload[0], ""),
        table=a.text(1),
        chain=a.text(2),
        kind=kind,
        handle=a.number(3, 8),
        verdict=verdict,
        target=target,
        network=a.get(8, b""),
        transport=a.get(9, b""),
        iif=a.number(10),
        oif=a.number(12),
        ct=_trace_conntrack(a),
    )


def _trace_conntrack(a: Attributes) -> PacketConntrack | None:
    """The CT_ attributes of Linux 6.16 and later; a status of 0 is left out (nf_trace_fill_ct_info)."""
    state = state_name(a.number(21) or 0)
    if state is None:
        return None
    id = a.number(18)
    if id is None:
        return PacketConntrack(state)
    return PacketConntrack(state, "reply" if a.number(19, 1) else "original", id, status=a.number(20) or 0)


def conntrack_entry(payload: bytes) -> Entry | None:
    """An entry from a conntrack message's payload; None if it lacks a tuple or its id."""
    a = attributes(payload, GENERATION)
    id, original, reply = a.number(12), _tuple(a.nested(1)), _tuple(a.nested(2))
    if id is None or original is None or reply is None:
        return None
    tcp = a.nested(4).nested(1).number(1, 1)
    state = TCP_STATES[tcp] if tcp is not None and tcp < len(TCP_STATES) else None
    return Entry(id, original, reply, a.number(3) or 0, state, a.number(8), a.number(18, 2), a.number(7))


def _tuple(a: Attributes) -> Tuple | None:
    ip, proto = a.nested(1), a.nested(2)
    src, dst = ip.address(1) or ip.address(3), ip.address(2) or ip.address(4)
    number = proto.number(1, 1)
    if src is None or dst is None or number is None:
        return None
    sport, dport = proto.number(2, 2), proto.number(3, 2)
    if sport is None:  # an ICMP echo's id stands for both
        sport = dport = proto.number(4, 2) if 4 in proto else proto.number(7, 2)
    return Tuple(PROTOCOLS.get(number, str(number)), src, sport, dst, dport)
