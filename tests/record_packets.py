"""Packets as the bytes that they are on a wire and at a hook, for scenes: headers, checksums, fragments.

Written out by hand on purpose: the scene is the kernel's side.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from ipaddress import ip_address
from itertools import pairwise

from netemu.netfilter.conntrack import Tuple

NUMBERS = {"icmp": 1, "igmp": 2, "tcp": 6, "udp": 17, "icmp6": 58}
FLAGS = {"FIN": 1, "SYN": 2, "RST": 4, "PSH": 8, "ACK": 16, "URG": 32}
MACS = bytes.fromhex("020000000002") + bytes.fromhex("020000000001")


def endpoint(text: str) -> tuple[str, int]:
    """`192.168.0.1:80` or `[fd00::1]:80`, taken apart; port 0 where there is none."""
    if text.startswith("["):
        address, _, port = text[1:].partition("]:")
    else:
        address, _, port = text.partition(":") if text.count(":") == 1 else (text, "", "0")
    return str(ip_address(address)), int(port or 0)


def checksum(data: bytes) -> int:
    """The internet checksum (RFC 1071)."""
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@dataclass(frozen=True)
class Packet:
    """One IP packet; `but` gives the same packet with something rewritten. Checksums are computed on the way out."""

    proto: str
    src: str
    dst: str
    ttl: int = 64
    flags: str = ""
    seq: int = 0
    ack: int = 0
    payload: bytes = b""
    ip_id: int = 0
    icmp: tuple[int, int] = (8, 0)
    options: bytes = b""
    tos: int = 0
    extensions: tuple[int, bytes] = (0, b"")
    """IPv6's: the first one's number, and all of them. The trace shows neither them nor the transport's protocol."""
    part: tuple[int, int] | None = None
    """From where to where in the transport's bytes it goes, if it is a fragment; `ip_id` is its id."""
    to_all: bool = False
    """Whether its frames bear a group's MAC address."""

    def but(self, **changes) -> Packet:
        return replace(self, **changes)

    @property
    def tuple(self) -> Tuple:
        (src, sport), (dst, dport) = endpoint(self.src), endpoint(self.dst)
        return Tuple(self.proto, src, sport, dst, dport)

    @property
    def transport(self) -> bytes:
        return self.whole if self.part is None else self.whole[self.part[0] : self.part[1]]

    @property
    def traced(self) -> tuple[bytes, bytes]:
        """The network's and the transport's header as the trace has them (of IPv6's later fragments: see there)."""
        if self.part is not None and self.part[0] and self.network[0] >> 4 == 6:
            return b"", self.network[:20]
        return self.network[:40], self.transport[:20]

    @property
    def ahead(self) -> tuple[int, bytes]:
        """IPv6's extension headers, a fragment's among them."""
        if self.part is None:
            return self.extensions
        field = self.part[0] | (self.part[1] < len(self.whole))
        return 44, struct.pack("!BBHI", NUMBERS[self.proto], 0, field, self.ip_id)

    @property
    def whole(self) -> bytes:
        """The transport's header and payload of the whole packet."""
        (src, sport), (dst, dport) = endpoint(self.src), endpoint(self.dst)
        if self.proto == "tcp":
            flags = sum(FLAGS[word] for word in self.flags.split())
            head = struct.pack("!HHIIBBHHH", sport, dport, self.seq, self.ack, 5 << 4, flags, 64240, 0, 0)
            where = 16
        elif self.proto == "udp":
            head, where = struct.pack("!HHHH", sport, dport, 8 + len(self.payload), 0), 6
        elif self.proto in ("icmp", "icmp6"):
            head, where = struct.pack("!BBHHH", *self.icmp, 0, sport, self.seq), 2
        else:
            return self.payload
        whole = head + self.payload
        pseudo = ip_address(src).packed + ip_address(dst).packed + struct.pack("!HH", NUMBERS[self.proto], len(whole))
        total = checksum(whole if self.proto == "icmp" else pseudo + whole)
        return whole[:where] + struct.pack("!H", total) + whole[where + 2 :]

    @property
    def network(self) -> bytes:
        src, dst = ip_address(endpoint(self.src)[0]), ip_address(endpoint(self.dst)[0])
        size, number = len(self.transport), NUMBERS[self.proto]
        if src.version == 6:
            first, ahead = self.ahead
            size, number = size + len(ahead), first if ahead else number
            return struct.pack("!IHBB", 6 << 28, size, number, self.ttl) + src.packed + dst.packed
        words = 5 + len(self.options) // 4
        field = 0x4000
        if self.part is not None:
            field = self.part[0] // 8 | (0x2000 if self.part[1] < len(self.whole) else 0)
        head = struct.pack(
            "!BBHHHBBH", 4 << 4 | words, self.tos, words * 4 + size, self.ip_id, field, self.ttl, number, 0
        )
        whole = head + src.packed + dst.packed + self.options
        return whole[:10] + struct.pack("!H", checksum(whole)) + whole[12:]

    @property
    def _between(self) -> bytes:
        return self.ahead[1] if self.network[0] >> 4 == 6 else b""

    def frame(self, tags: bytes = b"") -> bytes:
        """The Ethernet frame, as long as the shortest that a wire carries."""
        kind = b"\x86\xdd" if self.network[0] >> 4 == 6 else b"\x08\x00"
        return (
            bytes([MACS[0] | self.to_all]) + MACS[1:] + tags + kind + self.network + self._between + self.transport
        ).ljust(60, b"\0")


def tcp(src: str, dst: str, flags: str = "SYN", **more) -> Packet:
    return Packet("tcp", src, dst, flags=flags, **more)


def udp(src: str, dst: str, payload: bytes = b"", **more) -> Packet:
    return Packet("udp", src, dst, payload=payload, **more)


def parts(packet: Packet, *cuts: int) -> list[Packet]:
    """A packet's fragments, cut at these bytes of its transport header and payload (multiples of eight)."""
    edges = [0, *cuts, len(packet.transport)]
    return [packet.but(part=both) for both in pairwise(edges)]


def echo(src: str, dst: str, ident: int, seq: int = 1, **more) -> Packet:
    """An ICMP echo request; its id stands where other protocols have a source port."""
    return Packet("icmp", f"{src}:{ident}", dst, seq=seq, payload=b"x" * 8, **more)


def echo_reply(src: str, dst: str, ident: int, seq: int = 1, **more) -> Packet:
    return echo(src, dst, ident, seq, icmp=(0, 0), **more)


def icmp_error(src: str, dst: str, code: int, quoted: Packet, **more) -> Packet:
    """Destination unreachable, quoting the packet that it is about."""
    return Packet("icmp", src, dst, icmp=(3, code), payload=quoted.network + quoted.transport[:8], **more)
