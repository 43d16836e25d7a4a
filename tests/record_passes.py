"""A host's passes and trace events as values, one at a time: what tests hold the columns against."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from netemu.netfilter.messages import MSG_TRACE, SUBSYS_NFTABLES, TraceEvent, messages, trace_event
from netemu.record.capture import HostCapture
from netemu.record.decode.rows import Column
from netemu.record.join.passes import HostPasses, hook_conntrack, read_passes
from netemu.record.join.sayings import START_CODE
from netemu.record.join.turn import RuleTurn
from netemu.record.sighting import Sighting
from netemu.topology.points import HOOK_STAGES, Point


def trace_events(datagrams: Iterable[bytes]) -> Iterable[TraceEvent]:
    """The trace events in a trace socket's datagrams, in order, one at a time."""
    for datagram in datagrams:
        for kind, _, payload in messages(datagram):
            if kind == SUBSYS_NFTABLES << 8 | MSG_TRACE and (event := trace_event(payload)) is not None:
                yield event


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
