"""Which is which: packets told from each other by their order alone, packets sent again, frames that came twice.

Frames are joined by their bytes, passes and frames by their headers (ties.py). Where several are equal, the n-th is
joined to the n-th. That decides if there are as many on both sides of the join; if there are not (one of two
identical datagrams was lost), nothing tells which of them a packet is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from netemu.record.capture import OTHERHOST, OUTGOING
from netemu.record.decode.rows import Column, mix, numbered
from netemu.record.join.forest import Laid
from netemu.record.join.sayings import STAGE_CODE, START_CODE
from netemu.record.join.ties import Member, Ties
from netemu.topology.points import HOOK_STAGES

_LEAVES = [STAGE_CODE[stage] for stage in HOOK_STAGES if stage.startswith("postrouting")]
_TCP, _SYN, _FIN = 6, 2, 1


@dataclass(frozen=True, slots=True)
class Order:
    """One row a journey.

    `alike` is how many packets could not be told from it where it was joined, itself included. `rivals` is 0 where
    order decides, else a number that it shares with the journeys that it may have been taken for. `duplicates` is the
    place of the journey whose frame came a second time to begin this one; -1 for none.
    """

    alike: Column
    rivals: Column
    duplicates: Column


def order(ties: Ties, laid: Laid, segment_of: Mapping[Member, str]) -> Order:
    """How far each journey of a record is told from others by more than its order."""
    seen = ties.sightings
    if not len(laid) or not seen.wires:
        return Order(np.ones(len(laid), np.int64), np.zeros(len(laid), np.uint64), np.full(len(laid), -1, np.int64))
    alike, rivals = np.ones(len(seen), np.int64), np.zeros(len(seen), np.uint64)
    wire, pair = _on_wires(ties, segment_of, alike, rivals)
    host = _in_hosts(ties, alike, rivals)
    _of_copies(ties, alike, rivals)
    begins = laid.offset[:-1]
    of_journey = rivals[laid.rows]
    first = np.minimum.reduceat(np.where(of_journey != 0, np.arange(len(of_journey)), len(of_journey)), begins)
    return Order(
        np.maximum.reduceat(alike[laid.rows], begins),
        np.append(of_journey, np.uint64(0))[first],
        _duplicates(ties, laid, wire, pair, host),
    )


def _on_wires(ties: Ties, segment_of: Mapping[Member, str], alike: Column, rivals: Column) -> tuple[Column, Column]:
    """Mark frames that are equal on their segment; which are, by number, and which of them are at one member."""
    seen = ties.sightings
    names = [(point.host, str(point.interface)) for point in seen.points]
    segments = [segment_of.get(member, f"{member[0]} {member[1]}") for member in names]
    segment = np.array([{name: n for n, name in enumerate(dict.fromkeys(segments))}[each] for each in segments])
    numbers = {name: place for place, name in enumerate(dict.fromkeys(names))}
    member = np.array([numbers[name] for name in names], np.int64)
    loops = np.array([name[1] == "lo" for name in names], np.bool_)
    point = seen.point[: seen.wires]
    code = mix(seen.digest ^ mix(segment.astype(np.uint64)[point], 1))
    group = numbered(code)
    pair = numbered(mix(code ^ mix(member[point].astype(np.uint64), 2)))
    out = seen.kind == OUTGOING
    came = np.flatnonzero(~out & (seen.kind != OTHERHOST))
    sent = np.bincount(group[out], minlength=int(group.max()) + 1)
    own = np.bincount(pair[out], minlength=int(pair.max()) + 1)
    here = np.bincount(pair[came], minlength=len(own))[pair[came]]
    from_others = sent[group[came]] - np.where(loops[point[came]], 0, own[pair[came]])
    joins = from_others > 0
    size = np.ones(len(sent), np.int64)
    np.maximum.at(size, group[came[joins]], np.maximum(here, from_others)[joins])
    unsure = np.zeros(len(sent), np.bool_)
    unsure[group[came[joins & (here != from_others)]]] = True
    alike[: seen.wires] = size[group]
    rivals[: seen.wires] = np.where(unsure[group], code | np.uint64(1), 0)
    return group, pair


def _in_hosts(ties: Ties, alike: Column, rivals: Column) -> Column:
    """Mark frames and passes that are equal where they were joined; the frames' groups by number."""
    seen, passes, wires = ties.sightings, ties.passes, ties.sightings.wires
    key, point = seen.packets.key[:wires], seen.point[:wires]
    code = mix(key ^ mix(point.astype(np.uint64), 3))
    group = numbered(code)
    frames = np.bincount(group[seen.kind != OTHERHOST], minlength=int(group.max()) + 1)
    tied = np.concatenate([ties.came[ties.came >= 0], ties.left[ties.left >= 0]])
    joined = np.bincount(group[tied], minlength=len(frames))
    unsure = (joined > 0) & (frames != joined)
    size = np.where(joined > 0, np.maximum(frames, joined), 1)
    alike[:wires] = np.maximum(alike[:wires], size[group])
    rivals[:wires] = np.where((rivals[:wires] == 0) & unsure[group], code | np.uint64(1), rivals[:wires])
    hosts = {host: number for number, host in enumerate(seen.hosts)}
    of_point = np.array([hosts[each.host] for each in seen.points], np.int64)[point]
    first = np.append(seen.point, 0)[np.where(passes.count > 0, passes.first, len(seen.point))]
    looped = np.array([str(each.stage).startswith("postrouting") for each in seen.points], np.bool_)[first]
    looped &= passes.count > 0  # ip_mc_output's copy of a broadcast for the host itself: never on a wire
    last = np.where(passes.count > 0, passes.first + passes.count - 1, 0)
    came_alone = (passes.start == START_CODE["prerouting"]) & (passes.arrived != 0) & (ties.came < 0)
    came_alone[ties.copies.tied] = False
    for out, keys, lone in (
        (False, passes.arrived, came_alone),
        (True, seen.packets.key[last], np.isin(passes.last_stage, _LEAVES) & (ties.left < 0) & ~looped),
    ):
        alone = np.flatnonzero(lone & (passes.count > 0))
        side = np.flatnonzero((seen.kind == OUTGOING) == out)
        side = side[joined[group[side]] > 0]
        if not len(alone) or not len(side):
            continue
        codes, mine = (
            mix(each ^ mix(host.astype(np.uint64), 4)) | np.uint64(1)
            for each, host in ((key[side], of_point[side]), (keys[alone], passes.host[alone]))
        )
        side_unsure = np.isin(codes, mine)
        rivals[side[side_unsure]] = codes[side_unsure]
        counted = dict(zip(*np.unique(mine, return_counts=True), strict=True))
        alike[side[side_unsure]] += np.array([counted[each] for each in codes[side_unsure]], np.int64)
        known = np.isin(mine, codes)
        rivals[passes.first[alone[known]]] = mine[known]
        alike[passes.first[alone[known]]] = 2
    return group


def _of_copies(ties: Ties, alike: Column, rivals: Column) -> None:
    """Mark packets of which it is told by order alone, or not at all, whose copy a host made for itself."""
    copies = ties.copies
    row = ties.passes.first[copies.alike_of]
    alike[row] = np.maximum(alike[row], copies.alike)
    rivals[row] = np.where(rivals[row] == 0, copies.rivals, rivals[row])


def _duplicates(ties: Ties, laid: Laid, wire: Column, pair: Column, host: Column) -> Column:
    """The journeys that begin with a frame equal to one that was joined at the same place before it."""
    seen = ties.sightings
    found = np.full(len(laid), -1, np.int64)
    begins = laid.rows[laid.offset[:-1]]
    of_row = np.full(len(seen), -1, np.int64)
    of_row[laid.rows] = np.repeat(np.arange(len(laid)), np.diff(laid.offset))
    starts = np.flatnonzero(begins < seen.wires)
    row = begins[starts]
    out = seen.kind[row] == OUTGOING
    claimed = np.flatnonzero(ties.claimed)
    claimed = claimed[of_row[claimed] >= 0]
    sent = np.bincount(wire[seen.kind == OUTGOING], minlength=int(wire.max()) + 1)
    for mine, group in ((~out & (sent[wire[row]] > 0), pair), (out, host)):
        if not mine.any():
            continue
        span = len(laid) + 1
        known = np.sort(group[claimed] * span + of_row[claimed])
        wanted = group[row[mine]] * span + starts[mine]
        before = np.searchsorted(known, wanted) - 1
        there = (before >= 0) & (known[before] // span == group[row[mine]]) if len(known) else before >= 0
        found[starts[mine][there]] = known[before[there]] % span
    return found


def retransmissions(ties: Ties, laid: Laid, flow: Column, reply: Column) -> Column:
    """The place of the earlier journey of the same flow and direction whose TCP sequence range each repeats; -1: none.

    A range is what the segment carries, SYN and FIN counted (RFC 9293, 3.4): a packet that repeats any of one that
    began no later than it in the sequence space, and came before it, is said to be that one again.
    """
    packets, row = ties.sightings.packets, laid.rows[laid.offset[:-1]]
    flags = packets.flags[row]
    size = packets.length[row].astype(np.int64) + (flags & _SYN != 0) + (flags & _FIN != 0)
    some = np.flatnonzero((packets.proto[row] == _TCP) & (packets.seq[row] >= 0) & (size > 0))
    found = np.full(len(laid), -1, np.int64)
    if not len(some):
        return found
    group = numbered((flow.astype(np.int64) * 2 + reply)[some].astype(np.uint64))
    _, first = np.unique(group, return_index=True)
    seq = packets.seq[row[some]]
    place = (seq - seq[first][group] + (1 << 31)) % (1 << 32)  # around the first one's: sequence numbers wrap
    arranged = np.lexsort((some, place, group))
    code = group[arranged] << 33 | place[arranged]
    same = np.zeros(len(some), np.bool_)
    same[1:] = code[1:] == code[:-1]
    again = np.flatnonzero(same)
    found[some[arranged[again]]] = some[arranged[again - 1]]
    below = np.arange(len(some)) - 1
    runs = np.maximum.accumulate(np.where(same, 0, np.arange(len(some))))
    below = np.where(same, -1, runs - 1)  # the last one of the range that begins before
    inside = np.flatnonzero(below >= 0)
    lower = below[inside]
    ends = place[arranged[lower]] + size[some[arranged[lower]]]
    overlaps = (group[arranged[lower]] == group[arranged[inside]]) & (ends > place[arranged[inside]])
    overlaps &= some[arranged[lower]] < some[arranged[inside]]
    found[some[arranged[inside[overlaps]]]] = some[arranged[lower[overlaps]]]
    return found
