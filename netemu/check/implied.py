"""What is checked of every record: that traffic was answered, that taps were sound, that counters and trace agree."""

from __future__ import annotations

from collections import Counter

from netemu.check.explain import Surroundings, last_seen, looks
from netemu.check.verdict import Check, Verdict, believed
from netemu.record.exchange import Exchange
from netemu.record.record import Record


def check_answered(exchange: Exchange, record: Record, around: Surroundings) -> Check:
    """Whether the traffic's own end had its answer; if not, where its last packet was last seen."""
    name = f"{exchange.name} answered"
    if exchange.fault is None:
        return Check(name, Verdict.PASS, None, {"fault": None}, {"fault": None})
    journeys = [journey for flow in record.flows_of(exchange) for journey in flow.journeys if journey.quotes is None]
    seen = {"fault": exchange.fault}
    if not journeys:
        nothing = "its taps were not sound" if record.unsound({exchange.host}) else f"{exchange.host} sent nothing"
        reason = f"{exchange.fault}; {nothing}"
        return Check(name, Verdict.FAIL, exchange.host, {"fault": None}, seen, reason=reason)
    decisive = next((journey for journey in reversed(journeys) if not journey.complete), journeys[-1])
    side = "request" if decisive.direction == "original" else "reply"
    reason = f"{exchange.fault}; {side} {decisive.nth} was {last_seen(decisive, around)}"
    return Check(
        name,
        Verdict.FAIL,
        str(decisive.end.at),
        {"fault": None},
        seen,
        decisive.id,
        before=looks(decisive.sightings[-1]),
        reason=reason,
    )


def check_counters_agree(host: str, record: Record) -> Check | None:
    """Whether every rule counted as often as the trace saw it match; None if no rule that it could see counts.

    The two are told by different parts of the kernel: where they disagree, the trace is not to be believed. Packets
    that came while the counters were read may be in them or not. Of rules that no trace shows, no more packets than
    walked their chain and fit them can have been counted.
    """
    counters, matchable = record.counters.get(host, {}), record.matchable.get(host, {})
    traced = {rule.key for rule in record.rules.get(host, ()) if rule.handle is not None}
    if not counters.keys() & (traced | matchable.keys()):
        return None
    matches = record.matches(host)
    texts = {rule.key: rule.text for rule in record.rules[host]}
    twice = {text for text, times in Counter(texts.values()).items() if times > 1}
    for rule in record.rules[host]:
        if rule.text in twice:
            texts[rule.key] = f"{rule.text} ({rule.table} {rule.chain} {rule.position + 1})"
    near = record.uncertain.get(host, {})
    apart = [
        key
        for key in counters
        if key in traced and not 0 <= counters[key] - (matches.get(key, 0) - near.get(key, 0)) <= near.get(key, 0)
    ]
    matches |= matchable
    apart += [key for key in counters.keys() & matchable.keys() if counters[key] > matchable[key]]
    expected = {texts[key]: counters[key] for key in apart}
    actual = {texts[key]: matches.get(key, 0) for key in apart}
    reason = (
        ""
        if not apart
        else f"the counter of {texts[apart[0]]} says {counters[apart[0]]}, the trace {matches.get(apart[0], 0)}"
    )
    verdict = Verdict.UNPROVEN if apart else Verdict.PASS
    check = Check(
        f"{host}: trace and rule counters agree", verdict, f"rules at {host}", expected, actual, reason=reason
    )
    return believed(check, record, {host})


def check_taps(record: Record, around: Surroundings) -> Check:
    """Whether every host of the lab had its taps, and they lost nothing and were alive throughout."""
    unsound = [tap for tap in record.health if not tap.sound]
    missing = sorted(set(around.forwarding) - {tap.host for tap in record.health})
    told = [*map(str, unsound), *(f"{host} had no taps" for host in missing)]
    verdict = Verdict.UNPROVEN if told else Verdict.PASS
    expected, actual = {"lost": 0}, {"lost": record.lost}
    return Check("every tap sound", verdict, None, expected, actual, reason="; ".join(told))
