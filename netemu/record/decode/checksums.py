"""Whether checksums are right, of many packets at once: IPv4's header's, and TCP's, UDP's, ICMP's and IGMP's.

The internet checksum is the one's complement of the one's complement sum of 16-bit words (RFC 1071); TCP's, UDP's and
ICMPv6's count in a pseudo-header of addresses, length and protocol (RFC 9293, 3.1; RFC 768; RFC 8200, 8.1). Nothing is
computed before somebody asks. tests/record_checksums_plain.py says the same of one packet.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from netemu.record.capture import UNFINISHED, VOUCHED
from netemu.record.decode.headers import IPV4, IPV6, MORE, OFFSET
from netemu.record.decode.packets import Places, locate
from netemu.record.decode.rows import AT_ONCE, Column, big_endian, stable_order, windows

NONE, RIGHT, WRONG, ABSENT, OPEN, UNKNOWN = range(6)
WORDS = (None, "right", "wrong", "absent", "unfinished", "unknown")
"""By those numbers. None: the protocol has no such checksum, or none that is looked at (SCTP's). `absent`: UDP's that
its sender left out, as 0. `unfinished`: it holds the pseudo-header's sum alone, or the kernel says so: a device that
sends the packet on a wire computes it. `unknown`: a part of a packet, or not all of it was captured."""

_ICMP, _IGMP, _TCP, _UDP, _ICMP6 = 1, 2, 6, 17, 58
_FIELD = {_TCP: 16, _UDP: 6, _ICMP: 2, _IGMP: 2, _ICMP6: 2}
_LEAST = {_TCP: 20, _UDP: 8, _ICMP: 4, _IGMP: 4, _ICMP6: 4}
LOOKED_AT = tuple(_FIELD)
"""The protocols whose checksums are looked at."""
_PART = 1 << 12
"""Rows whose checksums are computed together: who asks for one asks for its neighbours next."""
_LONGEST = 60
"""Bytes of an IPv4 header at most."""


class Checksums(NamedTuple):
    """One row a packet, by WORDS: of its IPv4 header, and of what it carries."""

    ip: Column
    carried: Column


class OnDemand:
    """Checksums of so many rows, computed when somebody asks: _PART by each `part(begin, end)`, and kept."""

    def __init__(self, rows: int, part: Callable[[int, int], Checksums]) -> None:
        self._rows = rows
        self._compute = part
        self._kept: dict[int, Checksums] = {}

    def of(self, rows: Column) -> Checksums:
        """Those of many rows."""
        ip, carried = np.full(len(rows), NONE, np.uint8), np.full(len(rows), NONE, np.uint8)
        parts = rows // _PART
        for part in np.unique(parts).tolist():
            here = np.flatnonzero(parts == part)
            ip[here], carried[here] = (column[rows[here] - part * _PART] for column in self._part(part))
        return Checksums(ip, carried)

    def one(self, row: int) -> tuple[int, int]:
        """Those of one row."""
        part, place = divmod(row, _PART)
        found = self._part(part)
        return int(found.ip[place]), int(found.carried[place])

    def _part(self, part: int) -> Checksums:
        if part not in self._kept:
            begin = part * _PART
            self._kept[part] = self._compute(begin, min(begin + _PART, self._rows))
        return self._kept[part]


def frame_checksums(data: Column, starts: Column, ends: Column, status: Column) -> Checksums:
    """Of Ethernet frames that lie in a flat buffer; `status` is what the kernel said of each (Frames.status)."""
    parts = [Checksums(np.empty(0, np.uint8), np.empty(0, np.uint8))]
    for begin in range(0, len(starts), AT_ONCE):
        part = slice(begin, begin + AT_ONCE)
        parts.append(_of(data, starts[part].astype(np.int64), ends[part].astype(np.int64), status[part]))
    return Checksums(*(np.concatenate(each) for each in zip(*parts, strict=True)))


def header_checksums(data: Column, network: Column, length: Column) -> Column:
    """Of IP headers alone, as hooks see them; of those not whole it is unknown."""
    head = windows(data, network, np.minimum(length, _LONGEST), _LONGEST)
    words = (head[:, 0] & 0xF).astype(np.int64) * 4
    is4 = (head[:, 0] >> 4 == 4) & (length >= 20)
    told = is4 & (words >= 20) & (words <= length)
    found = np.where(is4, UNKNOWN, NONE)
    good = _folded(_sums(data, network, np.where(told, words, 0))) == 0xFFFF
    return np.where(told, np.where(good, RIGHT, WRONG), found).astype(np.uint8)


def _of(data: Column, starts: Column, ends: Column, status: Column) -> Checksums:
    places = locate(data, starts, ends)
    ip = header_checksums(data, places.network, places.network_length)
    ip[(places.ethertype == IPV4) & (places.network_length == 0) & ~places.wrong] = UNKNOWN
    return Checksums(ip, _carried(data, places, status))


def _carried(data: Column, places: Places, status: Column) -> Column:
    head = windows(data, places.network, places.network_length, 40)
    six, four = (places.ethertype == IPV6) & (places.network_length >= 40), places.network_length >= 20
    four &= ~six
    proto = np.where(four, head[:, 9], np.where(places.behind >= 0, places.behind, head[:, 6])).astype(np.int64)
    field = np.where(four, big_endian(head, 6, 2), places.fragment)
    at, there = places.transport, places.transport_length
    # as long as the header says it is: what a frame has behind that is padding
    total = np.where(four, big_endian(head, 2, 2), big_endian(head, 4, 2) + np.int64(40)).astype(np.int64)
    size = total - (at - places.network)
    known = np.zeros(256, np.int64)
    least = np.full(256, 1 << 17)
    for number, place in _FIELD.items():
        known[number], least[number] = place, _LEAST[number]
    ours = (four | six) & (known[proto] > 0)
    ours &= np.where(proto == _ICMP6, six, four | ((proto != _ICMP) & (proto != _IGMP)))
    found = np.where(ours, UNKNOWN, NONE).astype(np.uint8)
    rows = np.flatnonzero(ours & ((field & (MORE | OFFSET)) == 0) & (there >= least[proto]) & ~places.wrong)
    if not len(rows):
        return found
    proto, at, size, there, head = proto[rows], at[rows], size[rows], there[rows], head[rows]
    carried = windows(data, at, there, 20)
    udp = proto == _UDP
    said = big_endian(carried, 4, 2).astype(np.int64)
    bad = udp & ((said < _LEAST[_UDP]) | (said > size))
    size = np.where(udp & ~bad, said, size)
    value = np.take_along_axis(carried, known[proto][:, None] + np.arange(2), axis=1).astype(np.int64)
    value = value[:, 0] << 8 | value[:, 1]
    pseudo = np.where(four[rows], _words(head[:, 12:20]), _words(head[:, 8:40])) + size + proto
    pseudo = np.where((proto == _ICMP) | (proto == _IGMP), 0, pseudo)
    whole = (size <= there) & ~bad
    good = _folded(_sums(data, at, np.where(whole, size, 0)) + pseudo) == 0xFFFF
    begun = ((status[rows] & UNFINISHED) != 0) | ((pseudo > 0) & (value == _folded(pseudo)))
    # of a packet with a routing header or source route the pseudo-header has the last destination (RFC 8200, 8.1)
    elsewhere = ((places.behind[rows] >= 0) | (four[rows] & (places.network_length[rows] > 20))) & (pseudo > 0)
    doubt = elsewhere | ((status[rows] & VOUCHED) != 0)
    judged = np.where(good, RIGHT, np.where(begun, OPEN, np.where(doubt, UNKNOWN, WRONG)))
    judged = np.where(whole, judged, np.where(begun & (size >= least[proto]), OPEN, UNKNOWN))
    found[rows] = np.where(udp & (value == 0), ABSENT, judged)
    return found


def _words(octets: Column) -> Column:
    """The sum of 16-bit words in network byte order."""
    words = np.ascontiguousarray(octets).view(">u2")
    total: Column = words.sum(axis=1, dtype=np.int64)
    return total


def _folded(sums: Column) -> Column:
    """Sums of 16-bit words brought to 16 bits by end-around carries."""
    while (sums > 0xFFFF).any():
        sums = (sums & 0xFFFF) + (sums >> 16)
    return sums


def _sums(data: Column, starts: Column, lengths: Column) -> Column:
    """The sum, of 16 bits, of each row's 16-bit words; an odd byte at its end is filled up by a zero.

    Words are added in the machine's own order, 32 bits at once; the sum's bytes are then swapped as theirs were.
    """
    found = np.zeros(len(starts), np.int64)
    widths = (lengths + 7) // 8 * 8
    order = stable_order(widths)
    edges = np.flatnonzero(np.diff(widths[order], prepend=-1, append=-1)).tolist()
    for begin, end in pairwise(edges):
        width = int(widths[order[begin]])
        step = max(AT_ONCE * 8 // (width + 8), 1)
        for some in range(begin, end if width else begin, step):
            rows = order[some : min(some + step, end)]
            matrix = windows(data, starts[rows], lengths[rows], width)
            total = matrix.view(np.uint32).sum(axis=1, dtype=np.int64)
            found[rows] = (total & 0xFFFFFFFF) + (total >> 32)
    found = _folded(found)
    return found << 8 & 0xFF00 | found >> 8 if np.little_endian else found
