"""Expectations about conntrack entries and about rules' own counters."""

from __future__ import annotations

from typing import Any

from netemu.check.verdict import Check, Verdict, believed
from netemu.netfilter.conntrack import Entry
from netemu.record.record import Record
from netemu.topology.expectation import ConntrackExpectation, CounterExpectation
from netemu.topology.values import Endpoint, endpoint_text


def check_entry(expectation: ConntrackExpectation, record: Record) -> Check:
    """Hold an expectation against the entries of a traffic item's flows on one host."""
    host = expectation.conntrack
    name = f"{expectation.traffic} conntrack at {host}"
    exchange = record.exchange(expectation.traffic)
    flows = record.flows_of(exchange) if exchange is not None else []
    if not flows or exchange is None:
        reason = f"no packet of {expectation.traffic} was seen"
        return Check(name, Verdict.UNPROVEN, f"conntrack at {host}", _asked(expectation), reason=reason)
    results = [_judge(name, expectation, flow.entries.get(host)) for flow in flows]
    decisive = next((check for check in results if check.verdict is not Verdict.PASS), results[0])
    return believed(decisive, record, {host, exchange.host})


def _asked(expectation: ConntrackExpectation) -> dict[str, Any]:
    asked: dict[str, Any] = {}
    for side in ("original", "reply"):
        for end in ("src", "dst"):
            wanted = getattr(getattr(expectation, side), end)
            if wanted is not None:
                asked[f"{side}.{end}"] = wanted
    return asked | ({"status": list(expectation.status)} if expectation.status else {})


def _judge(name: str, expectation: ConntrackExpectation, entry: Entry | None) -> Check:
    point, expected = f"conntrack at {expectation.conntrack}", _asked(expectation)
    if entry is None:
        return Check(name, Verdict.FAIL, point, expected, reason=f"{expectation.conntrack} has no entry of this flow")
    found = {
        "original.src": (entry.original.src, entry.original.sport),
        "original.dst": (entry.original.dst, entry.original.dport),
        "reply.src": (entry.reply.src, entry.reply.sport),
        "reply.dst": (entry.reply.dst, entry.reply.dport),
    }
    actual: dict[str, Any] = {key: endpoint_text(*found[key]) for key in expected if key != "status"}
    wrong = [key for key in actual if not Endpoint.parse(expected[key]).matches(*found[key])]
    if expectation.status:
        actual["status"] = list(entry.status_names)
        wrong += [bit for bit in expectation.status if bit not in actual["status"]]
    verdict = Verdict.FAIL if wrong else Verdict.PASS
    parted = tuple(dict.fromkeys(key if key in expected else "status" for key in wrong))
    return Check(name, verdict, point, expected, actual, wrong=parted, reason=", ".join(wrong))


def check_counter(expectation: CounterExpectation, record: Record) -> Check:
    """Hold an expectation against what one rule's own counter counted. It rests on no tap."""
    host = expectation.counter
    name = f"counter at {host}: {expectation.rule}"
    expected = {"packets": expectation.packets}
    there = record.rules.get(host, ())
    rules = [rule for rule in there if expectation.rule in rule.text]
    rules = rules or [rule for rule in there if expectation.rule in rule.line]
    if len(rules) != 1:
        reason = f"{len(rules) or 'no'} rules of {host} contain '{expectation.rule}'"
        if rules:
            reason += f": name one of them, as in '{rules[0].line}' and '{rules[1].line}'"
        return Check(name, Verdict.FAIL, f"rules at {host}", expected, reason=reason)
    point = f"{host} {rules[0].table} {rules[0].chain}"
    counted = record.counters.get(host, {}).get(rules[0].key)
    if counted is None:
        return Check(name, Verdict.UNPROVEN, point, expected, reason="the rule has no counter")
    if counted == expectation.packets:
        return Check(name, Verdict.PASS, point, expected, {"packets": counted})
    near = record.uncertain.get(host, {}).get(rules[0].key, 0)
    verdict = Verdict.UNPROVEN if near else Verdict.FAIL
    reason = f"{rules[0].text} counted {counted}{', and packets came while counters were read' if near else ''}"
    return Check(name, verdict, point, expected, {"packets": counted}, wrong=("packets",), reason=reason)
