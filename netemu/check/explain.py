"""Why a packet went no further, as far as the record and the topology tell."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from netemu.record.journeys import Journey
from netemu.record.record import Record
from netemu.record.sighting import Sighting


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a reason may refer to: which hosts forward, and which of their untraced rules may have dropped."""

    forwarding: Mapping[str, bool] = field(default_factory=dict)
    suspects: Mapping[str, str] = field(default_factory=dict)


_DROPS = re.compile(r"-j (DROP|REJECT)\b")


def suspects(record: Record) -> dict[str, str]:
    """For each host with rules of iptables-legacy, those that drop and have counted something, in words."""
    found = {}
    for host in record.untraced:
        counted = record.counters.get(host, {})
        dropping = [
            f"{rule.table} {rule.text} counted {counted[rule.key]}"
            for rule in record.rules[host]
            if rule.legacy and _DROPS.search(rule.text) and counted.get(rule.key)
        ]
        found[host] = f"perhaps by iptables-legacy, which no trace shows{': ' if dropping else ''}{', '.join(dropping)}"
    return found


def last_seen(journey: Journey, around: Surroundings) -> str:
    """Where a journey ended, and why."""
    end, host = journey.end, journey.end.at.host
    if end.kind == "dropped" and end.turn is not None:
        turn = end.turn
        return f"last seen at {end.at}: dropped by {turn.table} {turn.chain}, {turn.text}"
    if end.kind == "delivered":
        return f"delivered to {host} itself, last seen at {end.at}"
    stage = end.at.stage or ""
    if stage.startswith("prerouting"):
        if not around.forwarding.get(host, True):
            return f"last seen at {end.at}: {host} does not forward (forwarding: false)"
        if (seen := journey.at(end.at)) is not None and seen.headers.ttl <= 1:
            return f"last seen at {end.at}: its TTL ran out at {host}"
        suspected = around.suspects.get(host)
        other = f", or dropped it, {suspected}" if suspected else ""
        return f"last seen at {end.at}: {host} has no route for it, or could not send it on{other}"
    if stage:
        suspected = around.suspects.get(host)
        return f"last seen at {end.at}: {host} {f'dropped it, {suspected}' if suspected else 'took it no further'}"
    if end.at.way == "out":
        return f"last seen at {end.at}: it left there, and came in nowhere"
    return f"last seen at {end.at}: no hook of {host} saw it"


def looks(seen: Sighting) -> dict[str, object]:
    """A sighting in the words of an expectation."""
    h = seen.headers
    view: dict[str, object] = {
        "point": str(seen.point),
        "src": h.source,
        "dst": h.destination,
        "ttl": h.ttl,
    }
    if seen.ct is not None:
        view["ct"] = seen.ct.ctinfo
    return view
