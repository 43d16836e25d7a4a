"""Which frames are of the same packet on a wire: those that left, and equal ones that came in elsewhere.

Nearly all frames are told by their bytes alone: one left, and it came in once at a member. Where a segment lost none
and mixed none, its ends saw the same frames in the same order, and nothing has to be looked for; all others are paired
at a stroke. What is left (equal frames that left more than once, or came more than once to a member) is paired in order
of time, and order.py says what that proves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from netemu.record.capture import OUTGOING
from netemu.record.decode.rows import Column, arranged, begins_run, mix, ranges, stable_order
from netemu.record.join.sightings import Sightings

Member = tuple[str, str]
"""A (host, interface)."""

_POINTS_LOOKED_FOR = 8
"""At most, of a host: four interfaces, two ways each."""
_NOTHING = np.empty(0, np.int64)
_SOME = (0,)
"""Rows of a point whose frames are not looked for: it may have any."""


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
    in_step = _in_step(seen, segments)
    *by_bytes, odd = _told_apart(seen, segments, in_step.rest)
    both = [[each for each in (*some, more) if len(each)] for some, more in zip(in_step.pairs, by_bytes, strict=True)]
    senders, receivers = (parts[0] if len(parts) == 1 else np.concatenate([_NOTHING, *parts]) for parts in both)
    return senders, receivers, odd


def _told_apart(seen: Sightings, segments: Segments, rows: Column | None) -> tuple[Column, Column, Column]:
    """The same of some rows alone, or of all, whatever their order."""
    if rows is not None and not len(rows):
        return rows, rows, rows
    order, code = arranged(segments.codes(seen, slice(None) if rows is None else rows))
    order = order if rows is None else rows[order]
    first = np.flatnonzero(begins_run(code))
    del code
    out = seen.kind[order] == OUTGOING
    tag = segments.member.astype(np.min_scalar_type(len(segments.member)))[seen.point[order]]
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
        return senders, receivers, _NOTHING
    odd = np.sort(order[np.repeat(~plain, size)])
    more = _join_in_turn(seen, segments, loops, odd)
    return np.concatenate([senders, more[0]]), np.concatenate([receivers, more[1]]), odd


@dataclass(frozen=True, slots=True)
class _InStep:
    """Pairs of frames (senders, receivers: columns to be put one after another), and the rows of `rest`; None: all."""

    pairs: tuple[list[Column], list[Column]]
    rest: Column | None


def _in_step(seen: Sightings, segments: Segments) -> _InStep:
    """Segments where each frame left once, and whoever got any of a sender's got them all, in order, and no others."""
    pairs, done = (list[Column](), list[Column]()), np.zeros(len(seen.points), np.bool_)
    rows_at = _rows_of_points(seen)
    on: dict[int, list[int]] = {}
    for point, segment in enumerate(segments.segment.tolist()):
        if len(rows_at.get(point, _SOME)):
            on.setdefault(segment, []).append(point)
    for points in on.values():
        followed = _followed(seen, segments, rows_at, points) if rows_at.keys() >= set(points) else None
        if followed is None:
            continue
        done[points] = True
        for out, others in followed.items():
            if others:
                came = np.stack([rows_at[other] for other in others], axis=1)
                if len({seen.points[other].host for other in others}) < len(others):  # a host's are mixed
                    came.sort(axis=1)
                pairs[0].append(np.repeat(rows_at[out], len(others)))
                pairs[1].append(came.reshape(-1))
    if not done.any():
        return _InStep(pairs, None)
    if sum(len(rows) for point, rows in rows_at.items() if done[point]) == seen.wires:
        return _InStep(pairs, _NOTHING)
    return _InStep(pairs, np.flatnonzero(~done[seen.point[: seen.wires]]))


def _followed(
    seen: Sightings, segments: Segments, rows_at: Mapping[int, Column], points: list[int]
) -> dict[int, list[int]] | None:
    """Of each point where frames of a segment left, those where they came in; None where that is not all there was."""
    found: dict[int, list[int]] = {point: [] for point in points if seen.points[point].way == "out"}
    for point in sorted(set(points) - set(found), key=lambda point: int(rows_at[point][0])):
        senders = [out for out in found if segments.member[out] != segments.member[point]]
        if segments.loops[point] or len(senders) != 1 or len(rows_at[senders[0]]) != len(rows_at[point]):
            return None
        found[senders[0]].append(point)
    for out, others in found.items():
        left = seen.digest[rows_at[out]]
        if not all(np.array_equal(left, seen.digest[rows_at[other]]) for other in others):
            return None
    all_left = np.sort(np.concatenate([seen.digest[:0], *(seen.digest[rows_at[out]] for out in found)]))
    return None if (all_left[1:] == all_left[:-1]).any() else found


def _rows_of_points(seen: Sightings) -> dict[int, Column]:
    """The rows of each wire point's frames, but of hosts that have many: to look for each of those would take long."""
    mine: dict[str, list[int]] = {}
    for number, point in enumerate(seen.points):
        if point.stage is None:
            mine.setdefault(point.host, []).append(number)
    found: dict[int, Column] = {}
    for host, first, end in zip(seen.hosts, seen.edges[:-1].tolist(), seen.edges[1:].tolist(), strict=True):
        numbers = mine.get(host, [])
        for number in numbers if len(numbers) <= _POINTS_LOOKED_FOR else []:
            here = seen.point[first:end] == number
            found[number] = np.arange(first, end) if here.all() else np.flatnonzero(here) + first
    return found


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
        first = np.flatnonzero(begins_run(ordered))
        count = np.diff(np.append(first, len(order)))
        place = stable_order(order[first])
        place = place[stable_order(code[order[first[place]]])]
        return cls(order, code[order[first[place]]], member[order[first[place]]], first[place], count[place])
