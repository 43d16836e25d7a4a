"""Journeys once more, plainly: each start's way, one sighting at a time.

These files are the reference that the columns are held against: slow, and easy to be sure of. It was the whole of the
product's record once, so every test of the record has been passed by it too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from record_passes import Pass
from record_plain_passes import PlainPass
from record_plain_ties import PlainFrame, PlainTies, plain_ties

from netemu.record.capture import OTHERHOST, HostCapture
from netemu.record.join.ends import End
from netemu.record.join.rewrites import Rewrite, rewrites
from netemu.record.join.turn import RuleTurn
from netemu.record.join.wires import Member
from netemu.record.journeys import Journey
from netemu.record.sighting import Sighting


def plain_journeys(captures: Sequence[HostCapture], segment_of: Mapping[Member, str]) -> list[Journey]:
    """Join all captures' sightings; `segment_of` tells which segment a (host, interface) is on."""
    frames, found, ties = plain_ties(captures, segment_of)
    starts: list[tuple[int, PlainFrame | PlainPass]] = []
    for host, mine in found.items():
        unclaimed = (frame for frame in frames[host] if not frame.claimed and frame.kind != OTHERHOST)
        starts.extend((frame.sighting.time_ns or 0, frame) for frame in unclaimed)
        latest = 0  # a pass that no wire dates comes after the one before it
        for each in mine:
            dated = ties.came(each) or ties.left(each) or next(iter(ties.parts.get(id(each), [])), None)
            latest = (dated.sighting.time_ns or latest) if dated is not None else latest
            if ties.came(each) is None and each.sightings and not ties.is_copy(each):
                starts.append((latest, each))
    starts.sort(key=lambda start: start[0])
    return [_journey(start, ties, since) for since, start in starts]


def _journey(start: PlainFrame | PlainPass, ties: PlainTies, since_ns: int) -> Journey:
    walk = _Walk()
    stack: list[tuple[PlainFrame | PlainPass, Sighting | None]] = [(start, None)]
    while stack:
        node, before = stack.pop()
        if isinstance(node, PlainFrame):
            walk.see(node.sighting, [], before)
            stack.extend((frame, node.sighting) for frame in reversed(node.leads_to))
            if node.enters is not None:
                stack.append((node.enters, node.sighting))
            elif not node.leads_to:
                walk.ends.append(End("unseen", node.sighting.point, place=len(walk.sightings) - 1))
            continue
        for sighting, met in zip(node.sightings, node.turns, strict=True):
            walk.see(sighting, met, before)
            before = sighting
        walk.rest.extend(node.rest)
        out, parts, copy = ties.left(node), ties.parts.get(id(node), []), ties.copy(node)
        if copy is not None:
            stack.append((copy[0], node.sightings[copy[1] - 1]))
        into = ties.comes(node)
        for_itself = copy is not None and node.sightings[-1].headers.ttl == 0 and node.dropped_by is None
        below = [out or into] if out is not None or into is not None else parts
        stack.extend((each, before) for each in reversed(below))
        if not below and not for_itself:
            walk.ends.append(replace(_pass_end(node, before, ties), place=len(walk.sightings) - 1))
    begun_here = isinstance(start, Pass) and start.start == "output"
    return replace(walk.journey(begun_here=begun_here), since_ns=since_ns)


class _Walk:
    """A journey as it is put together; `see` takes the sighting before, which in a broadcast is not the last one."""

    def __init__(self) -> None:
        self.sightings: list[Sighting] = []
        self.turns: list[tuple[RuleTurn, ...]] = []
        self.changes: list[Rewrite] = []
        self.rest: list[RuleTurn] = []
        self.ends: list[End] = []

    def see(self, sighting: Sighting, met: list[RuleTurn], before: Sighting | None) -> None:
        if before is not None:
            self.changes.extend(rewrites(before, sighting, met, len(self.sightings)))
        self.sightings.append(sighting)
        self.turns.append(tuple(met))

    def journey(self, *, begun_here: bool) -> Journey:
        self.ends = [end for end in self.ends if end.kind != "reassembled"] or self.ends
        end = self.ends[0]
        complete = begun_here and end.kind == "delivered"
        parts = (tuple(self.sightings), tuple(self.turns), tuple(self.rest), tuple(self.changes))
        return Journey(*parts, end, complete, ends=tuple(self.ends))


def _pass_end(node: PlainPass, before: Sighting | None, ties: PlainTies) -> End:
    last = node.sightings[-1] if node.sightings else before
    assert last is not None
    if (turn := node.dropped_by) is not None:
        return End("dropped", last.point, turn)
    if id(node) in ties.together:
        return End("reassembled", last.point)
    if id(node) in ties.unfinished:
        return End("unseen", last.point)
    return End("delivered" if node.stage == "input.nat" else "unseen", last.point)


def unquoted(journey: Journey) -> Journey:
    """A journey without what is not joined here: see test_record_join_quotes.py and test_record_join_order.py."""
    ends = tuple(replace(end, why=None, error=None) for end in journey.ends)
    unordered = {"alike": 1, "certain": True, "duplicates": None, "retransmits": None}
    return replace(journey, end=ends[0], ends=ends, error=None, quotes=None, errors=(), **unordered)
