"""Journeys joined to flows: the two directions of one connection, across every NAT on its way.

A packet belongs to a flow whose tuples it shares at any point, or whose conntrack entry it carries: a NATed packet
shows both sides' tuples on its own journey, so its answers are found whichever side they start from. A tuple that
is used again under another entry is another flow.

Packets that show the same tuples and entries all along their journeys belong together: one of them is looked at, and
once more if one of its tuples was taken over by another flow since.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Unpack

import numpy as np

from netemu.errors import UsageError
from netemu.netfilter.conntrack import Direction, Entry, Tuple
from netemu.netfilter.messages import (
    MSG_CONNTRACK_DELETE,
    MSG_CONNTRACK_NEW,
    SUBSYS_CONNTRACK,
    conntrack_entry,
    messages,
)
from netemu.record.ask.select import Words, journeys_where
from netemu.record.capture import HostCapture
from netemu.record.decode.rows import ranks, stable_order
from netemu.record.decode.tuples import digests_of
from netemu.record.journeys import Chosen, Journey, Journeys
from netemu.record.shown import Shown

EntryKey = tuple[str, int]
"""A (host, conntrack id)."""


@dataclass(slots=True)
class Flow:
    """One connection. `original` is the first packet's tuple at its first point; `entries` are by host."""

    id: int
    original: Tuple
    entries: dict[str, Entry] = field(default_factory=dict)
    journeys: Sequence[Journey] = field(default_factory=list)

    def packets(self, direction: Direction) -> Sequence[Journey]:
        """The packets of one direction, in order; ICMP errors that quote one are not among them."""
        if isinstance(self.journeys, Chosen):
            return self.journeys.going(direction).counting(1, None)
        return [journey for journey in self.journeys if journey.direction == direction and journey.quotes is None]

    @property
    def since_ns(self) -> int:
        """When its first packet began, as `Journey.since_ns` has it."""
        if isinstance(self.journeys, Chosen):
            return int(self.journeys.journeys.laid.since_ns[self.journeys.places[0]])
        return self.journeys[0].since_ns

    @property
    def begins_at(self) -> str:
        """The host that its first packet was first seen at."""
        if isinstance(self.journeys, Chosen):
            return self.journeys.journeys.first_host(self.journeys.places[0])
        return self.journeys[0].first.point.host

    @property
    def start_ns(self) -> int | None:
        """When a wire first saw its first packet; None if none did."""
        if isinstance(self.journeys, Chosen):
            return self.journeys.journeys.first_time(self.journeys.places[0])
        return self.journeys[0].start_ns


class Flows(list[Flow]):
    """A record's flows, in order of time; called, those of which a journey fits a text and all words."""

    def __init__(self, flows: Iterable[Flow] = (), journeys: Journeys | None = None) -> None:
        super().__init__(flows)
        self.journeys = journeys

    def __call__(self, text: str = "", **words: Unpack[Words]) -> list[Flow]:
        """The flows with a journey that is asked for, as `Journeys` has it. Raises UsageError as that does."""
        if self.journeys is None:
            raise UsageError("a record that is not ended yet, or was put together by hand, can't be asked")
        wanted = set(np.unique(self.journeys.flow[journeys_where(self.journeys, text, words)]).tolist())
        return [flow for flow in self if flow.id in wanted]


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


def entries_of(captures: Iterable[HostCapture]) -> dict[EntryKey, Entry]:
    """The last known state of all hosts' conntrack entries."""
    return {
        (capture.host, id): entry
        for capture in captures
        for id, entry in read_entries([*capture.conntrack, *capture.entries]).items()
    }


def join_flows(journeys: Journeys, entries: Mapping[EntryKey, Entry]) -> list[Flow]:
    """Give each journey its flow, direction and nth; `journeys` come in order of time."""
    shown = Shown.of(journeys, entries)
    joiner = _Joiner(journeys, shown, entries)
    joiner.join()
    _join_errors(journeys)
    places = np.split(stable_order(journeys.flow), np.cumsum(np.bincount(journeys.flow))[1:-1])
    for flow, mine in zip(joiner.flows, places, strict=False):
        flow.journeys = Chosen(journeys, mine)
    return joiner.flows


def _join_errors(journeys: Journeys) -> None:
    """Number the packets of each flow and direction; an ICMP error goes with what it quotes, and is none of them."""
    error, quoted = journeys.quotes.journey, journeys.quotes.of
    journeys.flow[error], journeys.reply[error] = journeys.flow[quoted], ~journeys.reply[quoted]
    both = journeys.flow.astype(np.int64) * 2 + journeys.reply
    if not len(error):
        journeys.nth = ranks(both) + 1
        return
    counted = np.ones(len(journeys), np.bool_)
    counted[error] = False
    journeys.nth[counted] = ranks(both[counted]) + 1


class _Joiner:
    """What is known so far: which flow and direction a directed tuple, or an entry's direction, belongs to.

    Tuples are told by their digests, flows by their places in `flows`, a direction by whether it is a reply.
    """

    def __init__(self, journeys: Journeys, shown: Shown, entries: Mapping[EntryKey, Entry]) -> None:
        self.journeys = journeys
        self.shown = shown
        self.keys = list(entries)
        self.entries = list(entries.values())
        sides = [
            digests_of([getattr(entry, side) for entry in self.entries], both=True) for side in ("original", "reply")
        ]
        self.originals, self.replies = (
            [tuple(pair) for pair in zip(*(s.tolist() for s in side), strict=True)] for side in sides
        )
        self.tuples: dict[int, tuple[int, bool]] = {}
        self.tracked: dict[int, int] = {}
        self.flows: list[Flow] = []
        self.taken = 0
        self._lost: set[int] = set()
        self._showing: dict[int, list[int]] = {}

    def join(self) -> None:
        """Look at one journey of each kind, in order; again where a later flow took over what it shows."""
        shown = self.shown
        firsts = np.sort(shown.alike[shown.first[:-1]]).tolist()
        again: list[int] = []
        pending: set[int] = set()
        at = 0
        while at < len(firsts) or again:
            if again and (at == len(firsts) or again[0] < firsts[at]):
                number = heapq.heappop(again)
                pending.discard(number)
            else:
                number = firsts[at]
                at += 1
            flow, reply = self._take(number)
            self._assign(number, flow, reply)
            for late in self._overtaken(number):
                if late not in pending:
                    pending.add(late)
                    heapq.heappush(again, late)

    def _assign(self, number: int, flow: int, reply: bool) -> None:
        """The flow of a journey and of all later ones that show the same."""
        shown = self.shown
        kind = shown.like[number]
        mine = shown.alike[shown.first[kind] : shown.first[kind + 1]]
        mine = mine[np.searchsorted(mine, number) :]
        self.journeys.flow[mine], self.journeys.reply[mine] = flow + 1, reply

    def _overtaken(self, number: int) -> list[int]:
        """The next journeys that show, or whose entry has, a tuple or entry just taken over from another flow."""
        if not self._lost:
            return []
        shown = self.shown
        if not self._showing:
            for kind, first in enumerate(shown.alike[shown.first[:-1]].tolist()):
                tuples = shown.tuples[shown.tuples_offset[first] : shown.tuples_offset[first + 1]].tolist()
                entries = shown.entries[shown.entries_offset[first] : shown.entries_offset[first + 1]].tolist()
                noted = [each for entry in entries for each in (*self.originals[entry], *self.replies[entry])]
                for each in {*tuples, *noted, *(-1 - entry for entry in entries)}:
                    self._showing.setdefault(each, []).append(kind)
        found = []
        for kind in {kind for lost in self._lost for kind in self._showing.get(lost, ())}:
            mine = shown.alike[shown.first[kind] : shown.first[kind + 1]]
            place = np.searchsorted(mine, number, "right")
            found += [int(mine[place])] if 0 < place < len(mine) else []
        self._lost.clear()
        return found

    def _take(self, number: int) -> tuple[int, bool]:
        """A journey's flow, by its place, and whether it is a reply; what it shows belongs to that flow from now on."""
        self.taken += 1
        shown = self.shown
        part = slice(shown.tuples_offset[number], shown.tuples_offset[number + 1])
        tuples, inverses = shown.tuples[part].tolist(), shown.inverses[part].tolist()
        carried = shown.entries[shown.entries_offset[number] : shown.entries_offset[number + 1]].tolist()
        keys = list(dict.fromkeys(carried))
        flow, reply = self._find(number, tuples, keys)
        entries = self.flows[flow].entries
        for key in keys:
            if self.tracked.setdefault(key, flow) != flow:
                self.tracked[key] = flow
                self._lost.add(-1 - key)
            entries.setdefault(self.keys[key][0], self.entries[key])
        for directed, inverse in zip(tuples, inverses, strict=True):
            self._note(flow, reply, directed, inverse)
        for key in keys:
            self._note(flow, False, *self.originals[key])
            self._note(flow, True, *self.replies[key])
        return flow, reply

    def _find(self, number: int, tuples: list[int], keys: list[int]) -> tuple[int, bool]:
        for key in keys:
            if key in self.tracked:
                flow = self.tracked[key]
                hits = (self.tuples.get(directed) for directed in tuples)
                return flow, next((hit[1] for hit in hits if hit is not None and hit[0] == flow), False)
        for directed in tuples:
            hit = self.tuples.get(directed)
            if hit is not None and not any(self._other_entry(hit[0], key) for key in keys):
                return hit
        return self._begin(number, keys)

    def _begin(self, number: int, keys: list[int]) -> tuple[int, bool]:
        """A flow of its own, in the direction that conntrack tells; without it, a first packet is an original one."""
        seen, laid = self.journeys.seen, self.journeys.laid
        rows = laid.rows[laid.offset[number] : laid.offset[number + 1]]
        headers = seen.packets.headers(int(rows[0]))
        assert headers is not None
        original = headers.tuple
        told = (seen.states[code] for code in seen.ct[rows[rows >= seen.wires] - seen.wires].tolist() if code >= 0)
        direction = next((each.direction for each in told if each.state != "related" and each.direction), "original")
        if direction == "reply":  # the record began after the connection's first packet
            original = self.entries[keys[0]].original if keys else original.inverse
        self.flows.append(Flow(len(self.flows) + 1, original))
        return len(self.flows) - 1, direction == "reply"

    def _other_entry(self, flow: int, key: int) -> bool:
        host, id = self.keys[key]
        known = self.flows[flow].entries.get(host)
        return known is not None and known.id != id

    def _note(self, flow: int, reply: bool, directed: int, inverse: int) -> None:
        known = self.tuples.get(directed)
        if known is not None and known[0] == flow:
            return
        for each, value in ((directed, (flow, reply)), (inverse, (flow, not reply))):
            if self.tuples.setdefault(each, value) != value:
                self.tuples[each] = value
                self._lost.add(each)
