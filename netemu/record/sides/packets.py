"""Which packet of a flow on one side is which on another.

A packet that has its key alone on both sides is joined. Packets that are alike are joined by their order where both
sides have as many, and marked; where one side has more, nothing tells which is which, and none is joined.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from netemu.record.decode.packets import Packets
from netemu.record.decode.rows import Column, begins_run, mix, ranges, stable_order
from netemu.record.sides.side import Side

_TCP = 6
_KEPT = ("version", "proto", "seq", "ack", "flags", "icmp")
_TELLING = 16
"""A datagram without IP id but with a payload of as many bytes is hardly sent twice the same by chance."""


@dataclass(frozen=True, slots=True, eq=False)
class PacketPairs:
    """Row `one` of a side is row `other` of another; `by_order` where others were alike.

    `strong` are pairs that only a copy of the packet could have made: TCP, an IP id, or a payload of some length.
    `unclear` are the rows of each side that were alike in unequal numbers.
    """

    one: Column
    other: Column
    by_order: Column
    strong: Column
    unclear: tuple[Column, Column]


def pair_packets(one: Side, other: Side, pair: tuple[Column, Column], bit: tuple[Column, Column]) -> PacketPairs:
    """Join rows whose flows are the same pair (a number for each row, -1 for none) in the same direction (`bit`)."""
    groups = [_Groups(side, numbers, way) for side, numbers, way in zip((one, other), pair, bit, strict=True)]
    mine, theirs = groups
    _, at, other_at = np.intersect1d(mine.code, theirs.code, assume_unique=True, return_indices=True)
    count, other_count = mine.count[at], theirs.count[other_at]
    equal = count == other_count
    row, other_row = mine.rows(at[equal]), theirs.rows(other_at[equal])
    by_order = np.repeat(count[equal] > 1, count[equal])
    same = _same_headers(one.packets, row, other.packets, other_row)
    row, other_row, by_order = row[same], other_row[same], by_order[same]
    packets = one.packets
    strong = (packets.proto[row] == _TCP) | (_id_of_four(packets, row) > 0) | (packets.length[row] >= _TELLING)
    unclear = mine.rows(at[~equal]), theirs.rows(other_at[~equal])
    return PacketPairs(row, other_row, by_order, strong & ~by_order, unclear)


def _same_headers(one: Packets, rows: Column, other: Packets, others: Column) -> Column:
    """Whether what NAT keeps of headers is the same, column by column: an equal digest alone proves nothing."""
    found = np.ones(len(rows), np.bool_)
    for name in _KEPT:
        found &= getattr(one, name)[rows] == getattr(other, name)[others]
    found &= _id_of_four(one, rows) == _id_of_four(other, others)
    return found


def _id_of_four(packets: Packets, rows: Column) -> Column:
    """IPv4's ids; IPv6's fragments get theirs anew where a router puts them together and cuts them up again."""
    return np.where(packets.version[rows] == 4, packets.ip_id[rows], 0)


class _Groups:
    """A side's rows by what makes them alike, in order of time within each group."""

    def __init__(self, side: Side, pair: Column, bit: Column) -> None:
        mine = np.flatnonzero(pair >= 0)
        way = (pair[mine] * 2 + bit[mine]).astype(np.uint64)
        code = mix(mix(side.kept.key[mine], 11) + mix(way, 12), 13)
        order = stable_order(code)
        self.order, ordered = mine[order], code[order]
        begins = begins_run(ordered)
        self.start = np.flatnonzero(begins)
        self.code = ordered[self.start]
        self.count = np.diff(self.start, append=len(ordered))

    def rows(self, groups: Column) -> Column:
        """The rows of these groups, group by group."""
        return self.order[ranges(self.start[groups], self.count[groups])]
