"""Flows once more, plainly: one journey at a time, by its tuples and entries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from netemu.netfilter.conntrack import Direction, Entry, Tuple
from netemu.record.flows import EntryKey, Flow
from netemu.record.journeys import Journey
from netemu.record.sighting import Sighting


@dataclass(slots=True)
class PlainFlow(Flow):
    """A flow, and how many packets of each direction it has."""

    journeys: list[Journey] = field(default_factory=list)
    counts: Counter[Direction] = field(default_factory=Counter)


def plain_flows(
    journeys: list[Journey], entries: Mapping[EntryKey, Entry], quoted: Mapping[int, int] | None = None
) -> list[PlainFlow]:
    """Give each journey its flow, direction and nth; `journeys` come in order of time.

    `quoted` tells which journeys are ICMP errors and the journeys that they quote, by their places.
    """
    joiner, quoted = _Joiner(entries), quoted or {}
    for place, journey in enumerate(journeys):
        if place not in quoted:
            joiner.take(journey)
    for place, of in quoted.items():
        about = journeys[of]
        journeys[place].flow = about.flow
        journeys[place].direction = "reply" if about.direction == "original" else "original"
    return joiner.flows


class _Joiner:
    """What is known so far: which flow and direction a directed tuple, or an entry's direction, belongs to."""

    def __init__(self, entries: Mapping[EntryKey, Entry]) -> None:
        self.entries = entries
        self.by_tuple: dict[tuple[str, Tuple], EntryKey] = {}
        for (host, id), entry in entries.items():
            self.by_tuple[host, entry.original] = self.by_tuple[host, entry.reply] = (host, id)
        self.tuples: dict[Tuple, tuple[PlainFlow, Direction]] = {}
        self.tracked: dict[EntryKey, PlainFlow] = {}
        self.flows: list[PlainFlow] = []

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
        for directed in _shown(journey):
            self._note(flow, direction, directed)
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

    def _find(self, journey: Journey, keys: list[EntryKey]) -> tuple[PlainFlow, Direction]:
        direction: Direction
        for key in keys:
            if key in self.tracked:
                flow = self.tracked[key]
                direction = next(
                    (hit[1] for each in _shown(journey) if (hit := self.tuples.get(each)) and hit[0] is flow),
                    "original",
                )
                return flow, direction
        for directed in _shown(journey):
            hit = self.tuples.get(directed)
            if hit is not None and not any(self._other_entry(hit[0], key) for key in keys):
                return hit
        original = journey.first.headers.tuple
        direction = self._told_direction(journey)
        if direction == "reply":  # the record began after the connection's first packet
            original = self.entries[keys[0]].original if keys else original.inverse
        flow = PlainFlow(len(self.flows) + 1, original)
        self.flows.append(flow)
        return flow, direction

    def _told_direction(self, journey: Journey) -> Direction:
        """The direction that conntrack tells; without it, a flow's first packet is an original one."""
        told = (seen.ct.direction for seen in journey.sightings if seen.ct is not None and seen.ct.state != "related")
        return next((direction for direction in told if direction is not None), "original")

    def _other_entry(self, flow: PlainFlow, key: EntryKey) -> bool:
        known = flow.entries.get(key[0])
        return known is not None and known.id != key[1]

    def _note(self, flow: PlainFlow, direction: Direction, directed: Tuple) -> None:
        known = self.tuples.get(directed)
        if known is not None and known[0] is flow:
            return
        self.tuples[directed] = (flow, direction)
        self.tuples[directed.inverse] = (flow, "reply" if direction == "original" else "original")


def _shown(journey: Journey) -> list[Tuple]:
    """The tuples that a journey shows; where ports are not told, as of a later fragment, its packet's, told before."""

    def without(seen: Sighting) -> bool:
        return seen.headers.sport is None or (seen.headers.fragment is not None and seen.headers.fragment[0] > 0)

    seen = [each for each in journey.sightings if without(journey.first) or not without(each)]
    return [each.headers.tuple for each in seen]
