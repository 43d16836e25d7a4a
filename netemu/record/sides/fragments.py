"""Fragments on one side: those behind the first, which have no ports, get the ends of their datagram's first one.

A datagram's fragments share addresses and id, of IPv4 the protocol too (RFC 791, 3.2; RFC 8200, 4.5). Where first
fragments of several connections share all that (clients behind a NAT whose ids meet), what was complete before the next
one came tells which are whose, in order of time; what that leaves open keeps the ends that it has.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np

from netemu.record.decode.headers import MORE, OFFSET
from netemu.record.decode.packets import Packets
from netemu.record.decode.rows import Column, mix, stable_order
from netemu.record.join.fragments import is_later
from netemu.record.sides.kept import Kept

_TOGETHER_NS = 60_000_000_000
"""No host waits longer for a datagram's fragments (RFC 8200, 4.5; Linux: 60 s, of IPv4 30 s)."""
_ENDS = ("src", "dst", "src_id", "dst_id")


def with_their_datagrams(packets: Packets, kept: Kept, time_ns: Column) -> Kept:
    """The same, in order of time, with fragments' ends as their datagrams have them.

    IPv6's id is another one behind a router that put a datagram together and cut it up again, so it is no part of
    what is kept: the key of the first fragment is, instead.
    """
    rows = np.flatnonzero(kept.part)
    rows = rows[stable_order(kept.part[rows])]
    bare = _is_bare(packets, kept, rows)
    if not bare.any() or bare.all():
        return kept
    groups = _Groups(kept, rows, bare)
    first = groups.firsts()
    for begin, end in groups.shared():
        first[begin:end] = _complete(packets, kept, time_ns, rows[begin:end], bare[begin:end], begin)
    told = np.flatnonzero(bare & (first >= 0))
    mine, of = rows[told], rows[first[told]]
    turned = kept.quotes[mine]
    columns = {name: getattr(kept, name).copy() for name in (*_ENDS, "proto", "key")}
    for name, across in zip(_ENDS, ("dst", "src", "dst_id", "src_id"), strict=True):
        columns[name][mine] = np.where(turned, getattr(kept, across)[of], getattr(kept, name)[of])
    columns["proto"][mine] = kept.proto[of]
    six = (packets.version[mine] == 6) & ~turned
    columns["key"][mine[six]] ^= mix(kept.key[of[six]], 16)
    return replace(kept, **columns)


def _is_bare(packets: Packets, kept: Kept, rows: Column) -> Column:
    """Which have no ports of their own: later fragments, and errors that quote one."""
    found: Column = kept.quotes[rows] | is_later(packets.fragment[rows])
    return found


class _Groups:
    """Rows of datagrams that share addresses and id, group by group and in order of time."""

    def __init__(self, kept: Kept, rows: Column, bare: Column) -> None:
        self.bare = bare
        part = kept.part[rows]
        self.start = np.flatnonzero(np.append(True, part[1:] != part[:-1]))
        self.count = np.diff(self.start, append=len(rows))
        self.ends = mix(kept.src_id[rows] ^ mix(kept.dst_id[rows], 3))

    def firsts(self) -> Column:
        """For each row the first fragment before it in its group, else the first one behind it; -1 for none."""
        place = np.arange(len(self.bare))
        begin = np.repeat(self.start, self.count)
        end = begin + np.repeat(self.count, self.count)
        before = np.maximum.accumulate(np.where(self.bare, -1, place))
        behind = np.minimum.accumulate(np.where(self.bare, len(place), place)[::-1])[::-1]
        return np.where(before >= begin, before, np.where(behind < end, behind, -1))

    def shared(self) -> list[tuple[int, int]]:
        """Where the groups lie that have first fragments of several connections."""
        least = np.minimum.reduceat(np.where(self.bare, np.uint64(2**64 - 1), self.ends), self.start)
        most = np.maximum.reduceat(np.where(self.bare, np.uint64(0), self.ends), self.start)
        several = np.flatnonzero(least < most)
        return [(int(self.start[at]), int(self.start[at] + self.count[at])) for at in several]


def _complete(packets: Packets, kept: Kept, time_ns: Column, rows: Column, bare: Column, begin: int) -> Column:
    """For each row of a group the place (from `begin` on) of the first fragment of its datagram; -1 if not told.

    Told are those of a datagram that is whole, each byte once, before anything else of the group came.
    """
    found = np.full(len(rows), -1, np.int64)
    waiting: list[int] = []
    start = ((packets.fragment[rows] & OFFSET).astype(np.int64) * 8).tolist()
    end = (np.array(start) + kept.size[rows]).tolist()
    more = ((packets.fragment[rows] & MORE) != 0).tolist()
    times, quoting = time_ns[rows].tolist(), kept.quotes[rows].tolist()
    for at in range(len(rows)):
        if quoting[at]:
            continue
        if waiting and times[at] - times[waiting[-1]] > _TOGETHER_NS:
            waiting = []
        waiting.append(at)
        parts = sorted(waiting, key=lambda each: start[each])
        whole = not start[parts[0]] and not more[parts[-1]] and all(more[each] for each in parts[:-1])
        if whole and all(end[one] == start[other] for one, other in pairwise(parts)):
            found[waiting] = begin + parts[0]
            waiting = []
    found[~bare] = -1
    return found
