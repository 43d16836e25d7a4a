"""Why a packet went no further, as far as the record and the topology tell."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from netemu.netfilter.legacy import could_be_of, terms
from netemu.netfilter.ruleset import Rule
from netemu.record.arp import ArpSightings
from netemu.record.join.ends import End
from netemu.record.journeys import Journey
from netemu.record.record import Record
from netemu.record.sighting import Sighting


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a reason may refer to: which hosts forward, which of their untraced rules dropped something, and ARP.

    `suspects` has each host with rules of iptables-legacy, and those that drop with what they counted.
    """

    forwarding: Mapping[str, bool] = field(default_factory=dict)
    suspects: Mapping[str, Sequence[tuple[Rule, int]]] = field(default_factory=dict)
    arp: ArpSightings = field(default_factory=ArpSightings)


_DROPS = re.compile(r"-j (DROP|REJECT)\b")


def suspects(record: Record) -> dict[str, list[tuple[Rule, int]]]:
    """For each host with rules of iptables-legacy, those that drop and have counted something, and how much."""
    found = {}
    for host in record.untraced:
        counters = record.counters.get(host, {})
        dropping = [rule for rule in record.rules[host] if rule.legacy and _DROPS.search(rule.text)]
        found[host] = [(rule, counted) for rule in dropping if (counted := counters.get(rule.key))]
    return found


def _suspected(end: End, journey: Journey, around: Surroundings) -> str | None:
    """Which rules that no trace shows may have dropped a packet where it ended, in words: those of its protocol."""
    counted = around.suspects.get(end.at.host)
    if counted is None:
        return None
    packet = journey.sightings[end.place].headers
    family, tool = ("ip6", "ip6tables") if ":" in packet.dst else ("ip", "iptables")
    dropping = [
        f"{rule.table} {rule.text} counted {count}"
        for rule, count in counted
        if rule.family == family and could_be_of(terms(rule.text), packet.proto)
    ]
    return f"perhaps by {tool}-legacy, which no trace shows{': ' if dropping else ''}{', '.join(dropping)}"


def why(end: End, journey: Journey, around: Surroundings) -> str | None:
    """Why a journey ended so, in a word: what the kernel told, or what the topology makes certain; None if neither.

    `not-forwarding`: a host that does not forward takes no packet past prerouting but its own. `ttl`: a host that
    forwards lets none go on whose TTL is 1 (ip_forward), and its answer was not seen. Of a fragment neither is certain:
    it may have waited there, for others of a packet that is for that host. Nor is it where rules of iptables-legacy may
    have dropped a packet that was for the host.
    """
    if end.why is not None:
        return end.why
    if end.at.host in around.suspects or _in_parts(end, journey):
        return None
    if end.kind == "unseen" and (end.at.stage or "").startswith("prerouting"):
        forwards = around.forwarding.get(end.at.host)
        if forwards is False:
            return "not-forwarding"
        if journey.sightings[end.place].headers.ttl <= 1:
            return "ttl"
    return None


def asked_in_vain(end: End, journey: Journey, around: Surroundings) -> str | None:
    """The neighbour whose MAC address a host asked for, without an answer, to send a packet on that left it by no wire.

    It is the packet's destination, or else the only one that the host asked for in vain: a gateway. None where it is
    not known, or nothing was asked in vain.
    """
    seen = journey.sightings[end.place]
    stays = end.kind == "unseen" and (end.at.stage or "").startswith("postrouting")
    if not stays or end.why not in (None, "unreachable") or ":" in seen.headers.dst:
        return None
    asked = around.arp.exchanges(answered=False)
    targets = {each.target for each in asked if each.point.host == end.at.host and each.point.way == "out"}
    if seen.headers.dst in targets:
        return seen.headers.dst
    return targets.pop() if len(targets) == 1 else None


def last_seen(journey: Journey, around: Surroundings) -> str:
    """Where a journey ended, and why."""
    end, host = journey.end, journey.end.at.host
    if end.kind == "dropped" and end.turn is not None:
        turn = end.turn
        answered = f"; {_said(end)}" if end.error is not None else ""
        return f"last seen at {end.at}: dropped by {turn.table} {turn.chain}, {turn.text}{answered}"
    if end.why == "checksum":
        return f"last seen at {end.at}: {_damage(end, journey)}"
    if end.kind == "delivered":
        refused = f", which refused it: {_said(end)}" if end.error is not None else ""
        return f"delivered to {host} itself, last seen at {end.at}{refused}"
    if end.error is not None:
        return f"last seen at {end.at}: {_because(end, journey, around)}{_in_vain(end, journey, around)}: {_said(end)}"
    return f"last seen at {end.at}: {_unseen(end, journey, around)}"


def _damage(end: End, journey: Journey) -> str:
    """What became of a packet whose checksum is wrong where it ended."""
    if end.kind == "delivered":
        proto = journey.first.headers.proto
        return f"{end.at.host} got it, and dropped it behind its hooks: its {proto} checksum is wrong"
    return f"{end.at.host} dropped it before its hooks: its IP header's checksum is wrong"


def _unseen(end: End, journey: Journey, around: Surroundings) -> str:
    """Why nothing was seen of a packet from there on, as far as that can be said."""
    host, stage = end.at.host, end.at.stage or ""
    suspected = _suspected(end, journey, around)
    other = f", or dropped it, {suspected}" if suspected else ""
    if _in_parts(end, journey) and stage.startswith("prerouting"):
        return f"{host} did not get all of its fragments, or took it no further{other}"
    if _in_parts(end, journey) and stage == "input.nat":
        return f"{host} did not get all of its fragments, or they lie over each other"
    if stage.startswith("prerouting"):
        if around.forwarding.get(host) is False:
            return f"{host} does not forward (forwarding: false){other}"
        if journey.sightings[end.place].headers.ttl <= 1:
            return f"its TTL ran out at {host}{other}"
        return f"{host} has no route for it, or could not send it on{other}"
    if stage and (vain := _in_vain(end, journey, around)):
        return f"{host} could not send it on{vain}"
    if stage:
        return f"{host} {f'dropped it, {suspected}' if suspected else 'took it no further'}"
    return "it left there, and came in nowhere" if end.at.way == "out" else f"no hook of {host} saw it"


def _in_vain(end: End, journey: Journey, around: Surroundings) -> str:
    target = asked_in_vain(end, journey, around)
    return f" (nobody answered its ARP requests for {target})" if target is not None else ""


def _in_parts(end: End, journey: Journey) -> bool:
    return journey.sightings[end.place].headers.fragment is not None


_BECAUSE = {
    "ttl": "its TTL ran out at {host}",
    "no-route": "{host} has no route for it",
    "unreachable": "{host} could not reach the next host",
    "mtu": "it is too long for {host}'s next link",
    "prohibited": "{host} prohibits it",
    "reassembly": "{host} waited in vain for its other fragments",
}


def _because(end: End, journey: Journey, around: Surroundings) -> str:
    host = end.at.host
    suspected = _suspected(end, journey, around)
    by = f", {suspected}" if suspected else ""
    return _BECAUSE.get(str(end.why), "{host} rejected it" + by).format(host=host)


def _said(end: End) -> str:
    """The ICMP error at an end, in words."""
    error = end.error
    assert error is not None
    mtu = f" (next MTU {error.mtu})" if error.mtu else ""
    among = f", which fits {error.among} packets" if error.among > 1 else ""
    return f"{end.at.host} said {error.kind}{mtu}{among}"


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
