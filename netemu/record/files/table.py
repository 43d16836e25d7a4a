"""A record's sightings as a Polars data frame; polars comes with the extra `frames`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from netemu.netfilter.conntrack import Entry
from netemu.netfilter.messages import PROTOCOLS
from netemu.record.decode.checksums import WORDS
from netemu.record.decode.packets import Packets, address_text
from netemu.record.decode.rows import Column, mix
from netemu.record.flows import EntryKey
from netemu.record.join.changes import rewritten
from netemu.record.join.ends import ENDS
from netemu.record.join.sightings import Sightings
from netemu.record.journeys import Journeys
from netemu.record.shown import carried_entries

if TYPE_CHECKING:
    import polars as pl

NEEDS_POLARS = (
    "a data frame needs polars, of the extra 'frames': in netemu's checkout, .venv/bin/pip install -e '.[frames]'"
    " (or by the pip of the environment that netemu was installed into)"
)
"""PyPI's `netemu` is another project's: the extra is to be had of a checkout only."""
PROTOCOL_NAMES = tuple(PROTOCOLS.get(number, str(number)) for number in range(256))


def table(journeys: Journeys, entries: Mapping[EntryKey, Entry]) -> pl.DataFrame:
    """One row a sighting, journey by journey, in order; null for what a sighting does not have.

    Columns: journey, flow, reply, nth, place, host, point, time_ns, proto, src, sport, dst, dport, ttl, length, seq,
    ack, flags (TCP's bits), ct_state, ct_direction, ct_id, interface, way, stage, icmp (type * 256 + code), icmp_id,
    ip_id, vlan (the outer tag's id), end (how the journey ended), complete, by (what rewrote an address or port there),
    rule (that did it), ct_status (conntrack's bits, IPS_… in nf_conntrack_common.h), the ids of the journeys that
    this one retransmits, duplicates or quotes, ip_checksum and checksum (right, wrong, absent, unfinished, unknown:
    see Sighting), and ct_mark and ct_zone, at hooks: those of the packet's conntrack entry, as `entries` last tell it
    (0: no mark, the default zone). ImportError where polars is not installed.
    """
    import polars as pl

    laid, seen, rows = journeys.laid, journeys.seen, journeys.laid.rows
    count = np.diff(laid.offset)
    journey = np.repeat(np.arange(len(laid)), count)
    packets = seen.packets
    states = seen.states_of(rows)
    hooks = np.where(rows < seen.wires, len(seen.ct), rows - seen.wires)
    checksums = seen.checksums.of(rows)
    columns = {
        "journey": journey + 1,
        "flow": journeys.flow[journey],
        "reply": journeys.reply[journey],
        "nth": journeys.nth[journey],
        "place": np.arange(len(rows)) - laid.offset[:-1][journey],
        "host": named([point.host for point in seen.points], seen.point[rows]),
        "point": named([str(point) for point in seen.points], seen.point[rows]),
        "time_ns": np.append(seen.time_ns, -1)[np.minimum(rows, seen.wires)],
        "proto": named(PROTOCOL_NAMES, packets.proto[rows]),
        "src": addresses(packets, "src", rows),
        "sport": packets.sport[rows],
        "dst": addresses(packets, "dst", rows),
        "dport": packets.dport[rows],
        "ttl": packets.ttl[rows],
        "length": packets.length[rows],
        "seq": packets.seq[rows],
        "ack": packets.ack[rows],
        "flags": packets.flags[rows],
        "ct_state": named([state.state for state in seen.states], states),
        "ct_direction": named([state.direction for state in seen.states], states),
        "ct_id": np.append(seen.ct_id, -1)[hooks],
        "interface": named([point.interface for point in seen.points], seen.point[rows]),
        "way": named([point.way for point in seen.points], seen.point[rows]),
        "stage": named([point.stage for point in seen.points], seen.point[rows]),
        "icmp": packets.icmp[rows],
        "icmp_id": packets.icmp_id[rows],
        "ip_id": packets.ip_id[rows],
        "vlan": np.where(packets.vlan < 0, -1, packets.vlan & 0xFFF)[rows],
        "end": named(ENDS, laid.end[laid.ends_offset[:-1]][journey]),
        "complete": laid.complete[journey],
        **_rewritten(journeys, rows),
        "ct_status": pl.Series([*(state.status for state in seen.states), None], dtype=pl.Int64).gather(
            np.where(states < 0, len(seen.states), states)
        ),
        "retransmits": _ids(journeys.retransmits)[journey],
        "duplicates": _ids(journeys.order.duplicates)[journey],
        "quotes": _quoted(journeys)[journey],
        "ip_checksum": named(WORDS, checksums.ip),
        "checksum": named(WORDS, checksums.carried),
        **_of_entries(seen, hooks, entries),
    }
    nulls = [
        *("time_ns", "sport", "dport", "seq", "ack", "ct_id", "icmp", "icmp_id", "vlan"),
        *("retransmits", "duplicates", "quotes", "ct_mark", "ct_zone"),
    ]
    frame = pl.DataFrame(columns)
    return frame.with_columns(pl.when(pl.col(name) >= 0).then(pl.col(name)).alias(name) for name in nulls)


def _of_entries(seen: Sightings, hooks: Column, entries: Mapping[EntryKey, Entry]) -> dict[str, Column]:
    """The mark and zone of the conntrack entry at each row, -1 for none; `hooks` counts rows from the first hook on."""
    carried = np.append(carried_entries(seen, entries, related=True), -1)[hooks]
    told = [(entry.mark or 0, entry.zone or 0) for entry in entries.values()]
    both = np.array([*told, (-1, -1)], np.int64)[carried]
    return {"ct_mark": both[:, 0], "ct_zone": both[:, 1]}


def _rewritten(journeys: Journeys, rows: Column) -> dict[str, pl.Series]:
    """By what an address or port was rewritten at each row, and the rule where one did it."""
    changed, number, kinds = rewritten(journeys.seen, journeys.laid)
    kind = np.full(len(journeys.seen), -1, np.int64)
    kind[changed] = np.where(number < 0, len(kinds), number)
    by = [*(each[0].by if each else "unknown" for each in kinds), "unknown"]
    rules = [*(each[0].rule if each else None for each in kinds), None]
    return {"by": named(by, kind[rows]), "rule": named(rules, kind[rows])}


def _ids(places: Column) -> Column:
    """The ids of journeys at these places; -1 for none."""
    return np.where(places >= 0, places.astype(np.int64) + 1, -1)


def _quoted(journeys: Journeys) -> Column:
    """The id of the journey that each one quotes, as an ICMP error does; -1 for none."""
    found = np.full(len(journeys), -1, np.int64)
    found[journeys.quotes.journey] = journeys.quotes.of + 1
    return found


def named(names: Sequence[str | None], numbers: Column) -> pl.Series:
    """What the numbers stand for; -1 stands for nothing."""
    import polars as pl

    numbers = numbers.astype(np.int64)
    return pl.Series([*names, None], dtype=pl.String).gather(np.where(numbers < 0, len(names), numbers))


def addresses(packets: Packets, side: str, rows: Column) -> pl.Series:
    """The addresses of one side (`src` or `dst`) as people write them; null where there is no IP header."""
    high, low, version = (getattr(packets, name)[rows] for name in (f"{side}_high", f"{side}_low", "version"))
    _, place, number = np.unique(
        mix(mix(high) + low) ^ version.astype(np.uint64), return_index=True, return_inverse=True
    )
    each = zip(version[place].tolist(), high[place].tolist(), low[place].tolist(), strict=True)
    return named([address_text(*address) if address[0] else None for address in each], number)
