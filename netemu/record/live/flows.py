"""Flows of journeys that come one by one: which flow each belongs to, in which direction, and the how manieth it is.

The rules are those of flows.py. What is known is bounded: the flows that were longest without a packet are forgotten.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from netemu.netfilter.conntrack import Direction, Entry, Tuple
from netemu.record.flows import EntryKey, read_entries
from netemu.record.journeys import Journey

MOST_FLOWS, MOST_ENTRIES = 16_384, 65_536


class Quoted(Protocol):
    """A journey that an ICMP error quotes."""

    @property
    def flow(self) -> int:
        """Its flow's id."""

    @property
    def direction(self) -> Direction:
        """Its direction there."""


@dataclass(slots=True)
class _Flow:
    id: int
    counts: Counter[Direction] = field(default_factory=Counter)
    entries: dict[str, int] = field(default_factory=dict)
    tuples: set[Tuple] = field(default_factory=set)
    keys: set[EntryKey] = field(default_factory=set)


class LiveFlows:
    """`learn` conntrack's messages as they come, `take` journeys in order of time."""

    def __init__(self, most_flows: int = MOST_FLOWS, most_entries: int = MOST_ENTRIES) -> None:
        self.most_flows, self.most_entries = most_flows, most_entries
        self._entries: OrderedDict[EntryKey, Entry] = OrderedDict()
        self._by_tuple: dict[tuple[str, Tuple], EntryKey] = {}
        self._tuples: dict[Tuple, tuple[int, Direction]] = {}
        self._tracked: dict[EntryKey, int] = {}
        self._flows: OrderedDict[int, _Flow] = OrderedDict()
        self._begun = 0

    def learn(self, host: str, datagrams: Iterable[bytes]) -> None:
        """Take conntrack's events, or a dump, of a host."""
        for id, entry in read_entries(datagrams).items():
            key = (host, id)
            known = self._entries.pop(key, None)
            whole = self._entries[key] = known.updated(entry) if known is not None else entry
            for side in (whole.original, whole.reply):
                self._by_tuple[host, side] = key
        while len(self._entries) > self.most_entries:
            key, entry = self._entries.popitem(last=False)
            for side in (entry.original, entry.reply):
                if self._by_tuple.get((key[0], side)) == key:
                    del self._by_tuple[key[0], side]

    def take(self, journey: Journey, quoted: Quoted | None = None) -> None:
        """Give a journey its flow, direction and nth; an ICMP error is of the flow of the packet that it quotes."""
        if quoted is not None:
            journey.flow, journey.nth = quoted.flow, 0
            journey.direction = "reply" if quoted.direction == "original" else "original"
            return
        tuples = list(dict.fromkeys(seen.headers.tuple for seen in journey.sightings))
        keys = self._carried(journey)
        flow, direction = self._find(journey, tuples, keys)
        self._flows.move_to_end(flow.id)
        for key in keys:
            flow.entries.setdefault(*key)
            self._tracked[key] = flow.id
            flow.keys.add(key)
        for directed in tuples:
            self._note(flow, direction, directed)
        for key in keys:
            self._note(flow, "original", self._entries[key].original)
            self._note(flow, "reply", self._entries[key].reply)
        flow.counts[direction] += 1
        journey.flow, journey.direction, journey.nth = flow.id, direction, flow.counts[direction]

    def _carried(self, journey: Journey) -> list[EntryKey]:
        """The entries that a packet carried on its way, as far as they are known."""
        found: dict[EntryKey, None] = {}
        for seen in journey.sightings:
            if seen.ct is None or seen.ct.state in ("related", "invalid", "untracked"):
                continue
            host = seen.point.host
            key = (host, seen.ct.id) if seen.ct.id is not None else self._by_tuple.get((host, seen.headers.tuple))
            if key is not None and key in self._entries:
                found[key] = None
        return list(found)

    def _find(self, journey: Journey, tuples: list[Tuple], keys: list[EntryKey]) -> tuple[_Flow, Direction]:
        for key in keys:
            if key in self._tracked:
                flow = self._flows[self._tracked[key]]
                hits = (self._tuples.get(directed) for directed in tuples)
                return flow, next((hit[1] for hit in hits if hit is not None and hit[0] == flow.id), "original")
        for directed in tuples:
            hit = self._tuples.get(directed)
            if hit is not None and all(self._flows[hit[0]].entries.get(host, id) == id for host, id in keys):
                return self._flows[hit[0]], hit[1]
        return self._begin(journey)

    def _begin(self, journey: Journey) -> tuple[_Flow, Direction]:
        told = (seen.ct for seen in journey.sightings if seen.ct is not None and seen.ct.state != "related")
        direction: Direction = next((ct.direction for ct in told if ct.direction), "original")
        self._begun += 1
        flow = self._flows[self._begun] = _Flow(self._begun)
        while len(self._flows) > self.most_flows:
            self._forget(self._flows.popitem(last=False)[1])
        return flow, direction

    def _forget(self, flow: _Flow) -> None:
        for directed in flow.tuples:
            if self._tuples.get(directed, (0,))[0] == flow.id:
                del self._tuples[directed]
        for key in flow.keys:
            if self._tracked.get(key) == flow.id:
                del self._tracked[key]

    def _note(self, flow: _Flow, direction: Direction, directed: Tuple) -> None:
        known = self._tuples.get(directed)
        if known is not None and known[0] == flow.id:
            return
        other: Direction = "reply" if direction == "original" else "original"
        self._tuples[directed], self._tuples[directed.inverse] = (flow.id, direction), (flow.id, other)
        flow.tuples |= {directed, directed.inverse}
