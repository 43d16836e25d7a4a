"""Passes once more, plainly: a host's trace events, one at a time."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from ipaddress import ip_address

from record_passes import Pass, trace_events
from record_plain_parts import (
    LaterFragments,
    decoded,
    is_bare,
)

from netemu.netfilter.conntrack import PacketConntrack
from netemu.netfilter.hooks import STAGE
from netemu.netfilter.messages import TraceEvent
from netemu.netfilter.ruleset import Rule, Ruleset
from netemu.record.capture import START, TAP_TABLE, HostCapture, is_tap_table
from netemu.record.decode.headers import Split, decode
from netemu.record.join.turn import RuleTurn
from netemu.record.sighting import Sighting
from netemu.topology.points import HOOK_STAGES, Point


@dataclass(slots=True)
class PlainPass(Pass):
    """A pass, and the packet as it was before any rule and at its last stage.

    `bare` are events that tell 20 bytes alone, with the places of their sightings (-1: the start).
    """

    arrived: Split | None = None
    left: Split | None = None
    seen: list[Split] = field(default_factory=list)
    bare: list[tuple[int, TraceEvent]] = field(default_factory=list)
    routed: list[tuple[int | None, int | None]] = field(default_factory=list)
    begun_by: int | None = None
    places: list[int] = field(default_factory=list)

    @property
    def stages(self) -> list[str]:
        """The stages that it came to."""
        return [str(sighting.point.stage) for sighting in self.sightings]


def plain_passes(capture: HostCapture) -> list[PlainPass]:
    """A host's passes, in the order in which they began."""
    builder = _Builder(capture.host, capture.rules_before, capture.rules_after, capture.states)
    for event in trace_events(capture.trace):
        builder.take(event)
    later = LaterFragments(capture)
    for each in builder.found:
        _tell_later(each, later)
        _see_dropped_output(each)
    return [each for each in builder.found if each.sightings or each.start == "prerouting"]


def _tell_later(each: PlainPass, later: LaterFragments) -> None:
    """Of later fragments of IPv6 the frames tell what the trace does not; what has no frame stays untold."""
    packets = later.tell([event for _, event in each.bare]) if each.bare else []
    places = [place for place, _ in each.bare]
    if packets is None:
        _untell(each, places)
        return
    for place, packet in zip(places, packets, strict=True):
        if place < 0:
            each.arrived = packet
        else:
            each.seen[place] = packet
            each.sightings[place] = replace(each.sightings[place], headers=decoded(packet))
    each.left = each.seen[-1] if each.seen else None


def _untell(each: PlainPass, places: list[int]) -> None:
    """Take away the sightings of what is not told; the rules stay, with what was seen next."""
    if -1 in places:
        each.arrived = None
    for place in sorted((place for place in places if place >= 0), reverse=True):
        turns = each.turns.pop(place)
        if place < len(each.turns):
            each.turns[place] = turns + each.turns[place]
        else:
            each.rest = turns + each.rest
        for column in (each.sightings, each.seen, each.routed):
            del column[place]
    each.left = each.seen[-1] if each.seen else None
    each.iif = next((iif for iif in (each.begun_by, *(iif for iif, _ in each.routed)) if iif is not None), None)
    each.oif = next((oif for _, oif in reversed(each.routed) if oif is not None), None)


def _see_dropped_output(each: PlainPass) -> None:
    """A packet that its own host drops before the first stage (in the raw table) is seen nowhere else but here."""
    headers = decode(each.arrived) if each.arrived is not None else None
    if each.start == "output" and not each.sightings and headers is not None:
        each.sightings.append(Sighting(Point(each.host, stage="output"), None, headers))
        each.seen.append(each.arrived)
        each.places.append(0)
        each.turns.append([])


_ORDER = {stage: place for place, stage in enumerate(HOOK_STAGES)}
_AFTER_OUTPUT = {"output", "output.nat", "postrouting", "postrouting.nat"}


def _comes_after(stage: str, last: str) -> bool:
    """Whether a pass whose last stage was `last` can come to `stage`."""
    if not last:
        return True
    if last in {"input.nat", "postrouting.nat"} or (last in _AFTER_OUTPUT and stage not in _AFTER_OUTPUT):
        return False
    return _ORDER.get(stage, 0) > _ORDER[last]


def _goes_on(current: PlainPass, event: TraceEvent) -> bool:
    """An IPv4 multicast with TTL 0 does not come to postrouting (ip_mc_output)."""
    if not event.chain.startswith("postrouting") or not current.stage.startswith("output"):
        return True
    headers = current.sightings[-1].headers
    return headers.ttl > 0 or ":" in headers.dst or not ip_address(headers.dst).is_multicast


class _Builder:
    """Holds the passes that are under way, by trace id."""

    def __init__(
        self, host: str, before: Ruleset, after: Ruleset, states: dict[tuple[str, int], PacketConntrack]
    ) -> None:
        self.host = host
        self.rules = before.by_handle() | after.by_handle()
        self.nat_chains = before.nat_chains | after.nat_chains
        self.other_chains = before.other_chains | after.other_chains
        self.states = states
        self.under_way: dict[int, PlainPass] = {}
        self.found: list[PlainPass] = []
        self.events = 0

    def take(self, event: TraceEvent) -> None:
        """Add one event to the pass it belongs to, or begin one."""
        self.events += 1
        tap = event.table == TAP_TABLE
        if tap and event.chain.startswith(START):
            begun = self._begin(event.id, event.chain.removeprefix(START))
            begun.arrived, begun.iif = Split(event.network, event.transport), event.iif
            begun.begun_by = event.iif
            if is_bare(event):
                begun.bare.append((-1, event))
            return
        current = self.under_way.get(event.id)
        if current is None or (tap and not (_comes_after(event.chain, current.stage) and _goes_on(current, event))):
            current = self._begin(event.id, "")  # its start was lost
        if not tap:
            if not is_tap_table(event.table) and (event.kind == "policy" or event.handle is not None):
                current.rest.append(self._turn(event, current.rest))
        elif event.chain in STAGE and (event.network or is_bare(event)):
            self._see(current, event)

    def _begin(self, id: int, start: str) -> PlainPass:
        self.under_way[id] = begun = PlainPass(self.host, start)
        self.found.append(begun)
        return begun

    def _see(self, current: PlainPass, event: TraceEvent) -> None:
        packet = Split(event.network, event.transport)
        if is_bare(event):
            packet = Split(event.transport.ljust(40, b"\0"), b"")  # until it is told
            current.bare.append((len(current.sightings), event))
        headers = decode(packet)
        if headers is None:
            return
        current.routed.append((event.iif, event.oif))
        ct = self.states.get((event.chain, event.handle or 0)) if self.states else event.ct
        current.sightings.append(Sighting(Point(self.host, stage=event.chain), None, headers, ct))
        current.seen.append(packet)
        current.places.append(self.events)
        current.arrived = current.arrived or packet
        current.left = packet
        current.turns.append(current.rest)
        current.rest = []
        current.iif = event.iif if current.iif is None else current.iif
        current.oif = event.oif if event.oif is not None else current.oif

    def _turn(self, event: TraceEvent, earlier: list[RuleTurn]) -> RuleTurn:
        chain = (event.family, event.table, event.chain)
        rule = None
        if event.kind == "rule" and event.handle is not None:
            rule = self.rules.get((*chain, event.handle)) or Rule(*chain, -1, f"handle {event.handle}")
        jumped_to = chain not in self.other_chains and bool(earlier) and earlier[-1].nat
        verdict = event.verdict if event.target is None else f"{event.verdict} {event.target}"
        return RuleTurn(self.host, *chain, rule, verdict, chain in self.nat_chains or jumped_to)
