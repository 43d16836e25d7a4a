"""All checks of a record, the verdict, and both as the JSON object that is a contract with readers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from netemu.check.entries import check_counter, check_entry
from netemu.check.explain import Surroundings, asked_in_vain, suspects, why
from netemu.check.implied import check_answered, check_counters_agree, check_taps
from netemu.check.packets import check_packets
from netemu.check.selections import Selections
from netemu.check.verdict import Check, Verdict, overall
from netemu.netfilter.conntrack import PacketConntrack, Tuple, status_names
from netemu.record.join.ends import End
from netemu.record.join.quotes import Quote
from netemu.record.journeys import Journey
from netemu.record.record import Record
from netemu.record.sighting import Sighting
from netemu.topology.expectation import ConntrackExpectation, CounterExpectation, Expectation, PacketExpectation


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a lab's expectations.

    `timing_ms` holds what was timed, by part; `remarks` are sentences on the lab that no check is about.
    """

    lab: str
    checks: tuple[Check, ...]
    record: Record
    timing_ms: dict[str, float] = field(default_factory=dict)
    around: Surroundings = field(default_factory=Surroundings)
    remarks: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """The checks' verdicts taken together."""
        return overall(check.verdict for check in self.checks)

    @property
    def exit_code(self) -> int:
        """0 pass, 1 fail, 3 unproven; 0 too where nothing was asked: no traffic, no expectations."""
        if not self.checks:
            return 0
        return {Verdict.PASS: 0, Verdict.FAIL: 1, Verdict.UNPROVEN: 3}[self.verdict]

    def explain(self) -> str:
        """A line for each check that did not pass."""
        return "\n".join(_told(check) for check in self.checks if check.verdict is not Verdict.PASS)


def _told(check: Check) -> str:
    sides = f": expected {check.expected}, saw {check.actual}" if check.actual else ""
    return f"{check.verdict}: {check.name}{sides}{': ' + check.reason if check.reason else ''}"


def check_record(
    lab: str, record: Record, expectations: Sequence[Expectation], around: Surroundings | None = None
) -> Report:
    """Hold every expectation, and what is implied of every record, against `record`."""
    around = replace(around or Surroundings(), suspects=suspects(record), arp=record.arp)
    checks = [check_answered(exchange, record, around) for exchange in record.exchanges]
    selections = Selections(record)
    for expectation in expectations:
        if isinstance(expectation, PacketExpectation):
            checks.append(check_packets(expectation, record, around, selections))
        elif isinstance(expectation, ConntrackExpectation):
            checks.append(check_entry(expectation, record))
        elif isinstance(expectation, CounterExpectation):
            checks.append(check_counter(expectation, record))
    if record.exchanges or checks:
        checks.append(check_taps(record, around))
        checks += [check for host in record.rules if (check := check_counters_agree(host, record)) is not None]
    return Report(lab, tuple(checks), record, around=around)


def report_json(report: Report) -> dict[str, Any]:
    """The report as plain values; keys may be added, never renamed."""
    record = report.record
    traffic = {flow.id: item.name for item in record.exchanges for flow in record.flows_of(item)}
    return {
        "lab": report.lab,
        "verdict": str(report.verdict),
        "checks": [_check(check) for check in report.checks],
        "traffic": [
            {
                "name": item.name,
                "from": item.host,
                "what": item.what,
                "result": item.result,
                "fault": item.fault,
                "flows": [flow.id for flow in record.flows_of(item)],
            }
            for item in record.exchanges
        ],
        "journeys": [journey_json(journey, traffic.get(journey.flow), report.around) for journey in record.journeys],
        "flows": [
            {
                "id": flow.id,
                "host": host,
                "original": tuple_json(entry.original),
                "reply": tuple_json(entry.reply),
                "status": list(entry.status_names),
                "state": entry.tcp_state,
                **{name: told for name in ("mark", "zone") if (told := getattr(entry, name)) is not None},
            }
            for flow in record.flows
            for host, entry in flow.entries.items()
        ],
        "counters": [
            {"host": host, "table": rule.table, "chain": rule.chain, "rule": rule.text, "packets": counted}
            for host, rules in record.rules.items()
            for rule in rules
            if (counted := record.counters.get(host, {}).get(rule.key)) is not None
        ],
        "capture": {
            "sightings": record.captured,
            "lost": record.lost,
            "taps": [
                {"host": t.host, "tap": t.tap, "lost": t.lost, "alive": t.alive, "note": t.note} for t in record.health
            ],
        },
        "remarks": list(report.remarks),
        "timing_ms": {part: round(ms, 2) for part, ms in report.timing_ms.items()},
    }


def _check(check: Check) -> dict[str, Any]:
    return {
        "name": check.name,
        "verdict": str(check.verdict),
        "point": check.point,
        "expected": check.expected,
        "actual": check.actual,
        "journey": check.journey,
        "journeys": list(check.journeys),
        "before": check.before,
        "reason": check.reason,
    }


def journey_json(journey: Journey, traffic: str | None = None, around: Surroundings | None = None) -> dict[str, Any]:
    """A journey as plain values, as in the report's `journeys`; `traffic` is the traffic item that it belongs to."""
    around = around if around is not None else Surroundings()
    return {
        "id": journey.id,
        "traffic": traffic,
        "flow": journey.flow,
        "direction": journey.direction,
        "nth": journey.nth,
        "proto": journey.first.headers.proto,
        "complete": journey.complete,
        "sightings": [_sighting(seen, journey.walked_at(place)) for place, seen in enumerate(journey.sightings)],
        "rewrites": [
            {
                "at": str(change.at),
                "field": change.field,
                "from": change.before,
                "to": change.after,
                "by": change.by,
                "rule": change.rule,
                "told_by": change.told_by,
            }
            for change in journey.rewrites
        ],
        "rules": [
            {
                "host": t.host,
                "table": t.table,
                "chain": t.chain,
                "rule": t.text,
                "verdict": t.verdict,
                "told_by": t.told_by,
            }
            for t in journey.rules
        ],
        "end": _end(journey.end, journey, around),
        "ends": [_end(end, journey, around) for end in journey.ends],
        "alike": journey.alike,
        "certain": journey.certain,
        "duplicates": journey.duplicates,
        "retransmits": journey.retransmits,
        "tunnels": [
            {"at": str(journey.sightings[hop.place].point), "carrier": hop.carrier, "among": hop.among}
            for hop in journey.tunnels
        ],
        "carried_by": list(journey.carried_by),
        "carries": journey.carries,
        "carries_among": journey.carries_among,
        "quotes": journey.quotes,
        "about": tuple_json(journey.about) if journey.about is not None else None,
        "error": _error(journey.error) if journey.error is not None else None,
        "errors": [_error(error) for error in journey.errors],
    }


def _end(end: End, journey: Journey, around: Surroundings) -> dict[str, Any]:
    return {
        "kind": end.kind,
        "at": str(end.at),
        "rule": end.turn.text if end.turn is not None else None,
        "why": why(end, journey, around),
        "arp_unanswered": asked_in_vain(end, journey, around),
        "error": end.error.journey if end.error is not None else None,
    }


def _error(error: Quote) -> dict[str, Any]:
    return {
        "journey": error.journey,
        "kind": error.kind,
        "type": error.type,
        "code": error.code,
        "host": error.host,
        "mtu": error.mtu,
        "among": error.among,
    }


def _sighting(seen: Sighting, walked: bool) -> dict[str, Any]:
    h = seen.headers
    return {
        "point": str(seen.point),
        "host": seen.point.host,
        "interface": seen.point.interface,
        "way": seen.point.way,
        "stage": seen.point.stage,
        "time_ns": seen.time_ns,
        "src": h.src,
        "sport": h.sport,
        "dst": h.dst,
        "dport": h.dport,
        "ttl": h.ttl,
        "flags": h.flags,
        "length": h.length,
        "ip_checksum": seen.ip_checksum,
        "checksum": seen.checksum,
        "fragment": {"offset": h.fragment[0], "more": h.fragment[1]} if h.fragment is not None else None,
        "ct": _conntrack(seen.ct) if seen.ct is not None else None,
        "walked": walked if seen.point.is_nat else None,
    }


def _conntrack(ct: PacketConntrack) -> dict[str, Any]:
    return {
        "id": ct.id,
        "state": ct.state,
        "direction": ct.direction,
        "ctinfo": ct.ctinfo,
        "status": list(status_names(ct.status)) if ct.status is not None else None,
        "manips": list(ct.manips) if ct.manips is not None else None,
    }


def tuple_json(directed: Tuple) -> dict[str, Any]:
    """A directed tuple as plain values."""
    return {
        "proto": directed.proto,
        "src": directed.src,
        "sport": directed.sport,
        "dst": directed.dst,
        "dport": directed.dport,
    }
