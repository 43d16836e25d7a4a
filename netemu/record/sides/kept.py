"""What a packet keeps on its way through a NAT, as numbers: by it one packet is known on both sides.

Kept are the protocol, IPv4's id and fragment; TCP's sequence, acknowledgement, flags, window, options and payload (of a
SYN the options may change: MSS clamping); UDP's length and payload; an ICMP message's type, code, sequence and payload,
and of an ICMP error what it quotes, without the quoted addresses, ports and checksums. Addresses, ports, an echo's id,
TTL, TOS and checksums are not looked at.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np

from netemu.record.decode.packets import Packets, Places, decode_frames, locate
from netemu.record.decode.rows import AT_ONCE, Column, big_endian, digest, mix, whole_digest, windows
from netemu.record.sides.parts import part_number, parts_of, payload_size

_TCP, _UDP, _ICMP, _ICMP6 = 6, 17, 1, 58
_FRAGMENT = 44
_SYN, _ACK = 0x02, 0x10
_HEAD = 20
_QUOTED = 8
"""Where the packet begins that an ICMP error quotes."""
_ERRORS = {_ICMP: (3, 4, 5, 11, 12), _ICMP6: (1, 2, 3, 4)}


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """One row a packet. `key` is a digest of what NAT keeps; `src` and `dst` of an end's address and port.

    `src_id` and `dst_id` are the same with an echo's id as the port. An ICMP error has the ends of the packet that it
    quotes, the other way round: as conntrack, it is taken as part of that connection.

    `part` is what a datagram's fragments share (0: no fragment), `size` how many bytes of it each has; of an error that
    quotes a fragment behind the first (`quotes`) `part` is that one's. Their ends have no ports: see fragments.py.
    """

    key: Column
    src: Column
    dst: Column
    src_id: Column
    dst_id: Column
    proto: Column
    part: Column
    size: Column
    quotes: Column

    def select(self, rows: Column) -> Kept:
        """These rows alone, in the order given."""
        return Kept(**{each.name: getattr(self, each.name)[rows] for each in fields(self)})


def shortest_cut(data: Column, start: Column, end: Column) -> int | None:
    """How many bytes of the transport are there of every packet that was cut (snap length); None if none was.

    Of packets cut in their transport header nothing can be told, so they do not count.
    """
    least: int | None = None
    for begin in range(0, len(start), AT_ONCE):
        places = locate(data, start[begin : begin + AT_ONCE], end[begin : begin + AT_ONCE])
        there = places.transport_length[places.cut & (places.network_length > 0) & (places.transport_length >= _HEAD)]
        if len(there):
            least = min(int(there.min()), least if least is not None else int(there.min()))
    return least


def decode_kept(data: Column, start: Column, end: Column, most: int | None = None) -> tuple[Packets, Kept]:
    """Packets' headers, and what they keep; of each transport `most` bytes are looked at, all if None."""
    packets = decode_frames(data, start, end)
    parts = []
    for begin in range(0, max(len(start), 1), AT_ONCE):
        part = slice(begin, begin + AT_ONCE)
        places = locate(data, start[part].astype(np.int64), end[part].astype(np.int64))
        parts.append(_kept(data, packets.select(np.arange(len(packets))[part]), places, most))
    return packets, Kept(**{each.name: np.concatenate([getattr(p, each.name) for p in parts]) for each in fields(Kept)})


def _kept(data: Column, packets: Packets, places: Places, most: int | None) -> Kept:
    proto = packets.proto.astype(np.int64)
    there = np.minimum(places.transport_length, most) if most is not None else places.transport_length
    head = windows(data, places.transport, there, _HEAD).copy()
    first = (packets.fragment & 0x1FFF) == 0
    is_tcp, is_udp = first & (proto == _TCP), first & (proto == _UDP)
    is_icmp = first & ((proto == _ICMP) | (proto == _ICMP6)) & (packets.icmp >= 0)
    syn = is_tcp & ((packets.flags & _SYN) > 0)
    head[is_tcp | (packets.sport >= 0), 0:4] = 0
    head[is_tcp, 16:18] = 0
    head[syn, 12] = 0
    head[is_udp, 6:8] = 0
    head[is_icmp, 2:4] = 0
    head[is_icmp & (packets.icmp_id >= 0), 4:6] = 0
    rest = np.where(syn, 0, np.maximum(there - _HEAD, 0))
    errors = np.flatnonzero(is_icmp & _is_error(packets))
    rest[errors] = 0
    head[errors, _QUOTED:] = 0
    ident = np.where(packets.version == 4, packets.ip_id, 0).astype(np.int64)
    same = proto << 48 | packets.version.astype(np.int64) << 40 | ident << 16
    same |= packets.fragment.astype(np.int64) & 0x3FFF
    sized = np.where(syn, 0, packets.length.astype(np.int64))  # as its header says it: also of a packet that was cut
    behind = np.flatnonzero((packets.behind >= 0) & ~syn)
    sized[behind] = payload_size(data, places, behind)
    sized[errors] = 0
    key = mix(digest(head, 3) ^ mix(same.view(np.uint64) ^ sized.astype(np.uint64) << np.uint64(20), 4))
    key ^= whole_digest(data, places.transport + np.minimum(there, _HEAD), rest)
    ends = _Ends(packets, *parts_of(data, packets, places))
    if len(errors):
        key[errors] ^= ends.quoted(data, places, there, errors)
    return ends.kept(key)


def _is_error(packets: Packets) -> Column:
    kind = packets.icmp >> 8
    return ((packets.proto == _ICMP) & np.isin(kind, _ERRORS[_ICMP])) | (
        (packets.proto == _ICMP6) & np.isin(kind, _ERRORS[_ICMP6])
    )


class _Layout(NamedTuple):
    """Where in a packet that is quoted things lie.

    The end of its network header, the bytes of it that change on the way, the protocol, the source, the fragment's
    field with the bits of its offset, the id, the transport header.
    """

    network: int
    changing: list[int]
    proto: int
    src: int
    part: int
    offset: int
    ident: int
    ident_size: int
    transport: int


_FOUR = _Layout(20, [1, 8, 10, 11], 9, 12, 6, 0x1FFF, 4, 2, 20)
_SIX = _Layout(40, [1, 7], 6, 8, 4, 0, 4, 2, 40)
_SIX_IN_PARTS = _Layout(40, [1, 7], 40, 8, 42, 0xFFF8, 44, 4, 48)


class _Ends:
    """Each packet's two ends, which an ICMP error takes from what it quotes."""

    def __init__(self, packets: Packets, part: Column, size: Column) -> None:
        self.high = [packets.src_high.copy(), packets.dst_high.copy()]
        self.low = [packets.src_low.copy(), packets.dst_low.copy()]
        self.port = [packets.sport.astype(np.int64), packets.dport.astype(np.int64)]
        self.id = packets.icmp_id.astype(np.int64)
        self.proto = packets.proto.astype(np.int64)
        self.part, self.size = part, size
        self.quotes = np.zeros(len(packets), np.bool_)

    def quoted(self, data: Column, places: Places, there: Column, rows: Column) -> Column:
        """Put the ends of quoted packets in the errors' places; a digest of what a quoted packet keeps."""
        room = np.maximum(there[rows] - _QUOTED, 0)
        at = places.transport[rows] + np.minimum(there[rows], _QUOTED)
        head = windows(data, at, room, 8)
        six, cut_up = head[:, 0] >> 4 == 6, head[:, 6] == _FRAGMENT
        kept = np.zeros(len(rows), np.uint64)
        for is_it, there_is in ((head[:, 0] == 0x45, _FOUR), (six & ~cut_up, _SIX), (six & cut_up, _SIX_IN_PARTS)):
            mine = np.flatnonzero(is_it & (room >= there_is.transport + 8))
            row = rows[mine]
            whole = windows(data, at[mine], room[mine], there_is.transport + 8)
            proto = whole[:, there_is.proto].astype(np.int64)
            later = (big_endian(whole, there_is.part, 2) & there_is.offset) != 0
            self._take(row, whole, there_is, proto, later)
            seen = whole.copy()
            seen[:, there_is.src : there_is.network] = 0
            seen[:, there_is.changing] = 0
            begins = there_is.transport
            with_ports, echo = np.isin(proto, (_TCP, _UDP)) & ~later, np.isin(proto, (_ICMP, _ICMP6)) & ~later
            seen[with_ports, begins : begins + 4] = 0
            seen[with_ports & (proto == _UDP), begins + 6 : begins + 8] = 0
            seen[echo, begins + 2 : begins + 6] = 0
            kept[mine] = digest(seen, 5)
        return kept

    def _take(self, row: Column, whole: Column, there_is: _Layout, proto: Column, later: Column) -> None:
        """The ends of packets that errors in these rows quote, the other way round."""
        size = (there_is.network - there_is.src) // 2
        halves = []
        for side, place in ((1, there_is.src), (0, there_is.src + size)):
            high = _number(whole, place, 8) if size == 16 else np.zeros(len(row), np.uint64)
            halves += [high, _number(whole, place + size - min(size, 8), min(size, 8))]
            self.high[side][row], self.low[side][row] = halves[-2:]
        ident = _number(whole, there_is.ident, there_is.ident_size)
        number = part_number(whole[:, 0] >> 4, proto if size == 4 else proto * 0, ident, tuple(halves))
        self.part[row], self.quotes[row] = np.where(later, number, np.uint64(0)), later
        with_ports, echo = np.isin(proto, (_TCP, _UDP)) & ~later, np.isin(proto, (_ICMP, _ICMP6)) & ~later
        for side, place in ((1, 0), (0, 2)):
            port = _number(whole, there_is.transport + place, 2).astype(np.int64)
            self.port[side][row] = np.where(with_ports, port, -1)
        self.id[row] = np.where(echo, _number(whole, there_is.transport + 4, 2).astype(np.int64), -1)
        self.proto[row] = proto

    def kept(self, key: Column) -> Kept:
        """All of it together; in the ends the protocol is the connection's."""
        kind = mix(self.proto.view(np.uint64), 6)
        addresses = [mix(mix(high) + low, 1) ^ kind for high, low in zip(self.high, self.low, strict=True)]
        src, dst = (mix(a + p.view(np.uint64), 2) for a, p in zip(addresses, self.port, strict=True))
        ids = [np.where(self.id >= 0, self.id, port) for port in self.port]
        src_id, dst_id = (mix(a + p.view(np.uint64), 2) for a, p in zip(addresses, ids, strict=True))
        return Kept(key, src, dst, src_id, dst_id, self.proto, self.part, self.size, self.quotes)


def _number(matrix: Column, place: int, size: int) -> Column:
    total = np.zeros(len(matrix), np.uint64)
    for byte in range(size):
        total = total << np.uint64(8) | matrix[:, place + byte]
    return total
