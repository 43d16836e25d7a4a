"""What became of packets that were not seen on every side that saw their flow."""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from netemu.record.decode.rows import Column, found_in, mix
from netemu.record.join.fragments import is_fragment
from netemu.record.sides.joined import JoinedSides


class Missing(IntEnum):
    """Why a packet has no row on a side; `NONE` where it has one, or its flow was never seen there."""

    NONE = 0
    LOST = 1
    """Seen before and not behind, while that side's capture surely ran."""
    MISSED = 2
    """Seen behind: it came through, and the capture does not have it."""
    NOT_CAPTURED_THEN = 3
    """Not seen behind, and the capture may not have begun yet, or have ended."""
    AMBIGUOUS = 4
    """Packets that are alike could be it: nothing tells which."""
    UNKNOWN = 5
    """Not seen behind, and the clocks can't be compared: whether the capture ran is not known."""
    CUT_OTHERWISE = 6
    """What there is of its IPv4 datagram has other bounds there: a router in between cut it up, or put it together."""


WORDS = {
    Missing.LOST: "lost",
    Missing.MISSED: "missed by the capture",
    Missing.NOT_CAPTURED_THEN: "not captured then",
    Missing.AMBIGUOUS: "ambiguous",
    Missing.UNKNOWN: "unknown",
    Missing.CUT_OTHERWISE: "cut up otherwise",
}


def missing(joined: JoinedSides) -> Column:
    """`Missing` for each journey (row) and side (column)."""
    seen = joined.rows >= 0
    absent = ~seen & (joined.flows[joined.flow] >= 0)
    found = np.zeros(seen.shape, np.uint8)
    if not len(seen):
        return found
    first, last, key, unclear = _summary(joined, seen)
    onward = joined.forward[joined.flow] ^ joined.reply
    lower = np.cumsum(seen, axis=1) > 0
    higher = np.cumsum(seen[:, ::-1], axis=1)[:, ::-1] > 0
    behind = np.where(onward[:, None], higher, lower)
    longest = np.zeros(len(joined.flows), np.int64)
    np.maximum.at(longest, joined.flow, last - first)
    in_flow = mix(key, 14) ^ mix(joined.flow.astype(np.uint64), 15)
    partly = ~seen.all(axis=1)
    clocks = [joined.clocks[side.file] for side in joined.sides]
    told = [clock.offset_ns is not None for clock in clocks]
    comparable = (seen & np.array(told)).any(axis=1)
    for place, side in enumerate(joined.sides):
        lacking = np.flatnonzero(absent[:, place])
        doubt = clocks[place].uncertainty_ns or 0
        times = joined.time_ns[place]
        begin, end = (int(times.min()), int(times.max())) if len(side) else (0, -1)
        ran = (first - doubt >= begin) & (last + doubt + longest[joined.flow] <= end)
        here = seen[:, place]
        alike = found_in(in_flow[lacking], in_flow[here]) | found_in(key[lacking], key[here & partly])
        state = np.where(ran, Missing.LOST, Missing.NOT_CAPTURED_THEN)
        state = np.where(comparable & told[place], state, Missing.UNKNOWN)
        state = np.where(behind[:, place], Missing.MISSED, state)[lacking]
        found[lacking, place] = np.where(unclear[lacking] | alike, Missing.AMBIGUOUS, state)
    if any(is_fragment(side.packets.fragment).any() for side in joined.sides):
        found[absent & _cut_otherwise(joined, seen)] = Missing.CUT_OTHERWISE
    return found


def _cut_otherwise(joined: JoinedSides, seen: Column) -> Column:
    """For each journey and side: parts of its datagram were seen there, or the whole, that its own side did not see."""
    datagram, part = np.zeros(len(seen), np.uint64), np.zeros(len(seen), np.bool_)
    way = mix((joined.flow * 2 + joined.reply).astype(np.uint64), 17)
    for place, side in enumerate(joined.sides):
        mine = np.flatnonzero(seen[:, place])
        packets, rows = side.packets, joined.rows[mine, place]
        four = (packets.version[rows] == 4) & (packets.ip_id[rows] > 0)
        number = packets.proto[rows].astype(np.uint64) << np.uint64(16) | packets.ip_id[rows]
        datagram[mine] = np.where(four, mix(way[mine] ^ number, 18), np.uint64(0))
        part[mine] = is_fragment(packets.fragment[rows])
    found = np.zeros(seen.shape, np.bool_)
    for place in range(len(joined.sides)):
        for other in range(len(joined.sides)):
            there, here = (
                np.flatnonzero(seen[:, one] & ~seen[:, two]) for one, two in ((other, place), (place, other))
            )
            there = there[datagram[there] > 0]
            known, parts = datagram[here], datagram[here[part[here]]]
            found[there, place] |= found_in(datagram[there], parts) | (part[there] & found_in(datagram[there], known))
    return found


def _summary(joined: JoinedSides, seen: Column) -> tuple[Column, Column, Column, Column]:
    """Each journey's first and last corrected time, its key, and whether alike packets could be its own."""
    first = np.full(len(seen), np.iinfo(np.int64).max)
    last = np.full(len(seen), np.iinfo(np.int64).min)
    key, unclear = np.zeros(len(seen), np.uint64), np.zeros(len(seen), np.bool_)
    for place, side in enumerate(joined.sides):
        mine = np.flatnonzero(seen[:, place])
        rows = joined.rows[mine, place]
        first[mine] = np.minimum(first[mine], joined.time_ns[place][rows])
        last[mine] = np.maximum(last[mine], joined.time_ns[place][rows])
        key[mine] = side.kept.key[rows]
        unclear[mine] |= joined.unclear[place][rows]
    return first, last, key, unclear
