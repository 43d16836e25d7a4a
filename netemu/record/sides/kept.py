"""What a packet keeps on its way through a NAT, as numbers: by it one packet is known on both sides.

Kept are the protocol, IP id and fragment; TCP's sequence, acknowledgement, flags, window, options and payload (of a
SYN the options may change: MSS clamping); UDP's length and payload; an ICMP message's type, code, sequence and payload,
and of an ICMP error what it quotes, without the quoted addresses, ports and checksums. Addresses, ports, an echo's id,
TTL, TOS and checksums are not looked at.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from netemu.record.decode.packets import Packets, Places, decode_frames, locate
from netemu.record.decode.rows import AT_ONCE, Column, digest, mix, whole_digest, windows

_TCP, _UDP, _ICMP, _ICMP6 = 6, 17, 1, 58
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
    """

    key: Column
    src: Column
    dst: Column
    src_id: Column
    dst_id: Column
    proto: Column

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
    same = proto << 48 | packets.version.astype(np.int64) << 40 | packets.ip_id.astype(np.int64) << 16
    same |= packets.fragment.astype(np.int64) & 0x3FFF
    sized = np.where(syn, 0, packets.length.astype(np.int64))  # as its header says it: also of a packet that was cut
    sized[errors] = 0
    key = mix(digest(head, 3) ^ mix(same.view(np.uint64) ^ sized.astype(np.uint64) << np.uint64(20), 4))
    key ^= whole_digest(data, places.transport + np.minimum(there, _HEAD), rest)
    ends = _Ends(packets)
    if len(errors):
        key[errors] ^= ends.quoted(data, places, there, errors)
    return ends.kept(key)


def _is_error(packets: Packets) -> Column:
    kind = packets.icmp >> 8
    return ((packets.proto == _ICMP) & np.isin(kind, _ERRORS[_ICMP])) | (
        (packets.proto == _ICMP6) & np.isin(kind, _ERRORS[_ICMP6])
    )


class _Ends:
    """Each packet's two ends, which an ICMP error takes from what it quotes."""

    def __init__(self, packets: Packets) -> None:
        self.high = [packets.src_high.copy(), packets.dst_high.copy()]
        self.low = [packets.src_low.copy(), packets.dst_low.copy()]
        self.port = [packets.sport.astype(np.int64), packets.dport.astype(np.int64)]
        self.id = packets.icmp_id.astype(np.int64)
        self.proto = packets.proto.astype(np.int64)

    def quoted(self, data: Column, places: Places, there: Column, rows: Column) -> Column:
        """Put the ends of quoted packets in the errors' places; a digest of what a quoted packet keeps."""
        room = np.maximum(there[rows] - _QUOTED, 0)
        at = places.transport[rows] + np.minimum(there[rows], _QUOTED)
        inner = windows(data, at, room, 48).astype(np.uint64)
        kept = np.zeros(len(rows), np.uint64)
        for version, size, proto_at, addresses in ((4, 20, 9, 4), (6, 40, 6, 16)):
            mine = np.flatnonzero((inner[:, 0] >> np.uint64(4) == version) & (room >= size + 8))
            if version == 4:
                mine = mine[inner[mine, 0] == 0x45]
            some, row = inner[mine], rows[mine]
            proto = some[:, proto_at].astype(np.int64)
            begins = size - 2 * addresses
            whole = windows(data, at[mine], room[mine], size + 8)
            for side, place in ((1, begins), (0, begins + addresses)):
                self.high[side][row] = _number(whole, place, 8) if version == 6 else 0
                self.low[side][row] = _number(whole, place + addresses - min(addresses, 8), min(addresses, 8))
            with_ports = np.isin(proto, (_TCP, _UDP))
            self.port[1][row] = np.where(with_ports, _number(whole, size, 2).astype(np.int64), -1)
            self.port[0][row] = np.where(with_ports, _number(whole, size + 2, 2).astype(np.int64), -1)
            echo = np.isin(proto, (_ICMP, _ICMP6))
            self.id[row] = np.where(echo, _number(whole, size + 4, 2).astype(np.int64), -1)
            self.proto[row] = proto
            seen = whole.copy()
            seen[:, begins:size] = 0
            seen[:, 1] = 0
            if version == 4:
                seen[:, 8], seen[:, 10:12] = 0, 0
            else:
                seen[:, 7] = 0
            seen[with_ports, size : size + 4] = 0
            seen[proto == _UDP, size + 6 : size + 8] = 0
            seen[echo, size + 2 : size + 6] = 0
            kept[mine] = digest(seen, 5)
        return kept

    def kept(self, key: Column) -> Kept:
        """All of it together; in the ends the protocol is the connection's."""
        kind = mix(self.proto.view(np.uint64), 6)
        addresses = [mix(mix(high) + low, 1) ^ kind for high, low in zip(self.high, self.low, strict=True)]
        src, dst = (mix(a + p.view(np.uint64), 2) for a, p in zip(addresses, self.port, strict=True))
        ids = [np.where(self.id >= 0, self.id, port) for port in self.port]
        src_id, dst_id = (mix(a + p.view(np.uint64), 2) for a, p in zip(addresses, ids, strict=True))
        return Kept(key, src, dst, src_id, dst_id, self.proto)


def _number(matrix: Column, place: int, size: int) -> Column:
    total = np.zeros(len(matrix), np.uint64)
    for byte in range(size):
        total = total << np.uint64(8) | matrix[:, place + byte]
    return total
