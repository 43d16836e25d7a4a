"""A host's trace events grouped into passes: one packet's way through the hooks of one host.

Events carry no time; their order on the socket is the order in the hooks. The trace id is used again for later
packets, so a pass starts anew at its first stage.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from netemu.netfilter.conntrack import PacketConntrack
from netemu.netfilter.hooks import STARTS
from netemu.netfilter.messages import MSG_TRACE, SUBSYS_NFTABLES, TraceEvent, messages, trace_event
from netemu.netfilter.ruleset import Rule
from netemu.record.capture import HostCapture, is_tap_table
from netemu.record.events import Events, packet_conntrack, read_events
from netemu.record.packets import Packets, decode_splits
from netemu.record.rows import Column, ranges, stable_order
from netemu.record.sighting import Sighting
from netemu.topology.points import HOOK_STAGES, Point

START = "start-"
"""The tap chains that switch a packet's trace on are named `start-HOOK`; the others are named after their stage."""

Teller = Literal["trace", "counters", "nothing"]


@dataclass(frozen=True, slots=True)
class RuleTurn:
    """A rule of the host (not of a tap) that a packet matched, or a base chain's policy that it fell to.

    `nat` tells whether that was on the walk of a nat chain: in one, or in a chain that it jumped to. `told_by` is how
    it is known: by the trace; under iptables-legacy by the rules' counters, or not at all (legacy.py).
    """

    host: str
    family: str
    table: str
    chain: str
    rule: Rule | None
    verdict: str
    nat: bool
    told_by: Teller = "trace"

    @property
    def text(self) -> str:
        """The rule as its tool lists it; `policy` for a chain's policy; `unknown` where nothing tells."""
        if self.told_by == "nothing":
            return "unknown"
        return self.rule.text if self.rule is not None else "policy"


@dataclass(slots=True)
class Pass:
    """One packet's way through one host's hooks: its sightings in order, and the rules it met between them.

    `start` is the hook at which it entered, empty when that was lost. `turns[i]` lie before `sightings[i]`, `rest`
    those after the last.
    """

    host: str
    start: str
    sightings: list[Sighting] = field(default_factory=list)
    turns: list[list[RuleTurn]] = field(default_factory=list)
    rest: list[RuleTurn] = field(default_factory=list)
    iif: int | None = None
    oif: int | None = None

    @property
    def stage(self) -> str:
        """The last stage that was reached; empty if none was."""
        return str(self.sightings[-1].point.stage) if self.sightings else ""

    @property
    def dropped_by(self) -> RuleTurn | None:
        """The rule or policy that dropped the packet, if one did."""
        return next((turn for turn in reversed(self.rest) if turn.verdict == "drop"), None)


def trace_events(datagrams: Iterable[bytes]) -> Iterable[TraceEvent]:
    """The trace events in a trace socket's datagrams, in order, one at a time."""
    for datagram in datagrams:
        for kind, _, payload in messages(datagram):
            if kind == SUBSYS_NFTABLES << 8 | MSG_TRACE and (event := trace_event(payload)) is not None:
                yield event


STAGE_CODE = {stage: code for code, stage in enumerate(HOOK_STAGES)}
START_CODE = {str(start): code for code, start in enumerate(("", *STARTS))}
LAST_STAGES = ("input.nat", "postrouting.nat")
_AFTER_OUTPUT = {"output", "output.nat", "postrouting", "postrouting.nat"}
_IGNORED, _BEGINS, _SEES, _TURN = range(4)
"""What an event means to a pass."""
_NAT, _OTHER, _JUMPED_TO = range(3)
"""What a chain is: a nat hook's base chain, another base chain, one that rules jump to."""


def comes_after(stage: str, last: str) -> bool:
    """Whether a pass whose last stage was `last` can come to `stage`."""
    if not last:
        return True
    if last in LAST_STAGES or (last in _AFTER_OUTPUT and stage not in _AFTER_OUTPUT):
        return False
    return STAGE_CODE.get(stage, 0) > STAGE_CODE[last]


_COMES_AFTER = np.array([[comes_after(stage, last) for last in HOOK_STAGES] for stage in HOOK_STAGES])


@dataclass(frozen=True, slots=True)
class HostPasses:
    """A host's passes as columns, in the order in which they began; then its hook sightings, pass by pass.

    Of each pass: `start` (START_CODE), its sightings `first` to `first + count`, the turns after them, the digest of
    the packet that `arrived` (0 where it is not known), interfaces (-1 where unknown). Of each sighting: `stage`
    (STAGE_CODE), the `event` it comes from, its headers, its conntrack state (`ct`, -1 for none, numbers `states`,
    which have no id) and entry (`ct_id`), the turns before it. `turns` number `met`.
    """

    host: str
    start: Column
    first: Column
    count: Column
    rest_first: Column
    rest_count: Column
    arrived: Column
    iif: Column
    oif: Column
    stage: Column
    event: Column
    packets: Packets
    ct: Column
    ct_id: Column
    turns_first: Column
    turns_count: Column
    turns: Column
    met: tuple[RuleTurn, ...]
    states: tuple[PacketConntrack, ...]
    events: Events


def read_passes(capture: HostCapture) -> HostPasses:
    """A host's passes from its trace."""
    return passes_and_events(capture)[0]


def passes_and_events(capture: HostCapture) -> tuple[HostPasses, Column]:
    """A host's passes, and the number of the pass that each event is of; -1 where it is of none."""
    events = read_events(capture.trace)
    sayings = _Sayings(capture, events)
    tap = np.flatnonzero(sayings.tap[events.said] & (events.network_length > 0))
    places = (events.network, events.network_length, events.transport, events.transport_length)
    packets = decode_splits(events.data, *(each[tap] for each in places))
    place = np.full(len(events), -1, np.int64)
    place[tap[packets.version > 0]] = np.flatnonzero(packets.version > 0)
    kind = sayings.kind[events.said]
    stage = sayings.stage[events.said]
    odd = sayings.tap[events.said] & (kind != _BEGINS) & ((place < 0) | (stage < 0))
    kind[odd] = _IGNORED
    grouped = _group(events.id, kind, stage, odd)
    found, kept = _columns(capture, events, sayings, grouped, kind, stage, place, packets)
    order, start = grouped
    number = np.where(kept, np.cumsum(kept) - 1, -1)
    of_event = np.empty(len(order), np.int64)
    of_event[order] = np.repeat(number, np.diff(np.append(start, len(order))))
    return found, of_event


def _group(id: Column, kind: Column, stage: Column, odd: Column) -> tuple[Column, Column]:
    """All events by pass, in the order in which passes began, and where in that each pass begins."""
    order = stable_order(id)
    ids, kind, stage = id[order], kind[order], stage[order]
    begins = np.ones(len(order), np.bool_)
    begins[1:] = ids[1:] != ids[:-1]
    block = np.maximum.accumulate(np.where(begins, np.arange(len(order)), 0))
    matters = kind != _TURN
    matters &= kind != _IGNORED
    last = np.maximum.accumulate(np.where(matters, np.arange(len(order)), -1))
    before = np.concatenate([[-1], last[:-1]]) if len(last) else last
    follows = (kind == _SEES) & (before >= block)
    follows[follows] = kind[before[follows]] == _SEES
    again = np.zeros(len(order), np.bool_)
    again[follows] = ~_COMES_AFTER[stage[follows], stage[before[follows]]]
    begins |= again | (kind == _BEGINS)
    if odd.any():
        _group_odd(order, np.isin(ids, ids[odd[order]]), begins, block, kind, stage, odd)
    start = np.flatnonzero(begins)
    earliest = stable_order(order[start])
    count = np.diff(np.append(start, len(order)))[earliest]
    return order[ranges(start[earliest], count)], np.cumsum(count) - count


def _group_odd(
    order: Column, mine: Column, begins: Column, block: Column, kind: Column, stage: Column, odd: Column
) -> None:
    """Where passes begin among the events of ids of which some tap's event makes no sense: one after another.

    Such an event begins a pass where its stage can't follow, but is no stage that the next would have to follow.
    """
    last = -1
    for row in np.flatnonzero(mine):
        if block[row] == row:
            last = -1
        strange = bool(odd[order[row]])
        name = HOOK_STAGES[stage[row]] if stage[row] >= 0 else ""
        begins[row] = block[row] == row or kind[row] == _BEGINS
        if (kind[row] == _SEES or strange) and last >= 0 and not comes_after(name, HOOK_STAGES[last]):
            begins[row] = True
        if begins[row]:
            last = -1
        if kind[row] == _SEES:
            last = int(stage[row])


class _Sayings:
    """What each saying of the events means: one entry a saying."""

    def __init__(self, capture: HostCapture, events: Events) -> None:
        self.capture = capture
        self.events = events
        said = events.sayings
        self.rules = capture.rules_before.by_handle() | capture.rules_after.by_handle()
        nat = capture.rules_before.nat_chains | capture.rules_after.nat_chains
        others = capture.rules_before.other_chains | capture.rules_after.other_chains
        chains = [(each.family, each.table, each.chain) for each in said]
        self.tap = np.array([each.table == capture.table for each in said], np.bool_)
        self.kind = np.array([self._kind(each) for each in said], np.uint8)
        self.stage = np.array([STAGE_CODE.get(each.chain, -1) for each in said], np.int8)
        self.begins = np.array(
            [START_CODE.get(each.chain.removeprefix(START), 0) if self._kind(each) == _BEGINS else 0 for each in said],
            np.uint8,
        )
        self.chain = np.array(
            [_NAT if chain in nat else _OTHER if chain in others else _JUMPED_TO for chain in chains], np.uint8
        )

    def _kind(self, said: TraceEvent) -> int:
        if said.table == self.capture.table:
            return _BEGINS if said.chain.startswith(START) else _SEES
        if is_tap_table(said.table):
            return _IGNORED
        return _TURN if said.kind == "policy" or said.handle is not None else _IGNORED

    def turn(self, number: int, nat: bool) -> RuleTurn:
        """What a saying tells of a rule."""
        said = self.events.sayings[number]
        chain = (said.family, said.table, said.chain)
        rule = None
        if said.kind == "rule" and said.handle is not None:
            rule = self.rules.get((*chain, said.handle)) or Rule(*chain, -1, f"handle {said.handle}")
        verdict = said.verdict if said.target is None else f"{said.verdict} {said.target}"
        return RuleTurn(self.capture.host, *chain, rule, verdict, nat)

    def conntrack(self, rows: Column) -> tuple[Column, Column, tuple[PacketConntrack, ...]]:
        """The events' conntrack states as numbers, their entries, and what the numbers stand for."""
        events = self.events
        if self.capture.states:
            states = tuple(dict.fromkeys(self.capture.states.values()))
            number = {state: place for place, state in enumerate(states)}
            known = {place: number[state] for place, state in self._told_by_rule()}
            told = np.array([known.get(place, -1) for place in range(len(events.sayings))], np.int32)
            return told[events.said[rows]] if len(told) else np.empty(0, np.int32), np.full(len(rows), -1), states
        has_id = events.ct_id[rows] >= 0
        word = events.ct_state[rows].astype(np.uint64) << np.uint64(40)
        word |= (has_id & events.ct_reply[rows]).astype(np.uint64) << np.uint64(33)
        word |= np.where(has_id, np.uint64(1 << 32) | events.ct_status[rows], np.uint64(0))
        kinds, inverse = np.unique(word, return_inverse=True)
        found: list[PacketConntrack] = []
        codes = []
        for each in kinds.tolist():
            state = packet_conntrack(each >> 40, bool(each >> 33 & 1), 0 if each >> 32 & 1 else -1, each & 0xFFFFFFFF)
            codes.append(-1 if state is None else len(found))
            found += [] if state is None else [state]
        codes_of = np.array(codes, np.int32)
        return codes_of[inverse] if len(codes_of) else np.empty(0, np.int32), events.ct_id[rows], tuple(found)

    def _told_by_rule(self) -> Iterable[tuple[int, PacketConntrack]]:
        for place, said in enumerate(self.events.sayings):
            state = self.capture.states.get((said.chain, said.handle or 0))
            if state is not None and said.table == self.capture.table:
                yield place, state


def _columns(
    capture: HostCapture,
    events: Events,
    sayings: _Sayings,
    grouped: tuple[Column, Column],
    kind: Column,
    stage: Column,
    place: Column,
    packets: Packets,
) -> tuple[HostPasses, Column]:
    """The passes that are kept, and which of all are."""
    order, start = grouped
    kinds, stages, places = kind[order], stage[order].copy(), place[order]
    end = np.append(start[1:], len(order)) if len(start) else start
    of_pass = np.repeat(np.arange(len(start)), end - start)
    begun = sayings.begins[events.said[order[start]]] if len(start) else np.empty(0, np.uint8)
    seen = kinds == _SEES
    _see_dropped_output(start, begun, seen, stages, places, of_pass)
    count = np.bincount(of_pass[seen], minlength=len(start))
    kept = (count > 0) | (begun == START_CODE["prerouting"])
    rows = np.flatnonzero(seen)
    turn_at = np.flatnonzero(kinds == _TURN)
    since = np.concatenate([[0], rows[:-1] + 1]) if len(rows) else rows
    since = np.maximum(since, start[of_pass[rows]])
    after = np.searchsorted(rows, end)  # of each pass, the first sighting that is not its own
    last = np.where(count > 0, np.append(rows, 0)[after - 1] + 1, start)
    turns_first, rest_first = np.searchsorted(turn_at, since), np.searchsorted(turn_at, last)
    said, met = _met(sayings, events.said[order[turn_at]], np.searchsorted(rows, turn_at), of_pass[turn_at])
    ct, ct_id, states = sayings.conntrack(order[rows])
    if not capture.states:
        made_up = kinds[rows] == _BEGINS
        ct[made_up], ct_id[made_up] = -1, -1
    arrived = np.zeros(len(start), np.uint64)
    knows = np.flatnonzero((begun > 0) & (places[start] >= 0) if len(start) else kept)
    arrived[knows] = packets.key[places[start[knows]]]
    iif, oif = _interfaces(events, order, np.flatnonzero(seen | (kinds == _BEGINS)), rows, of_pass, len(start))
    found = HostPasses(
        capture.host,
        begun[kept],
        (np.cumsum(count) - count)[kept],
        count[kept],
        rest_first[kept],
        (np.searchsorted(turn_at, end) - rest_first)[kept],
        arrived[kept],
        iif[kept],
        oif[kept],
        stages[rows],
        order[rows],
        packets.select(places[rows]),
        ct,
        ct_id,
        turns_first,
        np.searchsorted(turn_at, rows) - turns_first,
        said,
        met,
        states,
        events,
    )
    return found, kept


def _see_dropped_output(
    start: Column, begun: Column, seen: Column, stages: Column, places: Column, of_pass: Column
) -> None:
    """A packet that its own host drops before the first stage (in the raw table) is seen nowhere else but here."""
    alone = (np.bincount(of_pass[seen], minlength=len(start)) == 0) & (begun == START_CODE["output"])
    at = start[alone]
    at = at[places[at] >= 0]
    seen[at] = True
    stages[at] = STAGE_CODE["output"]


def _met(sayings: _Sayings, said: Column, run: Column, of_pass: Column) -> tuple[Column, tuple[RuleTurn, ...]]:
    """The turns by number, and what the numbers stand for; in one run are turns with no sighting between them.

    A chain that is no base chain belongs to a nat walk if the turn before it in its run does.
    """
    chain = sayings.chain[said]
    begins = np.ones(len(said), np.bool_)
    begins[1:] = (run[1:] != run[:-1]) | (of_pass[1:] != of_pass[:-1])
    tells = np.maximum.accumulate(np.where(begins | (chain != _JUMPED_TO), np.arange(len(said)), 0))
    both = said.astype(np.int64) * 2 + (chain[tells] == _NAT)
    kinds, inverse = np.unique(both, return_inverse=True)
    return inverse.astype(np.int32), tuple(sayings.turn(each // 2, bool(each % 2)) for each in kinds.tolist())


def _interfaces(
    events: Events, order: Column, told: Column, rows: Column, of_pass: Column, passes: int
) -> tuple[Column, Column]:
    """The interface that each pass came from, as its first event tells, and the one it went to, as its last does."""
    iif, oif = np.full(passes, -1, np.int64), np.full(passes, -1, np.int64)
    comes = told[events.iif[order[told]] >= 0][::-1]
    iif[of_pass[comes]] = events.iif[order[comes]]  # of several values for one place the last stays
    goes = rows[events.oif[order[rows]] >= 0]
    oif[of_pass[goes]] = events.oif[order[goes]]
    return iif, oif


def passes(capture: HostCapture) -> list[Pass]:
    """A host's passes, in the order in which they began, each as a value of its own."""
    found = read_passes(capture)
    return [_pass(found, number) for number in range(len(found.start))]


def _pass(found: HostPasses, number: int) -> Pass:
    rows = range(found.first[number], found.first[number] + found.count[number])
    names = {code: hook for hook, code in START_CODE.items()}
    iif, oif = int(found.iif[number]), int(found.oif[number])
    sightings = []
    for row in rows:
        headers = found.packets.headers(row)
        assert headers is not None
        ct = hook_conntrack(found.states, int(found.ct[row]), int(found.ct_id[row]))
        sightings.append(Sighting(Point(found.host, stage=HOOK_STAGES[found.stage[row]]), None, headers, ct))

    def turns(first: Column, count: Column, place: int) -> list[RuleTurn]:
        return [found.met[turn] for turn in found.turns[first[place] : first[place] + count[place]]]

    return Pass(
        found.host,
        names[int(found.start[number])],
        sightings,
        [turns(found.turns_first, found.turns_count, row) for row in rows],
        turns(found.rest_first, found.rest_count, number),
        iif=iif if iif >= 0 else None,
        oif=oif if oif >= 0 else None,
    )


def hook_conntrack(states: tuple[PacketConntrack, ...], number: int, id: int) -> PacketConntrack | None:
    """A sighting's conntrack state from its columns."""
    if number < 0:
        return None
    state = states[number]
    if id < 0:
        return state
    return PacketConntrack(state.state, state.direction, id, state.status)
