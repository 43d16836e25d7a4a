"""Fragments on one side: those behind the first, which have no ports, get the ends of their datagram's first one.

A datagram's fragments share addresses and id, of IPv4 the protocol too (RFC 791, 3.2; RFC 8200, 4.5). Where first
fragments of several connections share all that (clients behind a NAT whose ids meet), what was complete before the next
one came tells which are whose, in order of time; what that leaves open keeps the ends that it has. One whose fragments
never all came leaves no others open once no host waits for it any more.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from netemu.record.decode.headers import MORE, OFFSET
from netemu.record.decode.packets import Packets
from netemu.record.decode.rows import Column, mix, stable_order
from netemu.record.join.fragments import is_later
from netemu.record.sides.kept import Kept

_TOGETHER_NS = 60_000_000_000
"""No host waits longer for a datagram's fragments, from the first that came on (RFC 8200, 4.5; Linux: of IPv4 30 s)."""
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
        first[begin:end] = _complete(packets, kept, time_ns, rows[begin:end], groups.ends[begin:end], begin)
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


def _complete(packets: Packets, kept: Kept, time_ns: Column, rows: Column, ends: Column, begin: int) -> Column:
    """For each row of a group the place (from `begin` on) of the first fragment of its datagram; -1 if not told.

    Told are those of a datagram that is whole, each byte once, before anything else of the group came that hosts may
    still wait with; and of one that came whole in a row, first fragment first, where they wait for one connection only.
    """
    found = np.full(len(rows), -1, np.int64)
    start = ((packets.fragment[rows] & OFFSET).astype(np.int64) * 8).tolist()
    more = ((packets.fragment[rows] & MORE) != 0).tolist()
    columns = (time_ns[rows].tolist(), start, kept.size[rows].tolist(), more, ends.tolist(), kept.quotes[rows].tolist())
    waiting, row = _Waiting(), _Waiting()
    for at, (time, starts, size, goes_on, whose, quoting) in enumerate(zip(*columns, strict=True)):
        if quoting:
            continue
        part = _Part(at, time, starts, starts + size, goes_on, whose)
        if not starts:
            row = _Waiting()
        for parts in (waiting, row):
            parts.run_out(time)
            parts.add(part)
        whole = waiting if waiting.whole else row if row.whole and waiting.of_one else None
        if whole is not None:
            found[[each.place for each in whole.parts]] = begin + next(p.place for p in whole.parts if not p.start)
            waiting.take_last(len(whole.parts))
            row = _Waiting()
    return found


class _Part(NamedTuple):
    """A fragment: its place among those asked for, when it came, where in its datagram it lies, in bytes."""

    place: int
    time_ns: int
    start: int
    end: int
    more: bool
    ends: int


class _Waiting:
    """Parts of which no datagram was made yet, in order of time; each is added, and runs out, in constant time.

    Parts are one whole datagram if, laid end to end, they are one way from its beginning to its end: at every place
    in between as many begin as end, at 0 one more begins, and one more ends where the only one ends that nothing
    follows. (All lead forwards, so there is nothing besides such ways, and one alone begins at 0.)
    """

    def __init__(self) -> None:
        self.parts: deque[_Part] = deque()
        self._begun: Counter[int] = Counter()  # at each place, how many more begin than end; no zeros
        self._last_ends: Counter[int] = Counter()
        self._firsts: Counter[int] = Counter()  # of each connection
        self._empty = 0

    def add(self, part: _Part) -> None:
        """One more has come."""
        self.parts.append(part)
        self._count(part, 1)

    def run_out(self, time_ns: int) -> None:
        """Take away those that were waited for too long, each with what came behind it before the next first one."""
        while self.parts and time_ns - self.parts[0].time_ns > _TOGETHER_NS:
            self._count(self.parts.popleft(), -1)
            while self.parts and self.parts[0].start:
                self._count(self.parts.popleft(), -1)

    def take_last(self, count: int) -> None:
        """Take away as many of those that came last."""
        for _ in range(count):
            self._count(self.parts.pop(), -1)

    @property
    def of_one(self) -> bool:
        """Whether their first ones are all of one connection."""
        return len(self._firsts) == 1

    @property
    def whole(self) -> bool:
        """Whether all of them are one whole datagram, each byte of it once."""
        if self._empty or len(self._begun) != 2 or len(self._last_ends) != 1 or self._begun[0] != 1:
            return False
        ((end, often),) = self._last_ends.items()
        return often == 1 and self._begun[end] == -1

    def _count(self, part: _Part, often: int) -> None:
        if not part.start:
            _add(self._firsts, part.ends, often)
        if part.end <= part.start:
            self._empty += often
            return
        _add(self._begun, part.start, often)
        _add(self._begun, part.end, -often)
        if not part.more:
            _add(self._last_ends, part.end, often)


def _add(counter: Counter[int], key: int, often: int) -> None:
    """Count so many more, and keep no zeros."""
    counter[key] += often
    if not counter[key]:
        del counter[key]
