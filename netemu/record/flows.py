"""Journeys joined to flows: the two directions of one connection, across every NAT on its way.

A packet belongs to a flow whose tuples it shares at any point, or whose conntrack entry it carries: a NATed packet
shows both sides' tuples on its own journey, so its answers are found whichever side they start from. A tuple that
is used again under another entry is another flow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from netemu.netfilter.conntrack import Direction, Entry, Tuple
from netemu.netfilter.messages import (
    MSG_CONNTRACK_DELETE,
    MSG_CONNTRACK_NEW,
    SUBSYS_CONNTRACK,
    conntrack_entry,
    messages,
)
from netemu.record.journeys import Journey

EntryKey = tuple[str, int]
"""A (host, conntrack id)."""


@dataclass(slots=True)
class Flow:
    """One connection. `original` is the first packet's tuple at its first point; `entries` are by host."""

    id: int
    original: Tuple
    entries: dict[str, Entry] = field(default_factory=dict)
    journeys: list[Journey] = field(default_factory=list)
    counts: Counter[Direction] = field(default_factory=Counter)

    def packets(self, direction: Direction) -> list[Journey]:
        """The journeys of one direction, in order."""
        return [journey for journey in self.journeys if journey.direction == direction]


def read_entries(datagrams: Iterable[bytes]) -> dict[int, Entry]:
    """The last known state of each conntrack entry, by id, from events or a dump."""
    found: dict[int, Entry] = {}
    for datagram in datagrams:
        for kind, _, payload in messages(datagram):
            if kind not in (SUBSYS_CONNTRACK << 8 | MSG_CONNTRACK_NEW, SUBSYS_CONNTRACK << 8 | MSG_CONNTRACK_DELETE):
                continue
            entry = conntrack_entry(payload)
            if entry is not None:
                known = found.get(entry.id)
                found[entry.id] = known.updated(entry) if known else entry
    return found


def join_flows(journeys: list[Journey], entries: Mapping[EntryKey, Entry]) -> list[Flow]:
    """Give each journey its flow, direction and nth; `journeys` come in order of time."""
    joiner = _Joiner(entries)
    for journey in journeys:
        joiner.take(journey)
    return joiner.flows


class _Joiner:
    """What is known so far: which flow and direction a directed tuple, or an entry's direction, belongs to."""

    def __init__(self, entries: Mapping[EntryKey, Entry]) -> None:
        self.entries = entries
        self.by_tuple: dict[tuple[str, Tuple], EntryKey] = {}
        for (host, id), entry in entries.items():
            self.by_tuple[host, entry.original] = self.by_tuple[host, entry.reply] = (host, id)
        self.tuples: dict[Tuple, tuple[Flow, Direction]] = {}
        self.tracked: dict[EntryKey, Flow] = {}
        self.flows: list[Flow] = []

    def take(self, journey: Journey) -> None:
        keys = self._entry_keys(journey)
        flow, direction = self._find(journey, keys)
        journey.flow, journey.direction = flow.id, direction
        flow.counts[direction] += 1
        journey.nth = flow.counts[direction]
        flow.journeys.append(journey)
        for key in keys:
            self.tracked[key] = flow
            flow.entries.setdefault(key[0], self.entries[key])
        for seen in journey.sightings:
            self._note(flow, direction, seen.headers.tuple)
        for key in keys:
            entry = self.entries[key]
            self._note(flow, "original", entry.original)
            self._note(flow, "reply", entry.reply)

    def _entry_keys(self, journey: Journey) -> list[EntryKey]:
        """The confirmed entries that the packet carried; an ICMP error's is that of the packet it quotes: left out."""
        keys: dict[EntryKey, None] = {}
        for seen in journey.sightings:
            if seen.ct is None or seen.ct.state in ("related", "invalid", "untracked"):
                continue
            host = seen.point.host
            key = (host, seen.ct.id) if seen.ct.id is not None else self.by_tuple.get((host, seen.headers.tuple))
            if key in self.entries and key is not None:
                keys[key] = None
        return list(keys)

    def _find(self, journey: Journey, keys: list[EntryKey]) -> tuple[Flow, Direction]:
        direction: Direction
        for key in keys:
            if key in self.tracked:
                flow = self.tracked[key]
                direction = next(
                    (
                        hit[1]
                        for seen in journey.sightings
                        if (hit := self.tuples.get(seen.headers.tuple)) and hit[0] is flow
                    ),
                    "original",
                )
                return flow, direction
        for seen in journey.sightings:
            hit = self.tuples.get(seen.headers.tuple)
            if hit is not None and not any(self._other_entry(hit[0], key) for key in keys):
                return hit
        original = journey.first.headers.tuple
        direction = self._told_direction(journey)
        if direction == "reply":  # the record began after the connection's first packet
            original = self.entries[keys[0]].original if keys else original.inverse
        flow = Flow(len(self.flows) + 1, original)
        self.flows.append(flow)
        return flow, direction

    def _told_direction(self, journey: Journey) -> Direction:
        """The direction that conntrack tells; without it, a flow's first packet is an original one."""
        told = (seen.ct.direction for seen in journey.sightings if seen.ct is not None and seen.ct.state != "related")
        return next((direction for direction in told if direction is not None), "original")

    def _other_entry(self, flow: Flow, key: EntryKey) -> bool:
        known = flow.entries.get(key[0])
        return known is not None and known.id != key[1]

    def _note(self, flow: Flow, direction: Direction, directed: Tuple) -> None:
        known = self.tuples.get(directed)
        if known is not None and known[0] is flow:
            return
        self.tuples[directed] = (flow, direction)
        self.tuples[directed.inverse] = (flow, "reply" if direction == "original" else "original")
