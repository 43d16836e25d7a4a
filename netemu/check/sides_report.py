"""Joined captures as the JSON object that `netemu journeys --json` prints: the keys of a report, and `sides`."""

from __future__ import annotations

from typing import Any

from netemu.check.report import tuple_json
from netemu.record.sides.clock import Clock
from netemu.record.sides.walks import Change, SideFlow, SideJourney, Sides


def sides_json(sides: Sides, flow: int | None = None) -> dict[str, Any]:
    """Joined captures as plain values, of all flows or one; keys may be added, never renamed."""
    joined = sides.joined
    ids = range(1, sides.flow_count + 1) if flow is None else [flow]
    return {
        "verdict": "pass" if sides.joined_flows else "unproven",
        "sides": [
            {
                "name": side.name,
                "file": sides.files[side.file],
                "packets": len(side),
                "left_out": side.left_out,
                **_clock(sides.clocks[side.file]),
                "notes": list(sides.notes[side.file]),
            }
            for side in joined.sides
        ],
        "journeys": [_journey(journey) for journey in sides.journeys(flow)],
        "flows": [_flow(sides.flow(id)) for id in ids],
        "mapping": [
            {"between": list(note.between), "proto": note.proto, "said": note.said, "flows": list(note.evidence)}
            for note in sides.mapping
        ],
        "capture": {"sightings": sum(len(side) for side in joined.sides)},
    }


def _clock(clock: Clock) -> dict[str, Any]:
    return {
        "offset_ns": clock.offset_ns,
        "uncertainty_ns": clock.uncertainty_ns,
        "drift": clock.drift,
        "since_ns": clock.since_ns,
        "least_offset_ns": clock.least_ns,
        "most_offset_ns": clock.most_ns,
        "clock_note": clock.note or None,
    }


def _journey(journey: SideJourney) -> dict[str, Any]:
    return {
        "id": journey.id,
        "flow": journey.flow,
        "direction": journey.direction,
        "nth": journey.nth,
        "proto": journey.sightings[0].headers.proto,
        "complete": not journey.missing,
        "by_order": journey.by_order,
        "sightings": [
            {
                "point": seen.side,
                "packet": seen.number,
                "time_ns": seen.time_ns,
                "corrected": seen.corrected,
                "src": seen.headers.src,
                "sport": seen.headers.sport,
                "dst": seen.headers.dst,
                "dport": seen.headers.dport,
                "ttl": seen.headers.ttl,
                "flags": seen.headers.flags,
                "length": seen.headers.length,
                "ip_checksum": seen.ip_checksum,
                "checksum": seen.checksum,
                "ct": None,
            }
            for seen in journey.sightings
        ],
        "rewrites": [_change(change) for change in journey.changes],
        "rules": [],
        "missing": [{"point": side, "why": why} for side, why in journey.missing],
    }


def _change(change: Change) -> dict[str, Any]:
    return {
        "at": change.at_side,
        "between": [change.before_side, change.at_side],
        "field": change.field,
        "from": change.before,
        "to": change.after,
        "by": "route" if change.field == "ttl" else "unknown",
        "rule": None,
    }


def _flow(flow: SideFlow) -> dict[str, Any]:
    return {
        "id": flow.id,
        "joined": flow.joined,
        "weak": flow.weak,
        "ambiguous": flow.unclear,
        "assumed_direction": flow.assumed,
        "tuples": [{"point": side, **tuple_json(directed)} for side, directed in flow.tuples.items()],
        "rewrites": [_change(change) for change in flow.changes],
        "packets": flow.packets,
        "by_order": flow.by_order,
        "missing": flow.missing,
        "hops": [
            {
                "between": [hop.one, hop.other],
                "packets": hop.packets,
                "lost": hop.lost,
                "median_delay_ns": hop.delay_ns,
            }
            for hop in flow.hops
        ],
    }
