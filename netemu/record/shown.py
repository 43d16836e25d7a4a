"""What journeys show of the flows that they are of: their tuples and the conntrack entries they carry, as columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from netemu.netfilter.conntrack import Entry
from netemu.record.decode.rows import AT_ONCE, Column, arranged, begins_run, is_constant, mix, spread
from netemu.record.decode.tuples import TUPLE, digests, digests_of
from netemu.record.frames import offsets
from netemu.record.join.fragments import is_later
from netemu.record.join.sightings import Sightings
from netemu.record.journeys import Journeys


@dataclass(frozen=True, slots=True)
class Shown:
    """What each journey shows: its tuples and their inverses, each where it changes, and the entries it carries.

    `like` numbers what is shown alike; `alike[first[n]:first[n + 1]]` are the journeys that show n, in order. ICMP
    errors that quote a packet are in none: they go with that packet.
    """

    tuples: Column
    inverses: Column
    tuples_offset: Column
    entries: Column
    entries_offset: Column
    like: Column
    alike: Column
    first: Column

    @classmethod
    def of(cls, journeys: Journeys, entries: Mapping[tuple[str, int], Entry]) -> Shown:
        """What all journeys show; `entries` are the confirmed ones, by host and conntrack id."""
        laid, seen = journeys.laid, journeys.seen
        carried = carried_entries(seen, entries)
        rows, offset = laid.rows, laid.offset
        journey = spread(np.diff(offset))
        kept = _where_new(seen, rows, journey)
        kept = kept[_tells_ports(seen, rows, kept, offset, journey)]
        shows, (tuples, inverses) = journey[kept], digests(seen.packets, rows[kept])
        hooks = np.flatnonzero(rows >= seen.wires) if (carried >= 0).any() else rows[:0]
        hooks = hooks[carried[rows[hooks] - seen.wires] >= 0]
        numbers = carried[rows[hooks] - seen.wires]
        changed = _changes(numbers, journey[hooks])
        numbers, carries = numbers[changed], journey[hooks][changed]
        tuples_offset, entries_offset = (offsets(np.bincount(each, minlength=len(laid))) for each in (shows, carries))
        signature = _summed(tuples, shows, tuples_offset, 3) ^ _summed(
            numbers.astype(np.uint64), carries, entries_offset, 5
        )
        counted = np.ones(len(laid), np.bool_)
        counted[journeys.quotes.journey] = False
        kept = np.flatnonzero(counted)
        order, signature = arranged(signature if len(kept) == len(laid) else signature[kept])
        begins = begins_run(signature)
        alike, like = kept[order], np.full(len(laid), -1, np.int64)
        like[alike] = np.cumsum(begins) - 1
        first = np.append(np.flatnonzero(begins), len(kept))
        return cls(tuples, inverses, tuples_offset, numbers, entries_offset, like, alike, first)


def _where_new(seen: Sightings, rows: Column, journey: Column) -> Column:
    """The places where a journey's tuple is not the one before; those at which journeys begin, too."""
    columns = [column for name in TUPLE if not is_constant(column := getattr(seen.packets, name))]
    new = np.ones(len(rows), np.bool_)
    for begin in range(0, len(rows), AT_ONCE):
        some = slice(begin, begin + AT_ONCE + 1)
        here, whose = rows[some], journey[some]
        changed = whose[1:] != whose[:-1]
        for column in columns:
            values = column[here]
            changed |= values[1:] != values[:-1]
        new[begin + 1 : begin + 1 + len(changed)] = changed
    return np.flatnonzero(new)


def _tells_ports(seen: Sightings, rows: Column, kept: Column, offset: Column, journey: Column) -> Column:
    """False where a packet's ports are not told on journeys that begin with them, as of its later fragments.

    Of the `kept` places alone.
    """
    without = seen.packets.sport < 0
    without |= is_later(seen.packets.fragment)
    if not without.any():
        return np.ones(len(kept), np.bool_)
    return ~without[rows[kept]] | without[rows[offset[:-1]]][journey[kept]]


def _changes(values: Column, journey: Column) -> Column:
    """Where a value is not the one before it in the same journey."""
    return begins_run(values) | begins_run(journey)


def _summed(values: Column, journey: Column, offset: Column, salt: int) -> Column:
    """A digest of each journey's values in their order."""
    # one each, or none at all: what the sum would give
    if len(values) == len(offset) - 1 and bool((offset[1:] - offset[:-1] == 1).all()):
        return mix(mix(mix(values, salt), salt), salt)
    if not len(values):
        return np.full(len(offset) - 1, mix(np.zeros(1, np.uint64), salt)[0])
    place = (np.arange(len(values)) - offset[journey]).astype(np.uint64)
    total = np.concatenate([np.zeros(1, np.uint64), np.cumsum(mix(mix(values, salt) + place, salt))])
    return mix(total[offset[1:]] - total[offset[:-1]], salt)


def carried_entries(seen: Sightings, entries: Mapping[tuple[str, int], Entry], *, related: bool = False) -> Column:
    """The number of the confirmed entry that each hook's packet carried; -1 for none.

    Where the trace tells no ids, entries are known by tuples. An ICMP error's is that of the packet it quotes: left
    out, unless those of `related` packets are asked for.
    """
    host_number = {host: number for number, host in enumerate(seen.hosts)}
    told = [state.state not in ("related", "invalid", "untracked") for state in seen.states]
    counts = np.array([*told, False], np.bool_)[seen.ct]
    hosts = seen.host_of_points()
    host = hosts[seen.point[seen.wires :]] if len(hosts) else np.empty(0, np.int64)
    found = np.full(len(seen.ct), -1, np.int64)
    keys = np.array([host_number.get(host, -1) << 32 | id for host, id in entries], np.int64)
    if not len(keys):
        return found
    order = np.argsort(keys, kind="stable")
    by_id = np.flatnonzero((counts | related) & (seen.ct_id >= 0))
    wanted = host[by_id] << 32 | seen.ct_id[by_id]
    place = np.minimum(np.searchsorted(keys[order], wanted), len(keys) - 1)
    found[by_id] = np.where(keys[order[place]] == wanted, order[place], -1)
    by_tuple = np.flatnonzero(counts & (seen.ct_id < 0))
    if len(by_tuple):
        known: dict[tuple[int, int], int] = {}
        both = zip(
            *(digests_of([getattr(entry, side) for entry in entries.values()]) for side in ("original", "reply")),
            strict=True,
        )
        for number, ((name, _), tuples_of) in enumerate(zip(entries, both, strict=True)):
            for each in tuples_of:
                known[host_number.get(name, -1), int(each)] = number
        tuples, _ = digests(seen.packets, seen.wires + by_tuple)
        pairs = zip(host[by_tuple].tolist(), tuples.tolist(), strict=True)
        found[by_tuple] = [known.get(pair, -1) for pair in pairs]
    return found
