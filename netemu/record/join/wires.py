"""Which frames are of the same packet on a wire: those that left, and equal ones that came in elsewhere.

Nearly all frames are told by their bytes alone: one left, and it came in once at a member. They are paired at a stroke.
What is left (equal frames that left more than once, or came more than once to a member) is paired in order of time, and
order.py says what that proves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from netemu.record.capture import OUTGOING
from netemu.record.decode.rows import Column, arranged, mix, ranges, stable_order
from netemu.record.join.sightings import Sightings

Member = tuple[str, str]
"""A (host, interface)."""


@dataclass(frozen=True, slots=True)
class Segments:
    """Of each point: the numbers of its segment and of the (host, interface) there, and whether that is a loopback."""

    segment: Column
    member: Column
    loops: Column

    @classmethod
    def of(cls, seen: Sightings, segment_of: Mapping[Member, str]) -> Segments:
        """Those of a record's points. An interface that is on no segment is one by itself."""
        members = [(point.host, str(point.interface)) for point in seen.points]
        segments = [segment_of.get(member, f"{member[0]} {member[1]}") for member in members]
        number = {name: place for place, name in enumerate(dict.fromkeys(segments))}
        place_of = {name: place for place, name in enumerate(dict.fromkeys(members))}
        return cls(
            np.array([number[name] for name in segments], np.uint64),
            np.array([place_of[name] for name in members], np.int64),
            np.array([interface == "lo" for _, interface in members], np.bool_),
        )

    def codes(self, seen: Sightings, rows: Column | slice) -> Column:
        """A digest of what each frame holds, and of the segment it was seen on."""
        point = seen.point[: seen.wires][rows]
        return mix(seen.digest[rows] ^ mix(self.segment, 1)[point]) if len(point) else seen.digest[rows]


def join_wires(seen: Sightings, segments: Segments) -> tuple[Column, Column, Column]:
    """Frames that left and the frames that came in elsewhere on their segment: pairs, each sender's in their order.

    Then the rows of those that are not told by their bytes alone.
    """
    order, code = arranged(segments.codes(seen, slice(None)))
    begins = np.ones(len(order), np.bool_)
    begins[1:] = code[1:] != code[:-1]
    first = np.flatnonzero(begins)
    del code
    out = (seen.kind == OUTGOING)[order]
    tag = segments.member.astype(np.min_scalar_type(len(segments.member)))[seen.point[: seen.wires]][order]
    loops = _of_member(segments.member, segments.loops)
    plain, joins = _told_by_bytes(out, tag, loops, first)
    size = np.diff(first, append=len(order))
    sender, got = np.flatnonzero(out), np.flatnonzero(~out)
    if not joins.all():
        told = np.repeat(joins, size)
        sender, got = sender[told[sender]], got[told[got]]
    by = np.repeat((np.cumsum(joins) - 1).astype(np.int32), size)[got]  # whose sender it is, among those
    elsewhere = (tag[got] != tag[sender][by]) | loops[tag[got]]
    if not elsewhere.all():
        by, got = by[elsewhere], got[elsewhere]
    senders, receivers = order[sender[by]], order[got]
    if plain.all():
        return senders, receivers, np.empty(0, np.int64)
    odd = np.sort(order[np.repeat(~plain, size)])
    more = _join_in_turn(seen, segments, loops, odd)
    return np.concatenate([senders, more[0]]), np.concatenate([receivers, more[1]]), odd


def _of_member(member: Column, loops: Column) -> Column:
    found = np.zeros(int(member.max(initial=-1)) + 1, np.bool_)
    found[member] = loops
    return found


def _told_by_bytes(out: Column, member: Column, loops: Column, first: Column) -> tuple[Column, Column]:
    """Whether each group of equal frames has one sender at most and each member once; then those that have a sender.

    A loopback's frames leave and come in at one member.
    """
    if not len(first):
        return np.empty(0, np.bool_), np.empty(0, np.bool_)
    sent = np.add.reduceat(out, first, dtype=np.int32)
    bits = np.uint64(1) << (np.arange(len(loops), dtype=np.uint64) & np.uint64(31))
    there = np.stack([bits, np.where(loops, np.uint64(0), bits)])[out.astype(np.uint8), member]
    once = np.bitwise_or.reduceat(there, first) == np.add.reduceat(there, first)
    plain = once & (sent <= 1)
    return plain, plain & (sent > 0)


def _join_in_turn(seen: Sightings, segments: Segments, loops: Column, rows: Column) -> tuple[Column, Column]:
    """The pairs among some rows: each member's equal frames serve those that left in order of time."""
    point = seen.point[rows]
    code, member, out = segments.codes(seen, rows), segments.member[point], seen.kind[rows] == OUTGOING
    sent, came = np.flatnonzero(out), np.flatnonzero(~out)
    sent = sent[np.argsort(seen.time_ns[rows[sent]], kind="stable")]
    sent = sent[stable_order(code[sent])]
    queues = _Queues.of(code[came], member[came])
    first, last = (np.searchsorted(queues.code, code[sent], side) for side in ("left", "right"))
    sender = np.repeat(np.arange(len(sent)), last - first)
    queue = ranges(first, last - first)
    allowed = (member[sent][sender] != queues.member[queue]) | loops[queues.member[queue]]
    # each queue serves its senders in order of time; a member does not get its own frames
    order = stable_order(queue)
    counted = np.cumsum(allowed[order]) - allowed[order]
    begins = np.searchsorted(queue[order], np.arange(len(queues.code)))
    rank = np.empty(len(queue), np.int64)
    rank[order] = counted - counted[begins[queue[order]]] if len(order) else 0
    gets = allowed & (rank < queues.count[queue])
    receivers = came[queues.order[queues.first[queue[gets]] + rank[gets]]]
    return rows[sent[sender[gets]]], rows[receivers]


@dataclass(frozen=True, slots=True)
class _Queues:
    """The frames that came in, by what they hold and at which member: each queue's frames are order[first:][:count].

    Queues of equal frames stand together, the member that came first in front.
    """

    order: Column
    code: Column
    member: Column
    first: Column
    count: Column

    @classmethod
    def of(cls, code: Column, member: Column) -> _Queues:
        order, ordered = arranged(mix(code ^ mix(member.astype(np.uint64))))
        begins = np.ones(len(order), np.bool_)
        begins[1:] = ordered[1:] != ordered[:-1]
        first = np.flatnonzero(begins)
        count = np.diff(np.append(first, len(order)))
        place = stable_order(order[first])
        place = place[stable_order(code[order[first[place]]])]
        return cls(order, code[order[first[place]]], member[order[first[place]]], first[place], count[place])
