"""Expectations about packets: what they look like at a point, and which wires they cross."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from netemu.check.alike import Alike
from netemu.check.explain import Surroundings, last_seen, looks
from netemu.check.selections import Selections
from netemu.check.verdict import Check, Verdict, believed
from netemu.netfilter.hooks import STAGE
from netemu.record.decode.rows import Column, distinct, found_in
from netemu.record.exchange import Exchange
from netemu.record.journeys import Chosen, Journey
from netemu.record.record import Record
from netemu.topology.expectation import PacketExpectation
from netemu.topology.points import Point
from netemu.topology.values import Endpoint

UNKNOWN = "unknown"
_ORDER = {Verdict.FAIL: 0, Verdict.UNPROVEN: 1, Verdict.PASS: 2}


def check_packets(
    expectation: PacketExpectation, record: Record, around: Surroundings, selections: Selections | None = None
) -> Check:
    """Hold one expectation against every packet that it selects; the first that parts from it decides.

    `selections` are those that were made of this record for other expectations.
    """
    selections = selections or Selections(record)
    name = _name(expectation)
    point = expectation.at or (expectation.path or ("",))[0]
    exchange = record.exchange(expectation.traffic)
    if exchange is None:
        return Check(name, Verdict.UNPROVEN, point, reason=f"traffic {expectation.traffic} was not sent in this record")
    places = expectation.path or (point,)
    touched = {exchange.host, *(Point.parse(place).host for place in places)}
    selected = selections.packets(exchange, expectation.packet)
    if not selected:
        reason = _nothing(expectation, selections, exchange, around)
        return believed(Check(name, Verdict.UNPROVEN, point, _asked(expectation), reason=reason), record, touched)
    judge = _judge_path if expectation.path is not None else _judge_point
    if isinstance(selected, Chosen):
        alike = selections.alike(selected)
        decisive = _decisive(expectation, selected, alike, lambda journey: judge(expectation, journey, record, around))
        touched |= selected.hosts
        decisive = replace(decisive, journeys=selected.ids())
    else:
        results = [judge(expectation, journey, record, around) for journey in selected]
        decisive = min(results, key=lambda check: _ORDER[check.verdict])
        touched |= {seen.point.host for journey in selected for seen in journey.sightings}
        decisive = replace(decisive, journeys=tuple(journey.id for journey in selected))
    return believed(decisive, record, touched)


def _decisive(
    expectation: PacketExpectation, selected: Chosen, alike: Alike, judge: Callable[[Journey], Check]
) -> Check:
    """The check of the first packet that parts from the expectation; one of each kind is judged for all of it.

    A packet that nothing tells from others (Journey.certain) counts as what they all give. Where they differ, and not
    all of them were asked, it is unproven; where all were asked, it does not matter which of them is which.
    """
    journeys, rivals = selected.journeys, selected.journeys.order.rivals
    unsure = rivals[selected.places] if rivals.any() else rivals[:0]
    if not unsure.any():
        first, _ = distinct(alike.kinds(expectation))
        order = np.array([_ORDER[judge(journeys[place]).verdict] for place in selected.places[first]], np.int64)
        return judge(journeys[selected.places[first[order == order.min()].min()]])
    asked = Chosen(journeys, np.concatenate([selected.places, _others_among(rivals, unsure, selected.places)]))
    first, kind = distinct(Alike(asked).kinds(expectation))
    order = np.array([_ORDER[judge(journeys[place]).verdict] for place in asked.places[first]], np.int64)[kind]
    _, number = distinct(rivals[asked.places])
    best, worst = np.full(number.max() + 1, -1, np.int64), np.full(number.max() + 1, len(_ORDER), np.int64)
    np.maximum.at(best, number, order)
    np.minimum.at(worst, number, order)
    outside = np.bincount(number[len(selected) :], minlength=len(best)) > 0
    open_ = ((best != worst) & outside)[number] & (rivals[asked.places] != 0)
    counted = np.where(open_, _ORDER[Verdict.UNPROVEN], order)[: len(selected)]
    place = int(np.argmin(counted))
    check = judge(journeys[selected.places[place]])
    if not open_[place]:
        return check
    packet = _packet(journeys[selected.places[place]])
    verdicts = [verdict for verdict in Verdict if _ORDER[verdict] in set(order[number == number[place]].tolist())]
    reason = f"{packet} can't be told from others that are equal to it: {' or '.join(verdicts)} by which of them it is"
    return replace(check, verdict=Verdict.UNPROVEN, reason=reason)


def _name(expectation: PacketExpectation) -> str:
    where = expectation.at if expectation.path is None else f"path to {expectation.path[-1].split(' ')[0]}"
    return f"{expectation.traffic} {expectation.packet} {where}"


def _others_among(rivals: Column, unsure: Column, selected: Column) -> Column:
    """The places of packets that are not selected, and that one of those selected may have been taken for."""
    some = np.flatnonzero(rivals)
    chosen = np.zeros(len(rivals), np.bool_)
    chosen[selected] = True
    return some[found_in(rivals[some], unsure[unsure != 0]) & ~chosen[some]]


def _nothing(expectation: PacketExpectation, selections: Selections, exchange: Exchange, around: Surroundings) -> str:
    requests = selections.packets(exchange, "request.all")
    if not requests:
        return f"no packet of {exchange.name} was seen"
    return f"no {expectation.packet} was seen; request {requests[-1].nth} was {last_seen(requests[-1], around)}"


def _asked(expectation: PacketExpectation) -> dict[str, Any]:
    keys = ("path", "src", "dst", "ttl", "by", "rule", "ct", "direction", "manip", "walked")
    asked = {key: getattr(expectation, key) for key in keys if getattr(expectation, key) is not None}
    return asked | ({"path": list(expectation.path)} if expectation.path else {})


def _judge_point(expectation: PacketExpectation, journey: Journey, record: Record, around: Surroundings) -> Check:
    """Hold the expectation against every visit of the packet to its point."""
    point = Point.parse(str(expectation.at))
    name, expected = _name(expectation), _asked(expectation)
    visits = _with_ports(journey, journey.visits(point))
    if not visits:
        before = looks(journey.sightings[-1])
        reason = f"{_packet(journey)} never came to {point}: {last_seen(journey, around)}"
        return Check(name, Verdict.FAIL, str(point), expected, {}, journey.id, before=before, reason=reason)
    checks = [_judge_visit(expectation, journey, place, record) for place in visits]
    return min(checks, key=lambda check: _ORDER[check.verdict])


def _with_ports(journey: Journey, places: list[int]) -> list[int]:
    """Of a packet's fragments the first speaks for the others: they have its addresses, and no ports."""

    def later(place: int) -> bool:
        part = journey.sightings[place].headers.fragment
        return part is not None and part[0] > 0

    return [place for place in places if not later(place)] or places


def _judge_visit(expectation: PacketExpectation, journey: Journey, place: int, record: Record) -> Check:
    point = str(expectation.at)
    name, expected = _name(expectation), _asked(expectation)
    actual = {key: _actual(key, expectation, journey, place, record) for key in expected}
    wrong = tuple(key for key in expected if not _fits(key, expected[key], actual[key]))
    unknown = tuple(key for key in wrong if actual[key] == UNKNOWN)
    if not wrong:
        return Check(name, Verdict.PASS, point, expected, actual, journey.id)
    verdict = Verdict.UNPROVEN if wrong == unknown else Verdict.FAIL
    if verdict is Verdict.UNPROVEN:
        reason = f"{_packet(journey)}: {', '.join(unknown)} can't be told at {point}"
    else:
        reason = f"{_packet(journey)}: {', '.join(wrong)} at {point}"
    before = looks(journey.sightings[place - 1]) if place else {}
    return Check(name, verdict, point, expected, actual, journey.id, before=before, wrong=wrong, reason=reason)


def _judge_path(expectation: PacketExpectation, journey: Journey, _record: Record, around: Surroundings) -> Check:
    wanted = list(expectation.path or ())
    wires = [place for place, seen in enumerate(journey.sightings) if seen.point.stage is None]
    crossed = [journey.sightings[place] for place in _with_ports(journey, wires)]
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


def _actual(key: str, expectation: PacketExpectation, journey: Journey, place: int, record: Record) -> Any:
    """What the record tells of one asked key at a sighting."""
    seen = journey.sightings[place]
    h, ct = seen.headers, seen.ct
    if key in ("by", "rule"):
        return _made_by(key, expectation, journey, place)
    if key == "manip":
        manips = None if ct is None else ct.manips if ct.direction is not None else ()
        return UNKNOWN if manips is None else "both" if len(manips) == 2 else manips[0] if manips else "none"
    if key == "walked":
        return _walked(journey, place, record)
    values: dict[str, Any] = {
        "src": h.source,
        "dst": h.destination,
        "ttl": h.ttl,
        "ct": ct.state if ct is not None else "none",
        "direction": ct.direction if ct is not None else None,
    }
    return values[key]


def _made_by(key: str, expectation: PacketExpectation, journey: Journey, place: int) -> str | None:
    """What made the rewrite of the asked fields at a sighting, or which rule; None where nothing was rewritten."""
    fields = [name for name in ("src", "dst") if getattr(expectation, name) is not None]
    fields = ["ttl"] if expectation.by == "route" else fields or ["src", "dst"]
    here = [change for change in journey.rewrites if change.place == place and change.field in fields]
    if here:
        return here[0].by if key == "by" else here[0].rule
    stage = STAGE.get(journey.sightings[place].point.stage or "")  # a rule may match and change nothing
    turn = journey.matched_at(place) if stage is not None and stage.nat in fields else None
    return None if turn is None else "rule" if key == "by" else turn.text


def _walked(journey: Journey, place: int, record: Record) -> bool | str:
    """Whether a nat chain was walked; unknown where one may have been that no trace shows.

    A walk sets a manip up; one that was set up before, or is not set up after, was not walked for, and a packet
    without an entry walks none (nf_nat_inet_fn).
    """
    if journey.walked_at(place):
        return True
    seen, stage = journey.sightings[place], STAGE[str(journey.sightings[place].point.stage)]
    before = journey.sightings[place - 1].ct if place else None
    none = seen.ct is not None and seen.ct.state in ("invalid", "untracked")
    set_up = before is not None and before.manips is not None and stage.nat in before.manips
    not_set_up = seen.ct is not None and seen.ct.manips is not None and stage.nat not in seen.ct.manips
    return False if none or set_up or not_set_up or seen.point.host not in record.untraced else UNKNOWN


def _fits(key: str, expected: Any, actual: Any) -> bool:
    if key in ("src", "dst"):
        found = Endpoint.parse(actual)
        return Endpoint.parse(expected).matches(str(found.address), found.port)
    if key == "rule":
        return actual is not None and expected in actual
    return bool(expected == actual)
