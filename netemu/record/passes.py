"""A host's trace events grouped into passes: one packet's way through the hooks of one host.

Events carry no time; their order on the socket is the order in the hooks. The trace id is used again for later
packets, so a pass starts anew at its first stage.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from netemu.netfilter.conntrack import PacketConntrack
from netemu.netfilter.hooks import STAGE
from netemu.netfilter.messages import MSG_TRACE, SUBSYS_NFTABLES, TraceEvent, messages, trace_event
from netemu.netfilter.ruleset import Rule, Ruleset
from netemu.record.capture import TAP_TABLE, HostCapture
from netemu.record.headers import Split, decode
from netemu.record.sighting import Sighting
from netemu.topology.points import HOOK_STAGES, Point

START = "start-"
"""The tap chains that switch a packet's trace on are named `start-HOOK`; the others are named after their stage."""


@dataclass(frozen=True, slots=True)
class RuleTurn:
    """A rule of the host (not of a tap) that a packet matched, or a base chain's policy that it fell to.

    `nat` tells whether that was on the walk of a nat chain: in one, or in a chain that it jumped to.
    """

    host: str
    family: str
    table: str
    chain: str
    rule: Rule | None
    verdict: str
    nat: bool

    @property
    def text(self) -> str:
        """The rule as its tool lists it; `policy` for a chain's policy."""
        return self.rule.text if self.rule is not None else "policy"


@dataclass(slots=True)
class Pass:
    """One packet's way through one host's hooks: `start` is `prerouting` or `output` ("" if its start was lost).

    `turns` holds, for each sighting, the rules that were matched between it and the one before; `rest` those after
    the last. `arrived` is the packet as it was before any rule; `left` as it was at its last stage.
    """

    host: str
    start: str
    sightings: list[Sighting] = field(default_factory=list)
    turns: list[list[RuleTurn]] = field(default_factory=list)
    rest: list[RuleTurn] = field(default_factory=list)
    arrived: Split | None = None
    left: Split | None = None
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
    """The trace events in a trace socket's datagrams, in order."""
    for datagram in datagrams:
        for kind, _, payload in messages(datagram):
            if kind == SUBSYS_NFTABLES << 8 | MSG_TRACE and (event := trace_event(payload)) is not None:
                yield event


def passes(capture: HostCapture) -> list[Pass]:
    """A host's passes, in the order in which they began."""
    builder = _Builder(capture.host, capture.rules_before, capture.rules_after, capture.states)
    for event in trace_events(capture.trace):
        builder.take(event)
    for each in builder.found:
        _see_dropped_output(each)
    return [each for each in builder.found if each.sightings or each.start == "prerouting"]


def _see_dropped_output(each: Pass) -> None:
    """A packet that its own host drops before the first stage (in the raw table) is seen nowhere else but here."""
    headers = decode(each.arrived) if each.arrived is not None else None
    if each.start == "output" and not each.sightings and headers is not None:
        each.sightings.append(Sighting(Point(each.host, stage="output"), None, headers))
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
        self.under_way: dict[int, Pass] = {}
        self.found: list[Pass] = []

    def take(self, event: TraceEvent) -> None:
        """Add one event to the pass it belongs to, or begin one."""
        tap = event.table == TAP_TABLE
        if tap and event.chain.startswith(START):
            begun = self._begin(event.id, event.chain.removeprefix(START))
            begun.arrived, begun.iif = Split(event.network, event.transport), event.iif
            return
        current = self.under_way.get(event.id)
        if current is None or (tap and not _comes_after(event.chain, current.stage)):
            current = self._begin(event.id, "")  # its start was lost
        if not tap:
            if event.kind == "policy" or event.handle is not None:
                current.rest.append(self._turn(event, current.rest))
        elif event.chain in STAGE and event.network:
            self._see(current, event)

    def _begin(self, id: int, start: str) -> Pass:
        self.under_way[id] = begun = Pass(self.host, start)
        self.found.append(begun)
        return begun

    def _see(self, current: Pass, event: TraceEvent) -> None:
        packet = Split(event.network, event.transport)
        headers = decode(packet)
        if headers is None:
            return
        ct = self.states.get((event.chain, event.handle or 0)) if self.states else event.ct
        current.sightings.append(Sighting(Point(self.host, stage=event.chain), None, headers, ct))
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
