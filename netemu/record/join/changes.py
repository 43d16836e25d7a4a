"""Where on journeys an address or port is not what it was before, and by what: all of a record's sightings at once."""

from __future__ import annotations

import numpy as np

from netemu.record.decode.packets import Packets
from netemu.record.decode.rows import Column, mix, ranges
from netemu.record.join.forest import Laid
from netemu.record.join.fragments import is_fragment
from netemu.record.join.rewrites import Rewrite, rewrites
from netemu.record.join.sightings import Sightings


def rewritten(seen: Sightings, laid: Laid) -> tuple[Column, Column, list[list[Rewrite]]]:
    """The rows where an address or port is not what it was before, the number of each one's kind, and the kinds.

    A kind are the rewrites of one of its rows: causes and rules are those of all. It is -1 where NAT has no place:
    the cause is unknown there (rewrites.py).
    """
    rows, before = with_before(laid)
    changed = _moved(seen.packets, rows, before)
    rows, before = rows[changed], before[changed]
    nat = np.flatnonzero(np.array([point.is_nat for point in seen.points], np.bool_)[seen.point[rows]])
    states = seen.states_of(before[nat]).astype(np.uint64)
    kind = mix(states ^ _turns(seen.turns, *seen.turns_of(rows[nat])), 1)
    _, place, of_kind = np.unique(mix(kind ^ seen.point[rows[nat]].astype(np.uint64), 2), True, True)
    kinds = [_at(seen, int(before[at]), int(rows[at])) for at in nat[place]]
    number = np.full(len(rows), -1, np.int64)
    number[nat] = of_kind
    return rows, number, kinds


def with_before(laid: Laid) -> tuple[Column, Column]:
    """The rows of all journeys, and the row before each; itself for the first."""
    first = np.zeros(len(laid.rows), np.bool_)
    first[laid.offset[:-1]] = True
    return laid.rows, laid.rows_before(np.arange(len(laid.rows)), first)


def _moved(packets: Packets, rows: Column, before: Column) -> Column:
    """Where source or destination are not what they were before; IPv6's upper halves only where there are any.

    A fragment has no ports: it lost none.
    """
    names = ["src_low", "dst_low", "sport", "dport"]
    names += [name for name in ("src_high", "dst_high") if getattr(packets, name).any()]
    changed = np.zeros(len(rows), np.bool_)
    fragment, port = packets.fragment, packets.sport
    bare = is_fragment(fragment[rows] | fragment[before]) & ((port[rows] < 0) | (port[before] < 0))
    for name in names:
        column = getattr(packets, name)
        moved = column[rows] != column[before]
        changed |= moved & ~bare if "port" in name else moved
    return np.flatnonzero(changed)


def _at(seen: Sightings, before: int, row: int) -> list[Rewrite]:
    found = rewrites(seen.sighting(before), seen.sighting(row), seen.turns_before(row))
    return [each for each in found if each.field != "ttl"]


def _turns(turns: Column, first: Column, count: Column) -> Column:
    """A number for the turns before each sighting, in their order."""
    whose = np.repeat(np.arange(len(first)), count)
    place = np.arange(len(whose)) - np.repeat(np.cumsum(count) - count, count)
    total = np.zeros(len(first), np.uint64)
    np.add.at(total, whose, mix(turns[ranges(first, count)].astype(np.uint64) ^ mix(place.astype(np.uint64))))
    return mix(total)
