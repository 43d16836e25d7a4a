"""Link, network and transport headers of many packets at once, as columns.

`headers.py` says the same of one packet, plainly; a test holds the two against each other, on random and on damaged
frames. Nothing raises: a frame that is cut short or makes no sense has the columns that it can have, and a mark.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from ipaddress import IPv4Address, IPv6Address

import numpy as np

from netemu.netfilter.messages import PROTOCOLS
from netemu.record.decode.headers import (
    ETHERNET,
    IPV4,
    IPV6,
    NETWORK_SEEN,
    OFFSET,
    TRANSPORT_SEEN,
    VLAN_TAGS,
    Headers,
    flag_words,
    part_of,
)
from netemu.record.decode.regular import regular_frames, regular_splits, seen_lengths
from netemu.record.decode.rows import (
    AT_ONCE,
    Column,
    big_endian,
    chosen,
    concatenated,
    constant,
    digest,
    is_constant,
    same,
    windows,
)

WHOLE, OTHER, TRUNCATED, MALFORMED = range(4)
"""A packet's mark: all there; no IP at all (kept as bytes); cut short; headers that contradict themselves."""
VXLAN_PORT = 4789
VXLAN_HEADER = 8
EXTENSIONS = (0, 43, 44, 51, 60)
"""IPv6's extension headers that are stepped over (RFC 8200, 4)."""

_TCP, _ICMP, _ICMP6 = 6, 1, 58
_WITH_PORTS = (17, 33, 132, 136)
_FRAGMENT = 44
_CHECKSUM_AT = {6: 16, 17: 6, 1: 2, 58: 2}
_KINDS: dict[str, type[np.generic]] = {
    "mark": np.uint8,
    "ethertype": np.uint16,
    "vlan": np.int32,
    "version": np.uint8,
    "proto": np.int16,
    "src_high": np.uint64,
    "src_low": np.uint64,
    "dst_high": np.uint64,
    "dst_low": np.uint64,
    "ttl": np.uint8,
    "ip_id": np.uint32,
    "fragment": np.uint16,
    "sport": np.int32,
    "dport": np.int32,
    "flags": np.uint8,
    "seq": np.int64,
    "ack": np.int64,
    "length": np.int32,
    "icmp": np.int32,
    "icmp_id": np.int32,
    "behind": np.int16,
    "key": np.uint64,
}
_NONE = {"vlan", "proto", "sport", "dport", "seq", "ack", "icmp", "icmp_id", "behind"}


@dataclass(frozen=True, slots=True)
class Packets:
    """One row a packet; -1 where a packet has none. `version` is 0 where there is no whole IP header.

    Addresses are 128 bits in two halves, an IPv4 address in the lower one. `vlan` is the outermost tag's control
    information. `fragment` is IPv4's flags and offset, IPv6's as IPv4 would have them; `ip_id` the identification,
    which in IPv6 only fragments have. `icmp` is type * 256 + code. `behind` is the protocol behind IPv6 extension
    headers. `key` is a digest of what one host's wires and hooks know a packet by (headers.identity).
    """

    mark: Column
    ethertype: Column
    vlan: Column
    version: Column
    proto: Column
    src_high: Column
    src_low: Column
    dst_high: Column
    dst_low: Column
    ttl: Column
    ip_id: Column
    fragment: Column
    sport: Column
    dport: Column
    flags: Column
    seq: Column
    ack: Column
    length: Column
    icmp: Column
    icmp_id: Column
    behind: Column
    key: Column

    def __len__(self) -> int:
        return len(self.mark)

    def headers(self, row: int) -> Headers | None:
        """One packet's headers; None where there is no whole IP header."""
        if not self.version[row]:
            return None
        src, dst = (
            _address(int(self.version[row]), int(high[row]), int(low[row]))
            for high, low in ((self.src_high, self.src_low), (self.dst_high, self.dst_low))
        )
        number, icmp = int(self.proto[row]), int(self.icmp[row])
        return Headers(
            PROTOCOLS.get(number, str(number)),
            src,
            dst,
            int(self.ttl[row]),
            _some(self.sport[row]),
            _some(self.dport[row]),
            flag_words(int(self.flags[row])),
            _some(self.seq[row]),
            _some(self.ack[row]),
            int(self.length[row]),
            divmod(icmp, 256) if icmp >= 0 else None,
            _some(self.icmp_id[row]),
            part_of(int(self.fragment[row])),
        )

    def select(self, rows: Column) -> Packets:
        """These rows alone, in the order given."""
        return Packets(**{each.name: chosen(getattr(self, each.name), rows) for each in fields(self)})


def concatenate(parts: list[Packets]) -> Packets:
    """The rows of all parts, one after another. What is the same in all of them takes no memory, and is read-only."""
    some = [part for part in parts if len(part)]
    if not some:
        return empty(0)
    return Packets(**{name: concatenated([getattr(each, name) for each in some], to) for name, to in _KINDS.items()})


def empty(count: int) -> Packets:
    """As many rows, of which nothing is known yet."""
    return Packets(**{n: np.full(count, -1 if n in _NONE else 0, kind) for n, kind in _KINDS.items()})


_NOBODY = empty(0)
"""The odd packets where there are none."""


def address_text(version: int, high: int, low: int) -> str:
    """An address as people write it."""
    return _address(version, high, low)


def _address(version: int, high: int, low: int) -> str:
    return str(IPv4Address(low)) if version == 4 else str(IPv6Address(high << 64 | low))


def _some(value: np.integer) -> int | None:
    return int(value) if value >= 0 else None


@dataclass(frozen=True, slots=True)
class Places:
    """Where each frame's headers are in the flat buffer: start and length of both; no length, no header.

    `cut` tells that bytes are missing at the end, `wrong` that the headers contradict themselves. `fragment` and
    `ident` are what an IPv6 fragment header says (headers.Split); 0 without one.
    """

    network: Column
    network_length: Column
    transport: Column
    transport_length: Column
    behind: Column
    ethertype: Column
    vlan: Column
    cut: Column
    wrong: Column
    fragment: Column
    ident: Column


def decode_frames(data: Column, starts: Column, ends: Column) -> Packets:
    """The Ethernet frames that lie in a flat buffer, each from its start to its end."""
    return concatenate(list(decoded_in_parts(data, starts, ends)))


def decoded_in_parts(data: Column, starts: Column, ends: Column, *, keys: bool = True) -> Iterator[Packets]:
    """The same, AT_ONCE frames after the other. Without `keys`, by which hooks alone are joined, these are 0."""
    for begin in range(0, len(starts), AT_ONCE):
        first, end = (each[begin : begin + AT_ONCE].astype(np.int64, copy=False) for each in (starts, ends))
        mine, columns = regular_frames(data, first, end, keys=keys)
        others, odd = np.flatnonzero(~mine), _NOBODY
        if len(others):
            odd = empty(len(others))
            places = locate(data, first[others], end[others])
            odd.ethertype[:], odd.vlan[:] = places.ethertype, places.vlan
            _decode(odd, slice(None), data, places)
            if not keys:
                odd.key[:] = 0
        yield _together(mine, columns, others, odd)


def decode_splits(
    data: Column,
    network: Column,
    network_length: Column,
    transport: Column,
    transport_length: Column,
    behind: Column | None = None,
    fragment: Column | None = None,
    ident: Column | None = None,
) -> Packets:
    """Packets whose network and transport headers lie apart, as the nft trace gives them.

    `behind` is each one's protocol behind IPv6 extension headers, where that is known from elsewhere (-1: none);
    `fragment` and `ident` are what a fragment header there says.
    """
    found = []
    given = (network, network_length, transport, transport_length)
    for begin in range(0, len(network), AT_ONCE):
        part = slice(begin, begin + AT_ONCE)
        mine, columns = regular_splits(data, *(each[part].astype(np.int64, copy=False) for each in given))
        others, odd = np.flatnonzero(~mine), _NOBODY
        if len(others):
            odd = empty(len(others))
            starts, size, transports, there = (each[part][others].astype(np.int64) for each in given)
            none = np.zeros(len(others), np.int64)
            told = none - 1 if behind is None else behind[part][others].astype(np.int64)
            parts = (none if each is None else each[part][others].astype(np.int64) for each in (fragment, ident))
            places = Places(starts, size, transports, there, told, none, none - 1, none > 0, none > 0, *parts)
            _decode(odd, slice(None), data, places)
        found.append(_together(mine, columns, others, odd))
    return concatenate(found)


def _together(mine: Column, columns: dict[str, Column], others: Column, odd: Packets) -> Packets:
    """The packets that are regular and the others, in their order."""
    found: dict[str, Column] = {}
    for name, kind in _KINDS.items():
        column = columns.get(name)
        if column is None:
            column = constant(-1 if name in _NONE else 0, kind, len(mine) - len(others))
        if len(others):
            both = np.empty(len(mine), kind)
            both[mine], both[others] = column, getattr(odd, name)
            column = both
        elif len(column) and not is_constant(column) and same(column):
            column = constant(column[0], kind, len(column))
        found[name] = column
    return Packets(**found)


def locate(data: Column, starts: Column, ends: Column) -> Places:
    """Step over link headers, VLAN tags and IPv6 extension headers."""
    size = ends - starts
    link = windows(data, starts, size, ETHERNET + 4)
    kind = np.where(size >= ETHERNET, big_endian(link, 12, 2), 0).astype(np.int64)
    at = starts + ETHERNET
    tagged = np.flatnonzero(np.isin(kind, list(VLAN_TAGS)) & (ends >= at + 4))
    vlan = np.full(len(starts), -1, np.int64)
    vlan[tagged] = big_endian(link[tagged], 14, 2)
    while len(tagged):
        kind[tagged] = data[at[tagged] + 2].astype(np.int64) << 8 | data[at[tagged] + 3]
        at[tagged] += 4
        tagged = tagged[np.isin(kind[tagged], list(VLAN_TAGS)) & (ends[tagged] >= at[tagged] + 4)]
    room = np.maximum(ends - at, 0)
    head = windows(data, at, room, 8)
    version = head[:, 0] >> 4
    is4 = (kind == IPV4) & (version == 4) & (room >= 20)
    is6 = (kind == IPV6) & (version == 6) & (room >= 40)
    words = (head[:, 0] & 0xF).astype(np.int64) * 4
    is4 &= (words >= 20) & (room >= words)
    length = np.where(is4, words, np.where(is6, 40, 0))
    said = np.where(is4, big_endian(head, 2, 2), np.where(is6, big_endian(head, 4, 2) + np.int64(40), 0))
    behind, transport, fragment, ident = _past_extensions(data, np.where(is6, head[:, 6], -1), at + length, ends)
    stop = np.minimum(at + said, ends)
    is_ip = (kind == IPV4) | (kind == IPV6)
    wrong = is_ip & (room > 0) & (version != np.where(kind == IPV4, 4, 6))
    wrong |= is4 & (said < length)
    wrong |= (kind == IPV4) & (version == 4) & (room > 0) & (words < 20)
    cut = ((is_ip & (length == 0)) | ((length > 0) & (at + said > ends)) | (size < ETHERNET)) & ~wrong
    cut |= np.isin(kind, list(VLAN_TAGS))
    there = np.where(length > 0, np.maximum(stop - transport, 0), 0)
    return Places(at, length, transport, there, behind, kind, vlan, cut, wrong, fragment, ident)


def _past_extensions(
    data: Column, protocol: Column, offset: Column, ends: Column
) -> tuple[Column, Column, Column, Column]:
    """The transport's protocol (-1 without extension headers) and place behind IPv6 extension headers (RFC 8200, 4).

    Then the fragment header's field and identification. Behind that of a later fragment is no header of any kind (4.5).
    """
    protocol, first = protocol.astype(np.int64), offset
    offset = offset.copy()
    fragment, ident = np.zeros((2, len(offset)), np.int64)
    more = np.flatnonzero(np.isin(protocol, EXTENSIONS) & (offset + 8 <= ends))
    while len(more):
        at, parts = offset[more], protocol[more] == _FRAGMENT
        if parts.any():
            head = windows(data, at[parts], np.full(int(parts.sum()), 8), 8)
            field = big_endian(head, 2, 2).astype(np.int64)
            fragment[more[parts]] = field >> 3 | (field & 1) << 13
            ident[more[parts]] = big_endian(head, 4, 4)
        length = np.where(parts, 8, (data[at + 1].astype(np.int64) + 1) * 8)
        protocol[more] = data[at]
        offset[more] += length
        goes_on = np.isin(protocol[more], EXTENSIONS) & ((fragment[more] & OFFSET) == 0)
        more = more[goes_on & (offset[more] + 8 <= ends[more])]
    return np.where(offset > first, protocol, -1), offset, fragment, ident


def _decode(found: Packets, part: slice, data: Column, places: Places) -> None:
    """Fill in one part's rows."""
    longest = int(places.network_length.max(initial=0))
    network = windows(data, places.network, places.network_length, NETWORK_SEEN if longest > 20 else 20)
    transport = windows(data, places.transport, places.transport_length, TRANSPORT_SEEN)
    version = network[:, 0] >> 4
    is4 = (version == 4) & (places.network_length >= 20)
    is6 = (version == 6) & (places.network_length >= 40)
    behind = np.where(is6, places.behind, -1)
    number = np.where(is4, network[:, 9], network[:, 6]).astype(np.int16)
    network[is4, 10:12] = 0
    found.key[part] = _identity(network, transport, number, places)
    fragment = np.where(is4, big_endian(network, 6, 2), places.fragment)
    words = (network[:, 0] & 0xF).astype(np.int64) * 4
    size = np.where(is4, big_endian(network, 2, 2) - words, big_endian(network, 4, 2)).astype(np.int64)
    size = np.where(behind >= 0, places.transport_length, size)
    number = np.where(behind >= 0, behind, number).astype(np.int16)
    is_ip = is4 | is6
    found.version[part] = np.where(is4, 4, np.where(is6, 6, 0))
    found.proto[part] = np.where(is_ip, number, -1)
    found.behind[part] = behind
    found.ttl[part] = np.where(is4, network[:, 8], np.where(is6, network[:, 7], 0))
    found.ip_id[part] = np.where(is4, big_endian(network, 4, 2), places.ident)
    found.fragment[part] = fragment
    for side, place in (("src", 12), ("dst", 16)):
        getattr(found, f"{side}_low")[part] = np.where(is4, big_endian(network, place, 4), 0)
    if is6.any():
        for side, place in (("src", 8), ("dst", 24)):
            getattr(found, f"{side}_high")[part] = np.where(is6, big_endian(network, place, 8), 0)
            low = getattr(found, f"{side}_low")[part]
            low[is6] = big_endian(network, place + 8, 8)[is6]
    told = is_ip & ((fragment & OFFSET) == 0)
    overhead = _transport(found, part, transport, told, number, places.transport_length)
    found.length[part] = np.where(is_ip, np.maximum(size - overhead, 0), 0)
    needed = np.where(number == _TCP, 14, np.where(np.isin(number, (*_WITH_PORTS, _ICMP, _ICMP6)), 8, 0))
    cut = (places.cut & ~is_ip) | (is_ip & (places.cut | (told & (places.transport_length < needed))))
    mark = np.where(is_ip, WHOLE, OTHER)
    found.mark[part] = np.where(places.wrong, MALFORMED, np.where(cut, TRUNCATED, mark))


def _transport(found: Packets, part: slice, transport: Column, told: Column, number: Column, there: Column) -> Column:
    """Fill in the transport's columns; how many bytes of each payload are the transport's header."""
    is_tcp = told & (number == _TCP) & (there >= 14)
    ports = told & np.isin(number, _WITH_PORTS) & (there >= 8)
    is_icmp = told & ((number == _ICMP) | (number == _ICMP6)) & (there >= 8)
    one, other = big_endian(transport, 0, 2), big_endian(transport, 2, 2)
    with_ports = is_tcp | ports
    found.sport[part] = np.where(with_ports, one, np.int32(-1))
    found.dport[part] = np.where(with_ports, other, np.int32(-1))
    found.flags[part] = np.where(is_tcp, transport[:, 13], 0)
    kind = transport[:, 0]
    echo = is_icmp & np.where(number == _ICMP, (kind == 0) | (kind == 8), (kind == 128) | (kind == 129))
    sequence = np.where(echo, big_endian(transport, 6, 2), np.int64(-1))
    found.seq[part] = np.where(is_tcp, big_endian(transport, 4, 4), sequence)
    found.ack[part] = np.where(is_tcp, big_endian(transport, 8, 4), np.int64(-1))
    found.icmp[part] = np.where(is_icmp, one, np.int32(-1))
    found.icmp_id[part] = np.where(echo, big_endian(transport, 4, 2), np.int32(-1))
    return np.where(is_tcp, (transport[:, 12] >> 4).astype(np.int64) * 4, np.where(ports | is_icmp, 8, 0))


def _identity(network: Column, transport: Column, number: Column, places: Places) -> Column:
    """headers.identity as a digest: both headers without their checksums, and how long they are."""
    bare = np.concatenate([network[:, :20], transport], axis=1)
    for protocol, where in _CHECKSUM_AT.items():
        bare[number == protocol, 20 + where : 22 + where] = 0
    found = digest(bare, 1) ^ seen_lengths(places.network_length, places.transport_length)
    longer = np.flatnonzero(places.network_length > 20)
    found[longer] ^= digest(network[longer, 20:], 2)
    return found
