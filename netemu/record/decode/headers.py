"""Link, network and transport headers from bytes, and the key by which the same packet is recognised elsewhere."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address

from netemu.netfilter.conntrack import Tuple
from netemu.netfilter.messages import PROTOCOLS
from netemu.topology.values import endpoint_text

ETHERNET = 14
IPV4, IPV6 = 0x0800, 0x86DD
VLAN_TAGS = {0x8100, 0x88A8}
"""IEEE 802.1Q's tag and 802.1ad's, a provider bridge's."""
NETWORK_SEEN = 40
"""How many bytes of the network header the nft trace carries (NFT_TRACETYPE_NETWORK_HSIZE)."""
TRANSPORT_SEEN = 20
"""How many bytes of the transport header the nft trace carries (NFT_TRACETYPE_TRANSPORT_HSIZE)."""
MORE, OFFSET = 0x2000, 0x1FFF
"""IPv4's flag 'more fragments', and the offset in units of eight bytes (RFC 791, 3.1)."""

_TCP_FLAGS = ((0x02, "SYN"), (0x01, "FIN"), (0x04, "RST"), (0x08, "PSH"), (0x10, "ACK"), (0x20, "URG"))
_ICMP_ECHO = {("icmp", 0), ("icmp", 8), ("icmp6", 128), ("icmp6", 129)}
_EXTENSIONS, _FRAGMENT = {0, 43, 44, 51, 60}, 44
_CHECKSUM = {"tcp": 16, "udp": 6, "icmp": 2, "icmp6": 2}


@dataclass(frozen=True, slots=True)
class Headers:
    """A packet's network and transport headers. `length` is the payload's, in bytes.

    Ports are None where the protocol has none; `flags` are TCP's, in words; `icmp` is (type, code), `icmp_id` an
    echo's identifier. `fragment` is (offset in bytes, whether more follow) of a part of a packet; parts behind
    the first have no ports.
    """

    proto: str
    src: str
    dst: str
    ttl: int
    sport: int | None = None
    dport: int | None = None
    flags: str = ""
    seq: int | None = None
    ack: int | None = None
    length: int = 0
    icmp: tuple[int, int] | None = None
    icmp_id: int | None = None
    fragment: tuple[int, bool] | None = None

    @property
    def source(self) -> str:
        """Source address and port as people write them."""
        return endpoint_text(self.src, self.sport)

    @property
    def destination(self) -> str:
        """Destination address and port as people write them."""
        return endpoint_text(self.dst, self.dport)

    @property
    def tuple(self) -> Tuple:
        """The direction's tuple as conntrack has it: for an ICMP echo both ports are its id."""
        sport, dport = (self.sport, self.dport) if self.icmp_id is None else (self.icmp_id, self.icmp_id)
        return Tuple(self.proto, self.src, sport, self.dst, dport)


@dataclass(frozen=True, slots=True)
class Split:
    """A packet's network header and as much of its transport header as is there, still as bytes.

    `protocol` is the transport's number where IPv6 extension headers lie in between and it is known: a frame tells
    it, the nft trace does not. `fragment` and `ident` are what an IPv6 fragment header says: the field as IPv4 has it,
    and the identification.
    """

    network: bytes
    transport: bytes
    protocol: int | None = None
    fragment: int = 0
    ident: int = 0


def split_frame(frame: bytes) -> Split | None:
    """The IP packet in an Ethernet frame; None if there is none, or it is cut short."""
    start = ETHERNET
    if len(frame) < start:
        return None
    kind = int.from_bytes(frame[12:14], "big")
    while kind in VLAN_TAGS and len(frame) >= start + 4:
        kind = int.from_bytes(frame[start + 2 : start + 4], "big")
        start += 4
    version = frame[start] >> 4 if len(frame) > start else 0
    if kind == IPV4 and version == 4 and len(frame) >= start + 20:
        size = (frame[start] & 0xF) * 4
        end = start + int.from_bytes(frame[start + 2 : start + 4], "big")
        if size < 20 or len(frame) < start + size:
            return None
        return Split(frame[start : start + size], frame[start + size : min(end, len(frame))])
    if kind == IPV6 and version == 6 and len(frame) >= start + 40:
        end = start + 40 + int.from_bytes(frame[start + 4 : start + 6], "big")
        protocol, offset, fragment, ident = _past_extensions(frame, frame[start + 6], start + 40)
        return Split(frame[start : start + 40], frame[offset : min(end, len(frame))], protocol, fragment, ident)
    return None


def _past_extensions(frame: bytes, protocol: int, offset: int) -> tuple[int | None, int, int, int]:
    """The transport's protocol and place behind IPv6 extension headers (RFC 8200, 4); None where there are none.

    Then the fragment header's field and identification. Behind that of a later fragment is no header of any kind (4.5).
    """
    first, fragment, ident = offset, 0, 0
    while protocol in _EXTENSIONS and offset + 8 <= len(frame) and not fragment & OFFSET:
        length = 8 if protocol == _FRAGMENT else (frame[offset + 1] + 1) * 8
        if protocol == _FRAGMENT:
            field, ident = struct.unpack_from("!HI", frame, offset + 2)
            fragment = field >> 3 | (field & 1) << 13
        protocol, offset = frame[offset], offset + length
    return (protocol if offset > first else None), offset, fragment, ident


def decode(packet: Split) -> Headers | None:
    """The headers of a split packet; what a truncated one lacks stays None, no IP at all gives None."""
    network, transport = packet.network, packet.transport
    version = network[0] >> 4 if network else 0
    if version == 4 and len(network) >= 20:
        total, fragment = struct.unpack_from("!H", network, 2)[0], struct.unpack_from("!H", network, 6)[0]
        number, ttl = network[9], network[8]
        src, dst = str(IPv4Address(network[12:16])), str(IPv4Address(network[16:20]))
        size = total - (network[0] & 0xF) * 4
    elif version == 6 and len(network) >= 40:
        size, number, ttl = struct.unpack_from("!H", network, 4)[0], network[6], network[7]
        fragment = packet.fragment
        src, dst = str(IPv6Address(network[8:24])), str(IPv6Address(network[24:40]))
        if packet.protocol is not None:
            number, size = packet.protocol, len(transport)
    else:
        return None
    proto = PROTOCOLS.get(number, str(number))
    part = part_of(fragment)
    plain = Headers(proto, src, dst, ttl, length=max(size, 0), fragment=part)
    return plain if fragment & OFFSET else replace(_transport(plain, transport, size), fragment=part)


def _transport(h: Headers, data: bytes, size: int) -> Headers:
    """`h` with what its transport header says, as far as `data` reaches; `size` is the whole IP payload's."""
    if h.proto == "tcp" and len(data) >= 14:
        sport, dport, seq, ack, offset, bits = struct.unpack_from("!HHIIBB", data)
        flags = flag_words(bits)
        length = max(size - (offset >> 4) * 4, 0)
        return Headers(h.proto, h.src, h.dst, h.ttl, sport, dport, flags, seq, ack, length)
    if h.proto in ("udp", "udplite", "sctp", "dccp") and len(data) >= 8:
        sport, dport = struct.unpack_from("!HH", data)
        return Headers(h.proto, h.src, h.dst, h.ttl, sport, dport, length=max(size - 8, 0))
    if h.proto in ("icmp", "icmp6") and len(data) >= 8:
        kind, code, ident, seq = struct.unpack_from("!BBxxHH", data)
        echo = (h.proto, kind) in _ICMP_ECHO
        return Headers(
            h.proto,
            h.src,
            h.dst,
            h.ttl,
            seq=seq if echo else None,
            length=max(size - 8, 0),
            icmp=(kind, code),
            icmp_id=ident if echo else None,
        )
    return h


def part_of(fragment: int) -> tuple[int, bool] | None:
    """What IPv4's fragment field says: the offset in bytes and whether more follow; None for a whole packet."""
    return ((fragment & OFFSET) * 8, bool(fragment & MORE)) if fragment & (MORE | OFFSET) else None


def flag_words(bits: int) -> str:
    """TCP's flags in words."""
    return " ".join(name for bit, name in _TCP_FLAGS if bits & bit)


def identity(packet: Split) -> bytes:
    """The bytes by which one host's wires and hooks know the same packet.

    Both headers, zeros for their checksums (a locally made packet has a partial one until it leaves), the transport
    header cut where the nft trace cuts it. A frame that ends before its checksum is not one that has it.
    """
    network, transport = packet.network[:NETWORK_SEEN], packet.transport[:TRANSPORT_SEEN]
    if network[0] >> 4 == 4:
        number, network = network[9], network[:10] + bytes(2) + network[12:]
    else:
        number = network[6]
    where = _CHECKSUM.get(PROTOCOLS.get(number, ""))
    if where is not None:
        transport = transport[:where] + bytes(len(transport[where : where + 2])) + transport[where + 2 :]
    return network + transport
