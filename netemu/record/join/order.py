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
from netemu.record.decode.rows import Column, is_constant, mix, numbered
from netemu.record.join.forest import Laid
from netemu.record.join.fragments import at, is_fragment, is_later
from netemu.record.join.reassembly import firsts
from netemu.record.join.sayings import LEAVES, START_CODE
from netemu.record.join.sightings import Sightings
from netemu.record.join.ties import Ties
from netemu.record.join.wires import Member, Segments

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
    found = Order(np.ones(len(laid), np.int64), np.zeros(len(laid), np.uint64), np.full(len(laid), -1, np.int64))
    alone = _alone(ties)
    later = np.flatnonzero(is_later(seen.packets.fragment[: seen.wires]) & (seen.packets.version[: seen.wires] == 6))
    told_by_order = (ties.odd_wires, ties.odd_hosts, *alone, later, ties.cut.rows, ties.parts.row, ties.copies.alike_of)
    if not len(laid) or not any(map(len, told_by_order)):
        return found  # all is told by bytes and headers
    marks = _Marks(np.ones(len(seen), np.int64), np.zeros(len(seen), np.uint64))
    wires = _on_wires(ties, Segments.of(seen, segment_of), marks)
    hosts = _in_hosts(ties, alone, later, marks)
    cut = ties.cut
    marks.alike[cut.rows] = np.maximum(marks.alike[cut.rows], cut.alike)
    marks.rivals[cut.rows] = np.where(marks.rivals[cut.rows] == 0, cut.rivals, marks.rivals[cut.rows])
    _of_copies(ties, marks)
    begins = laid.offset[:-1]
    of_journey = marks.rivals[laid.rows]
    first = np.minimum.reduceat(np.where(of_journey != 0, np.arange(len(of_journey)), len(of_journey)), begins)
    found.alike[:] = np.maximum.reduceat(marks.alike[laid.rows], begins)
    found.rivals[:] = np.append(of_journey, np.uint64(0))[first]
    _duplicates(ties, laid, wires, hosts, found.duplicates)
    if len(ties.parts.row):
        _in_parts(ties, laid, found)
    return found


def _in_parts(ties: Ties, laid: Laid, found: Order) -> None:
    """Mark packets whose fragments share an id where a host put them together.

    Nothing tells which is which where parts of one packet lie over each other, or come from packets of several
    journeys. Frames that came twice are no such.
    """
    seen, parts = ties.sightings, ties.parts
    kept = firsts(seen, parts.row, parts.run)
    of_row = np.full(len(seen), -1, np.int64)
    of_row[laid.rows] = np.repeat(np.arange(len(laid)), np.diff(laid.offset))
    kept = kept[of_row[parts.row[kept]] >= 0]
    run, journey = np.unique(np.stack([parts.run[kept], of_row[parts.row[kept]]]), axis=1)
    np.maximum.at(found.alike, of_row[parts.row[kept]], parts.alike[kept])
    if not len(run):
        return
    whole = ~is_fragment(seen.packets.fragment[laid.rows[laid.offset[:-1]]])[journey]
    wholes, several = np.bincount(run[whole], minlength=int(run[-1]) + 1), np.bincount(run)
    unsure = (wholes > 0) & (several > 1)
    unsure[parts.run[kept][parts.overlaps[kept]]] = True
    run, journey = run[unsure[run]], journey[unsure[run]]
    np.maximum.at(found.alike, journey, several[run])
    shared = mix(run.astype(np.uint64), 6) | np.uint64(1)
    found.rivals[journey] = np.where(found.rivals[journey] == 0, shared, found.rivals[journey])


def _alone(ties: Ties) -> tuple[Column, Column]:
    """The passes that should have come from a frame, and those that should have become one, of which none was found."""
    seen, passes = ties.sightings, ties.passes
    from_wire = (passes.start == START_CODE["prerouting"]) & (passes.arrived != 0) & (ties.came < 0)
    from_wire[ties.copies.tied] = False
    to_wire = np.isin(passes.last_stage, LEAVES) & (ties.left < 0)
    came, left = (np.flatnonzero(each & (passes.count > 0)) for each in (from_wire, to_wire))
    # ip_mc_output's copy of a broadcast for the host itself: never on a wire
    looped = np.array([str(each.stage).startswith("postrouting") for each in seen.points], np.bool_)
    return came, left[~looped[seen.point[passes.first[left]]]] if len(left) else left


@dataclass(frozen=True, slots=True)
class _Marks:
    """Of each sighting, `alike` and `rivals` as of a journey."""

    alike: Column
    rivals: Column


@dataclass(frozen=True, slots=True)
class _Equal:
    """Some frames (`rows`, in order) that are equal to others, the number of what each is, and which `sent` it."""

    rows: Column
    group: Column
    sent: Column


def _on_wires(ties: Ties, segments: Segments, marks: _Marks) -> _Equal:
    """Mark frames that are equal on their segment, beyond one that left and one at a member; which are at one member.

    `sent` of what is returned is whether any of the equal frames left.
    """
    seen, rows = ties.sightings, ties.odd_wires
    if not len(rows):
        return _Equal(rows, rows, np.empty(0, np.bool_))
    member, loops = (each[seen.point[rows]] for each in (segments.member, segments.loops))
    code = segments.codes(seen, rows)
    group = numbered(code)
    pair = numbered(mix(code ^ mix(member.astype(np.uint64), 2)))
    out = seen.kind[rows] == OUTGOING
    came = np.flatnonzero(~out & (seen.kind[rows] != OTHERHOST))
    sent = np.bincount(group[out], minlength=int(group.max()) + 1)
    own = np.bincount(pair[out], minlength=int(pair.max()) + 1)
    here = np.bincount(pair[came], minlength=len(own))[pair[came]]
    from_others = sent[group[came]] - np.where(loops[came], 0, own[pair[came]])
    joins = from_others > 0
    size = np.ones(len(sent), np.int64)
    np.maximum.at(size, group[came[joins]], np.maximum(here, from_others)[joins])
    unsure = np.zeros(len(sent), np.bool_)
    unsure[group[came[joins & (here != from_others)]]] = True
    marks.alike[rows] = size[group]
    marks.rivals[rows] = np.where(unsure[group], code | np.uint64(1), 0)
    return _Equal(rows, pair, sent[group] > 0)


def _in_hosts(ties: Ties, alone_each_way: tuple[Column, Column], later: Column, marks: _Marks) -> _Equal:
    """Mark frames and passes that are equal where they were joined; which frames are, by number.

    `later` are IPv6's later fragments.
    """
    seen, passes, wires = ties.sightings, ties.passes, ties.sightings.wires
    tied = np.concatenate([ties.came[ties.came >= 0], ties.left[ties.left >= 0]])
    leads = np.zeros(wires, np.bool_)  # of each frame, whether one that has its headers was tied to a pass
    leads[tied] = True
    if len(later):
        marks.rivals[later] = np.where(marks.rivals[later] == 0, _some_untied(ties, later), marks.rivals[later])
    rows, group = ties.odd_hosts, np.empty(0, np.int64)
    if len(rows):
        code = mix(seen.packets.key[rows] ^ mix(seen.point[rows].astype(np.uint64), 3))
        group = numbered(code)
        frames = np.bincount(group)
        joined = np.bincount(group[leads[rows]], minlength=len(frames))
        unsure = (joined > 0) & (frames != joined)
        size = np.where(joined > 0, np.maximum(frames, joined), 1)
        if len(later):
            among = np.isin(rows, later)
            size = _packets_of(seen, rows[among], group[among], size)
        marks.alike[rows] = np.maximum(marks.alike[rows], size[group])
        fresh = (marks.rivals[rows] == 0) & unsure[group]
        marks.rivals[rows] = np.where(fresh, code | np.uint64(1), marks.rivals[rows])
        leads[rows] = joined[group] > 0
    last = np.where(passes.count > 0, passes.first + passes.count - 1, 0)
    for out, alone in zip((False, True), alone_each_way, strict=True):
        side = np.flatnonzero(((seen.kind == OUTGOING) == out) & leads) if len(alone) else alone
        if not len(side):
            continue
        hosts = {host: number for number, host in enumerate(seen.hosts)}
        of_point = np.array([hosts[each.host] for each in seen.points], np.int64)
        keys = seen.packets.key[last[alone]] if out else passes.arrived[alone]
        codes, mine = (
            mix(each ^ mix(host.astype(np.uint64), 4)) | np.uint64(1)
            for each, host in ((seen.packets.key[side], of_point[seen.point[side]]), (keys, passes.host[alone]))
        )
        side_unsure = np.isin(codes, mine)
        marks.rivals[side[side_unsure]] = codes[side_unsure]
        counted = dict(zip(*np.unique(mine, return_counts=True), strict=True))
        marks.alike[side[side_unsure]] += np.array([counted[each] for each in codes[side_unsure]], np.int64)
        known = np.isin(mine, codes)
        marks.rivals[passes.first[alone[known]]] = mine[known]
        marks.alike[passes.first[alone[known]]] = 2
    return _Equal(rows, group, seen.kind[rows] == OUTGOING)


def _packets_of(seen: Sightings, later: Column, group: Column, size: Column) -> Column:
    """The size of each group, of IPv6's later fragments in packets: no hook tells those of one packet apart.

    `group` are the groups of the `later` ones.
    """
    packet = numbered(at(seen.packets, later, np.zeros(len(later), np.int64)))
    pairs = np.unique(np.stack([group, packet]), axis=1)[0]
    found = size.copy()
    found[group] = np.minimum(size, np.bincount(pairs, minlength=len(size)))[group]
    return found


def _some_untied(ties: Ties, later: Column) -> Column:
    """A number for IPv6's later fragments of which fewer passes were seen than frames: nothing tells of which."""
    seen, packets = ties.sightings, ties.sightings.packets
    code = mix(packets.src_high[later] ^ mix(packets.src_low[later] >> np.uint64(32), 7))
    few = packets.length[later].astype(np.uint64) << np.uint64(8) | packets.ttl[later].astype(np.uint64)
    code = mix(code ^ few ^ mix(seen.point[later].astype(np.uint64), 8), 9)
    group, came = numbered(code), ties.enters[later] >= 0
    tied = np.bincount(group[came], minlength=int(group.max()) + 1)
    unsure = (tied > 0) & (tied < np.bincount(group))
    return np.where(unsure[group], code | np.uint64(1), np.uint64(0))


def _of_copies(ties: Ties, marks: _Marks) -> None:
    """Mark packets of which it is told by order alone, or not at all, whose copy a host made for itself."""
    copies = ties.copies
    row = ties.passes.first[copies.alike_of]
    marks.alike[row] = np.maximum(marks.alike[row], copies.alike)
    marks.rivals[row] = np.where(marks.rivals[row] == 0, copies.rivals, marks.rivals[row])


def _duplicates(ties: Ties, laid: Laid, wires: _Equal, hosts: _Equal, found: Column) -> None:
    """The journeys that begin with a frame equal to one that was joined at the same place before it."""
    seen = ties.sightings
    begins = laid.rows[laid.offset[:-1]]
    of_row = np.full(len(seen), -1, np.int64)
    of_row[laid.rows] = np.repeat(np.arange(len(laid)), np.diff(laid.offset))
    span = len(laid) + 1
    for equal, out in ((wires, False), (hosts, True)):
        journey = of_row[equal.rows]
        there = journey >= 0
        starts = there & (begins[np.where(there, journey, 0)] == equal.rows) & equal.sent
        starts &= (seen.kind[equal.rows] == OUTGOING) == out
        known = np.sort((equal.group * span + journey)[there & ties.claimed[equal.rows]])
        wanted = (equal.group * span + journey)[starts]
        before = np.searchsorted(known, wanted) - 1
        again = (before >= 0) & (np.append(known, -1)[before] // span == wanted // span)
        found[journey[starts][again]] = known[before[again]] % span


def retransmissions(ties: Ties, laid: Laid, flow: Column, reply: Column) -> Column:
    """The place of the earlier journey of the same flow and direction whose TCP sequence range each repeats; -1: none.

    A range is what the segment carries, SYN and FIN counted (RFC 9293, 3.4): a packet that repeats any of one that
    began no later than it in the sequence space, and came before it, is said to be that one again.
    """
    packets, found = ties.sightings.packets, np.full(len(laid), -1, np.int64)
    if is_constant(packets.seq) and not (packets.seq[:1] >= 0).any():
        return found  # no segment at all
    row = laid.rows[laid.offset[:-1]]
    flags = packets.flags[row]
    size = packets.length[row].astype(np.int64) + (flags & _SYN != 0) + (flags & _FIN != 0)
    some = np.flatnonzero((packets.proto[row] == _TCP) & (packets.seq[row] >= 0) & (size > 0))
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
