"""Expectations about packets: what they look like at a point, and which wires they cross."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from netemu.check.explain import Surroundings, last_seen, looks
from netemu.check.verdict import Check, Verdict, believed
from netemu.netfilter.conntrack import Direction
from netemu.netfilter.hooks import STAGE
from netemu.record.journeys import Journey
from netemu.record.record import Exchange, Record
from netemu.record.sighting import Sighting
from netemu.topology.expectation import PacketExpectation
from netemu.topology.points import Point
from netemu.topology.values import Endpoint

UNKNOWN = "unknown"


def check_packets(expectation: PacketExpectation, record: Record, around: Surroundings) -> Check:
    """Hold one expectation against every packet that it selects; the first that parts from it decides."""
    name = _name(expectation)
    point = expectation.at or (expectation.path or ("",))[0]
    exchange = record.exchange(expectation.traffic)
    if exchange is None:
        return Check(name, Verdict.UNPROVEN, point, reason=f"traffic {expectation.traffic} was not sent in this record")
    places = expectation.path or (point,)
    touched = {exchange.host, *(Point.parse(place).host for place in places)}
    selected = _selected(expectation, record, exchange)
    if not selected:
        reason = _nothing(expectation, record, exchange, around)
        return believed(Check(name, Verdict.UNPROVEN, point, _asked(expectation), reason=reason), record, touched)
    judge = _judge_path if expectation.path is not None else _judge_point
    results = [judge(expectation, journey, around) for journey in selected]
    order = {Verdict.FAIL: 0, Verdict.UNPROVEN: 1, Verdict.PASS: 2}
    decisive = min(results, key=lambda check: order[check.verdict])
    touched |= {seen.point.host for journey in selected for seen in journey.sightings}
    decisive = replace(decisive, journeys=tuple(journey.id for journey in selected))
    return believed(decisive, record, touched)


def _name(expectation: PacketExpectation) -> str:
    where = expectation.at if expectation.path is None else f"path to {expectation.path[-1].split(' ')[0]}"
    return f"{expectation.traffic} {expectation.packet} {where}"


def _selected(expectation: PacketExpectation, record: Record, exchange: Exchange) -> list[Journey]:
    side, _, which = expectation.packet.partition(".")
    direction: Direction = "original" if side == "request" else "reply"
    wanted: dict[str, Callable[[int], bool]] = {
        "first": lambda nth: nth == 1,
        "nth": lambda nth: nth > 1,
        "all": lambda _: True,
    }
    fits = wanted.get(which) or (lambda nth: nth == int(which))
    return [journey for flow in record.flows_of(exchange) for journey in flow.packets(direction) if fits(journey.nth)]


def _nothing(expectation: PacketExpectation, record: Record, exchange: Exchange, around: Surroundings) -> str:
    requests = [journey for flow in record.flows_of(exchange) for journey in flow.packets("original")]
    if not requests:
        return f"no packet of {exchange.name} was seen"
    return f"no {expectation.packet} was seen; request {requests[-1].nth} was {last_seen(requests[-1], around)}"


def _asked(expectation: PacketExpectation) -> dict[str, Any]:
    keys = ("path", "src", "dst", "ttl", "by", "rule", "ct", "direction", "manip", "walked")
    asked = {key: getattr(expectation, key) for key in keys if getattr(expectation, key) is not None}
    return asked | ({"path": list(expectation.path)} if expectation.path else {})


def _judge_point(expectation: PacketExpectation, journey: Journey, around: Surroundings) -> Check:
    point = Point.parse(str(expectation.at))
    name, expected = _name(expectation), _asked(expectation)
    seen = journey.at(point)
    if seen is None:
        before = looks(journey.sightings[-1])
        reason = f"{_packet(journey)} never came to {point}: {last_seen(journey, around)}"
        return Check(name, Verdict.FAIL, str(point), expected, {}, journey.id, before=before, reason=reason)
    actual = {key: _actual(key, expectation, journey, seen) for key in expected}
    wrong = [key for key in expected if not _fits(key, expected[key], actual[key])]
    unknown = [key for key in wrong if actual[key] == UNKNOWN]
    verdict = Verdict.PASS if not wrong else Verdict.UNPROVEN if wrong == unknown else Verdict.FAIL
    earlier = journey.before(point)
    reason = ""
    if verdict is Verdict.UNPROVEN:
        reason = f"{_packet(journey)}: {', '.join(unknown)} can't be told at {point} on this kernel"
    elif wrong:
        reason = f"{_packet(journey)}: {', '.join(wrong)} at {point}"
    before = looks(earlier) if earlier is not None and wrong else {}
    return Check(name, verdict, str(point), expected, actual, journey.id, before=before, reason=reason)


def _judge_path(expectation: PacketExpectation, journey: Journey, around: Surroundings) -> Check:
    wanted = list(expectation.path or ())
    crossed = [seen for seen in journey.sightings if seen.point.stage is None]
    actual = [str(seen.point) for seen in crossed]
    name = _name(expectation)
    if actual == wanted:
        return Check(name, Verdict.PASS, wanted[-1], {"path": wanted}, {"path": actual}, journey.id)
    alike = next(
        (place for place, pair in enumerate(zip(wanted, actual, strict=False)) if pair[0] != pair[1]),
        min(len(wanted), len(actual)),
    )
    point = wanted[alike] if alike < len(wanted) else actual[alike]
    before = looks(crossed[alike - 1]) if alike else {}
    if alike < len(actual):
        reason = (
            f"{_packet(journey)} was at {actual[alike]} instead"
            if alike < len(wanted)
            else f"{_packet(journey)} went on to {point}"
        )
    else:
        reason = f"{_packet(journey)} never came to {point}: {last_seen(journey, around)}"
    return Check(
        name, Verdict.FAIL, point, {"path": wanted}, {"path": actual}, journey.id, before=before, reason=reason
    )


def _packet(journey: Journey) -> str:
    return f"{'request' if journey.direction == 'original' else 'reply'} {journey.nth}"


def _actual(key: str, expectation: PacketExpectation, journey: Journey, seen: Sighting) -> Any:
    """What the record tells of one asked key at this sighting."""
    h, ct = seen.headers, seen.ct
    if key in ("by", "rule"):
        fields = [name for name in ("src", "dst") if getattr(expectation, name) is not None]
        fields = ["ttl"] if expectation.by == "route" else fields or ["src", "dst"]
        here = [change for change in journey.rewrites if change.at == seen.point and change.field in fields]
        if here:
            return here[0].by if key == "by" else here[0].rule
        stage = STAGE.get(seen.point.stage or "")  # a rule may match and change nothing
        turn = journey.matched(seen.point) if stage is not None and stage.nat in fields else None
        return None if turn is None else "rule" if key == "by" else turn.text
    if key == "manip":
        manips = ct.manips if ct is not None and ct.direction is not None else ()
        return UNKNOWN if manips is None else "both" if len(manips) == 2 else manips[0] if manips else "none"
    values: dict[str, Any] = {
        "src": h.source,
        "dst": h.destination,
        "ttl": h.ttl,
        "ct": ct.state if ct is not None else "none",
        "direction": ct.direction if ct is not None else None,
        "walked": seen.point in journey.walked,
    }
    return values[key]


def _fits(key: str, expected: Any, actual: Any) -> bool:
    if key in ("src", "dst"):
        found = Endpoint.parse(actual)
        return Endpoint.parse(expected).matches(str(found.address), found.port)
    if key == "rule":
        return actual is not None and expected in actual
    return bool(expected == actual)
