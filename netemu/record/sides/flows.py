"""Which flow of one side is which flow of another: told by packets that no other flow has.

A key (`kept`) that is found in exactly one flow of each side votes for this pair of flows. Where several flows have
it, as where one probe goes to several servers, the key together with an end that was kept may still be found in one
alone. Ports are no evidence: a NAT may give a port that one client had to another.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from netemu.record.decode.rows import Column, found_in, mix, stable_order
from netemu.record.sides.side import Side

_TCP = 6


@dataclass(frozen=True, slots=True, eq=False)
class FlowPairs:
    """Pairs of flows, one row each: flow `one` of a side is flow `other` of another.

    `crossed` is 1 where the direction bits of the two are each other's opposite. `weak` tells that the evidence is
    thin: no TCP, and a single kind of packet, or neither end kept. `unclear` are pairs with evidence that were not
    taken, since another pair had as much or the directions could not be told.
    """

    one: Column
    other: Column
    crossed: Column
    weak: Column
    unclear: tuple[Column, Column]


def pair_flows(one: Side, other: Side) -> FlowPairs:
    """The flows that two sides share, each at most once."""
    rows = np.arange(len(one)), np.arange(len(other))
    votes = [_unique(one, other, rows, (one.kept.key, other.kept.key))]
    mine, theirs = (np.flatnonzero(~found_in(side.kept.key, votes[0].keys)) for side in (one, other))
    votes += [
        _unique(one, other, (mine, theirs), (_with_end(one, mine, end), _with_end(other, theirs, end)))
        for end in ("dst", "src")
    ]
    return _chosen(votes, one, other)


@dataclass(frozen=True, slots=True, eq=False)
class _Votes:
    """One row a key: the flows that have it, and whether its direction is the same (0), not (1), unknown (-1)."""

    keys: Column
    one: Column
    other: Column
    crossed: Column


def _with_end(side: Side, rows: Column, end: str) -> Column:
    """The key of each row together with an end of its flow."""
    return mix(side.kept.key[rows], 9) ^ mix(getattr(side.kept, end)[rows], 10)


def _unique(one: Side, other: Side, rows: tuple[Column, Column], keys: tuple[Column, Column]) -> _Votes:
    """What these rows' keys vote for: those that are in one flow of each side."""
    mine, flow, bit = _in_one_flow(keys[0], one.flow[rows[0]], one.bit[rows[0]])
    theirs, other_flow, other_bit = _in_one_flow(keys[1], other.flow[rows[1]], other.bit[rows[1]])
    found, at, other_at = np.intersect1d(mine, theirs, assume_unique=True, return_indices=True)
    crossed = np.where((bit[at] < 0) | (other_bit[other_at] < 0), -1, bit[at] ^ other_bit[other_at])
    return _Votes(found, flow[at], other_flow[other_at], crossed)


def _in_one_flow(keys: Column, flow: Column, bit: Column) -> tuple[Column, Column, Column]:
    """The keys that are found in one flow alone, that flow, and their direction bit there (-1 for both)."""
    if not len(keys):
        return keys, flow, bit.astype(np.int64)
    order = stable_order(keys)
    keys, flow, bit = keys[order], flow[order], bit[order].astype(np.int64)
    start = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    low, high = np.minimum.reduceat(flow, start), np.maximum.reduceat(flow, start)
    least, most = np.minimum.reduceat(bit, start), np.maximum.reduceat(bit, start)
    alone = low == high
    return keys[start][alone], low[alone], np.where(least == most, least, -1)[alone]


def _chosen(votes: list[_Votes], one: Side, other: Side) -> FlowPairs:
    """Mutual best pairs that clearly lead and whose directions are told."""
    mine, theirs, crossed = (np.concatenate([getattr(each, n) for each in votes]) for n in ("one", "other", "crossed"))
    code, group = np.unique(mine * max(len(other.first), 1) + theirs, return_inverse=True)
    mine, theirs = code // max(len(other.first), 1), code % max(len(other.first), 1)
    count = np.bincount(group, minlength=len(code))
    straight, across = (np.bincount(group[crossed == way], minlength=len(code)) for way in (0, 1))
    leads = _leads(mine, count) & _leads(theirs, count)
    (low, high), (other_low, other_high) = _ends(one, mine), _ends(other, theirs)
    as_is = (low == other_low).astype(np.int64) + (high == other_high)
    swapped = (low == other_high).astype(np.int64) + (high == other_low)
    way = np.where(as_is != swapped, swapped > as_is, across > straight).astype(np.int64)
    along, against = np.where(way == 1, across, straight), np.where(way == 1, straight, across)
    told = np.where(as_is != swapped, (against == 0) | (along > 0), (straight == 0) != (across == 0))
    kept = np.maximum(as_is, swapped)
    strong = one.kept.proto[one.first[mine]] == _TCP
    taken = leads & told & (strong | (count > 1) | (kept > 0))
    weak = ~strong & ((count == 1) | (kept == 0))
    unclear = np.setdiff1d(mine[~taken], mine[taken]), np.setdiff1d(theirs[~taken], theirs[taken])
    return FlowPairs(mine[taken], theirs[taken], way[taken], weak[taken], unclear)


def _leads(flow: Column, count: Column) -> Column:
    """Whether each pair has more than twice the votes of any other pair of the same flow."""
    order = np.lexsort((-count, flow))
    flow, votes = flow[order], count[order]
    best = np.ones(len(flow), np.bool_)
    best[1:] = flow[1:] != flow[:-1]
    second = np.zeros(len(flow), np.int64)
    second[:-1] = np.where(flow[1:] == flow[:-1], votes[1:], 0)
    found = np.empty(len(flow), np.bool_)
    found[order] = best & (votes > 2 * second)
    return found


def _ends(side: Side, flow: Column) -> tuple[Column, Column]:
    """The source and destination of each flow's packets of direction bit 0; an echo's end is its address alone."""
    row = side.first[flow]
    src, dst, back = side.kept.src[row], side.kept.dst[row], side.bit[row]
    return np.where(back, dst, src), np.where(back, src, dst)
