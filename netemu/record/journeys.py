"""One packet's sightings joined across hosts and rewrites.

Nothing is guessed: inside a host the trace ties the stages of a pass together whatever NAT does to the packet; a
pass and the frames on either side of it have equal headers (checksums aside); the two ends of a wire carry equal
frames. Packets that are alike to the last byte are joined in the order in which they came.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from netemu.netfilter.conntrack import Direction
from netemu.record.capture import OTHERHOST, OUTGOING, HostCapture
from netemu.record.headers import Split, decode, identity, split_frame
from netemu.record.passes import Pass, RuleTurn, passes
from netemu.record.rewrites import Rewrite, rewrites, walked
from netemu.record.sighting import Sighting
from netemu.topology.points import Point

Member = tuple[str, str]
"""A (host, interface)."""


@dataclass(frozen=True, slots=True)
class End:
    """How a journey ended: `delivered` to a host's own stack, `dropped` by a rule, or `unseen` from there on."""

    kind: Literal["delivered", "dropped", "unseen"]
    at: Point
    turn: RuleTurn | None = None


@dataclass(slots=True)
class Journey:
    """One packet's sightings, in order. `nth` counts from 1 in its flow and direction; flows.py sets both."""

    sightings: tuple[Sighting, ...]
    turns: tuple[tuple[RuleTurn, ...], ...]
    rest: tuple[RuleTurn, ...]
    rewrites: tuple[Rewrite, ...]
    end: End
    complete: bool
    order: int = 0
    id: int = 0
    flow: int = 0
    direction: Direction = "original"
    nth: int = 0

    @property
    def first(self) -> Sighting:
        """The first sighting."""
        return self.sightings[0]

    @property
    def rules(self) -> list[RuleTurn]:
        """The rules and policies that the packet met, in order, on all hosts."""
        return [turn for turns in (*self.turns, self.rest) for turn in turns]

    @property
    def walked(self) -> frozenset[Point]:
        """The .nat points that were reached by walking a nat chain."""
        pairs = zip(self.sightings, self.turns, strict=True)
        return frozenset(seen.point for seen, turns in pairs if seen.point.stage and walked(list(turns)))

    @property
    def start_ns(self) -> int | None:
        """The time of the first sighting that has one."""
        return next((seen.time_ns for seen in self.sightings if seen.time_ns is not None), None)

    def at(self, point: Point) -> Sighting | None:
        """The sighting at a point, or None."""
        return next((seen for seen in self.sightings if seen.point == point), None)

    def before(self, point: Point) -> Sighting | None:
        """The sighting just before the one at `point`, or None."""
        places = [seen.point for seen in self.sightings]
        index = places.index(point) if point in places else 0
        return self.sightings[index - 1] if index else None


@dataclass(slots=True)
class _Frame:
    """A frame on a wire, and what it leads to."""

    sighting: Sighting
    data: bytes
    kind: int
    key: bytes
    leads_to: list[_Frame] = field(default_factory=list)
    enters: Pass | None = None
    claimed: bool = False


def journeys(captures: Sequence[HostCapture], segment_of: Mapping[Member, str]) -> list[Journey]:
    """Join all captures' sightings; `segment_of` tells which segment a (host, interface) is on."""
    frames = {capture.host: list(_frames(capture)) for capture in captures}
    found = {capture.host: passes(capture) for capture in captures}
    leaves: dict[int, _Frame | None] = {id(each): None for host in found for each in found[host]}
    entered: set[int] = set()
    for capture in captures:
        _join_host(frames[capture.host], found[capture.host], capture.interfaces, leaves, entered)
    _join_wires(frames, segment_of)
    starts: list[tuple[int, _Frame | Pass]] = []
    for host, mine in found.items():
        unclaimed = (frame for frame in frames[host] if not frame.claimed and frame.kind != OTHERHOST)
        starts.extend((frame.sighting.time_ns or 0, frame) for frame in unclaimed)
        latest = 0  # a pass that no wire dates comes after the one before it
        for each in mine:
            left = leaves[id(each)]
            latest = left.sighting.time_ns or latest if left else latest
            if id(each) not in entered and each.sightings:
                starts.append((latest, each))
    starts.sort(key=lambda start: start[0])
    return [_journey(start, leaves, order) for order, (_, start) in enumerate(starts)]


def _frames(capture: HostCapture) -> Iterator[_Frame]:
    for raw in capture.frames:
        packet = split_frame(raw.data)
        headers = decode(packet) if packet else None
        if packet is None or headers is None:
            continue
        point = Point(capture.host, raw.interface, "out" if raw.kind == OUTGOING else "in")
        yield _Frame(Sighting(point, raw.time_ns, headers), raw.data, raw.kind, identity(packet))


def _join_host(
    frames: list[_Frame],
    found: list[Pass],
    interfaces: Mapping[int, str],
    leaves: dict[int, _Frame | None],
    entered: set[int],
) -> None:
    """Tie each pass to the frame that it came from and to the frame that it became."""
    waiting: dict[tuple[Point, bytes], deque[_Frame]] = defaultdict(deque)
    for frame in frames:
        if frame.kind != OTHERHOST:
            waiting[frame.sighting.point, frame.key].append(frame)
    for each in found:
        if not each.sightings:
            continue
        if each.start == "prerouting" and each.iif is not None and each.iif in interfaces:
            arrived = _take(waiting, Point(each.host, interfaces[each.iif], "in"), each.packets[0])
            if arrived is not None:
                arrived.enters = each
                entered.add(id(each))
        if each.stage.startswith("postrouting") and each.oif is not None and each.oif in interfaces:
            left = _take(waiting, Point(each.host, interfaces[each.oif], "out"), each.packets[-1])
            if left is not None:
                left.claimed = True
                leaves[id(each)] = left


def _take(waiting: Mapping[tuple[Point, bytes], deque[_Frame]], point: Point, packet: Split) -> _Frame | None:
    queue = waiting.get((point, identity(packet)))
    return queue.popleft() if queue else None


def _join_wires(frames: dict[str, list[_Frame]], segment_of: Mapping[Member, str]) -> None:
    """Tie each frame that left to the frames that came in elsewhere on its segment."""
    arrived: dict[tuple[str, bytes], dict[Member, deque[_Frame]]] = defaultdict(lambda: defaultdict(deque))
    sent: list[tuple[str, Member, _Frame]] = []
    for host, seen in frames.items():
        for frame in seen:
            member = (host, str(frame.sighting.point.interface))
            segment = segment_of.get(member, f"{host} lo" if member[1] == "lo" else "")
            if frame.kind == OUTGOING:
                sent.append((segment, member, frame))
            else:
                arrived[segment, frame.data][member].append(frame)
    for segment, member, frame in sorted(sent, key=lambda item: item[2].sighting.time_ns or 0):
        for other, queue in arrived.get((segment, frame.data), {}).items():
            if queue and (other != member or member[1] == "lo"):
                came = queue.popleft()
                came.claimed = True
                if came.kind != OTHERHOST:
                    frame.leads_to.append(came)


def _journey(start: _Frame | Pass, leaves: dict[int, _Frame | None], order: int) -> Journey:
    sightings: list[Sighting] = []
    turns: list[list[RuleTurn]] = []
    changes: list[Rewrite] = []
    end: End | None = None
    rest: list[RuleTurn] = []

    def see(sighting: Sighting, met: list[RuleTurn]) -> None:
        if sightings:
            changes.extend(rewrites(sightings[-1], sighting, met))
        sightings.append(sighting)
        turns.append(met)

    stack: list[_Frame | Pass] = [start]
    while stack:
        node = stack.pop()
        if isinstance(node, _Frame):
            see(node.sighting, [])
            stack.extend(reversed(node.leads_to))
            if node.enters is not None:
                stack.append(node.enters)
            elif not node.leads_to:
                end = end or End("unseen", node.sighting.point)
            continue
        for sighting, met in zip(node.sightings, node.turns, strict=True):
            see(sighting, met)
        rest.extend(node.rest)
        out = leaves[id(node)]
        if out is not None:
            stack.append(out)
        else:
            end = end or _pass_end(node)
    assert end is not None
    complete = end.kind == "delivered" and (isinstance(start, Pass) and start.start == "output")
    return Journey(
        tuple(sightings), tuple(tuple(met) for met in turns), tuple(rest), tuple(changes), end, complete, order
    )


def _pass_end(node: Pass) -> End:
    at = node.sightings[-1].point
    if (turn := node.dropped_by) is not None:
        return End("dropped", at, turn)
    return End("delivered" if node.stage == "input.nat" else "unseen", at)
