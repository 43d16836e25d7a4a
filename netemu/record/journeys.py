"""One packet's sightings joined across hosts and rewrites.

Nothing is guessed: inside a host the trace ties the stages of a pass together whatever NAT does to the packet; a
pass and the frames on either side of it have equal headers (checksums aside); the two ends of a wire carry equal
frames. Packets that are alike to the last byte are joined in the order in which they came.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from netemu.netfilter.conntrack import Direction
from netemu.record.capture import OTHERHOST, OUTGOING, HostCapture
from netemu.record.headers import Split, decode, identity, split_frame
from netemu.record.passes import Pass, RuleTurn, passes
from netemu.record.rewrites import Rewrite, matched, rewrites, walked
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
    """One packet's sightings, in order. `nth` counts from 1 in its flow and direction; flows.py sets both.

    `since_ns` is when it began, as near as can be told: a packet that no wire saw comes after the one before it.
    """

    sightings: tuple[Sighting, ...]
    turns: tuple[tuple[RuleTurn, ...], ...]
    rest: tuple[RuleTurn, ...]
    rewrites: tuple[Rewrite, ...]
    end: End
    complete: bool
    since_ns: int = 0
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
        return frozenset(seen.point for place, seen in enumerate(self.sightings) if self.walked_at(place))

    def walked_at(self, place: int) -> bool:
        """Whether the sighting `place` is at a .nat point and was reached by walking a nat chain."""
        return self.sightings[place].point.is_nat and walked(self.turns[place])

    def matched_at(self, place: int) -> RuleTurn | None:
        """The nat rule that was matched just before the .nat point of the sighting `place`, or None."""
        return matched(self.turns[place]) if self.sightings[place].point.is_nat else None

    def visits(self, point: Point) -> list[int]:
        """The places of the sightings at a point: a packet may come there more than once, or never."""
        return [place for place, seen in enumerate(self.sightings) if seen.point == point]

    @property
    def start_ns(self) -> int | None:
        """The time of the first sighting that has one."""
        return next((seen.time_ns for seen in self.sightings if seen.time_ns is not None), None)

    def at(self, point: Point) -> Sighting | None:
        """The first sighting at a point, or None."""
        return next((seen for seen in self.sightings if seen.point == point), None)


@dataclass(slots=True)
class _Frame:
    """A frame on a wire, and what it leads to."""

    sighting: Sighting
    data: bytes
    kind: int
    key: bytes
    protocol: int | None = None
    leads_to: list[_Frame] = field(default_factory=list)
    enters: Pass | None = None
    claimed: bool = False


def journeys(captures: Sequence[HostCapture], segment_of: Mapping[Member, str]) -> list[Journey]:
    """Join all captures' sightings; `segment_of` tells which segment a (host, interface) is on."""
    frames = {capture.host: list(_frames(capture)) for capture in captures}
    found = {capture.host: passes(capture) for capture in captures}
    ties = _Ties()
    for capture in captures:
        _join_host(frames[capture.host], found[capture.host], capture.interfaces, ties)
    _join_wires(frames, segment_of)
    starts: list[tuple[int, _Frame | Pass]] = []
    for host, mine in found.items():
        unclaimed = (frame for frame in frames[host] if not frame.claimed and frame.kind != OTHERHOST)
        starts.extend((frame.sighting.time_ns or 0, frame) for frame in unclaimed)
        latest = 0  # a pass that no wire dates comes after the one before it
        for each in mine:
            dated = ties.came(each) or ties.left(each)
            latest = (dated.sighting.time_ns or latest) if dated is not None else latest
            if ties.came(each) is None and each.sightings:
                starts.append((latest, each))
    starts.sort(key=lambda start: start[0])
    return [_journey(start, ties, since) for since, start in starts]


class _Ties:
    """Which frame each pass came from, and which it became."""

    def __init__(self) -> None:
        self._came: dict[int, _Frame] = {}
        self._left: dict[int, _Frame] = {}

    def came(self, each: Pass) -> _Frame | None:
        return self._came.get(id(each))

    def left(self, each: Pass) -> _Frame | None:
        return self._left.get(id(each))

    def tie_arrival(self, each: Pass, frame: _Frame) -> None:
        frame.enters = each
        self._came[id(each)] = frame

    def tie_departure(self, each: Pass, frame: _Frame) -> None:
        frame.claimed = True
        self._left[id(each)] = frame


def _frames(capture: HostCapture) -> Iterator[_Frame]:
    for raw in capture.frames:
        packet = split_frame(raw.data)
        headers = decode(packet) if packet else None
        if packet is None or headers is None:
            continue
        interface = capture.interfaces.get(raw.interface) or f"interface {raw.interface}"
        point = Point(capture.host, interface, "out" if raw.kind == OUTGOING else "in")
        yield _Frame(Sighting(point, raw.time_ns, headers), raw.data, raw.kind, identity(packet), packet.protocol)


def _join_host(frames: list[_Frame], found: list[Pass], interfaces: Mapping[int, str], ties: _Ties) -> None:
    """Tie each pass to the frame that it came from and to the frame that it became."""
    waiting: dict[tuple[Point, bytes], deque[_Frame]] = defaultdict(deque)
    for frame in frames:
        if frame.kind != OTHERHOST:
            waiting[frame.sighting.point, frame.key].append(frame)
    for each in found:
        came_by, leaves_by = interfaces.get(each.iif or 0), interfaces.get(each.oif or 0)
        if each.start == "prerouting" and each.arrived is not None and came_by is not None:
            arrived = _take(waiting, Point(each.host, came_by, "in"), each.arrived)
            if arrived is not None:
                ties.tie_arrival(each, arrived)
        if each.stage.startswith("postrouting") and each.left is not None and leaves_by is not None:
            left = _take(waiting, Point(each.host, leaves_by, "out"), each.left)
            if left is not None:
                ties.tie_departure(each, left)
        _name_protocol(each, ties)


def _name_protocol(each: Pass, ties: _Ties) -> None:
    """Behind IPv6 extension headers the trace does not tell the transport's protocol: the frame does."""
    frame = ties.came(each) or ties.left(each)
    if frame is None or frame.protocol is None:
        return
    for place, seen in enumerate(each.sightings):
        headers = replace(seen.headers, proto=frame.sighting.headers.proto)
        each.sightings[place] = replace(seen, headers=headers)


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
            segment = segment_of.get(member, f"{host} {member[1]}")
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


def _journey(start: _Frame | Pass, ties: _Ties, since_ns: int) -> Journey:
    walk = _Walk()
    stack: list[tuple[_Frame | Pass, Sighting | None]] = [(start, None)]
    while stack:
        node, before = stack.pop()
        if isinstance(node, _Frame):
            walk.see(node.sighting, [], before)
            stack.extend((frame, node.sighting) for frame in reversed(node.leads_to))
            if node.enters is not None:
                stack.append((node.enters, node.sighting))
            elif not node.leads_to:
                walk.end = walk.end or End("unseen", node.sighting.point)
            continue
        for sighting, met in zip(node.sightings, node.turns, strict=True):
            walk.see(sighting, met, before)
            before = sighting
        walk.rest.extend(node.rest)
        out = ties.left(node)
        if out is not None:
            stack.append((out, before))
        else:
            walk.end = walk.end or _pass_end(node, before)
    begun_here = isinstance(start, Pass) and start.start == "output"
    return replace(walk.journey(begun_here=begun_here), since_ns=since_ns)


class _Walk:
    """A journey as it is put together; `see` takes the sighting before, which in a broadcast is not the last one."""

    def __init__(self) -> None:
        self.sightings: list[Sighting] = []
        self.turns: list[tuple[RuleTurn, ...]] = []
        self.changes: list[Rewrite] = []
        self.rest: list[RuleTurn] = []
        self.end: End | None = None

    def see(self, sighting: Sighting, met: list[RuleTurn], before: Sighting | None) -> None:
        if before is not None:
            self.changes.extend(rewrites(before, sighting, met, len(self.sightings)))
        self.sightings.append(sighting)
        self.turns.append(tuple(met))

    def journey(self, *, begun_here: bool) -> Journey:
        assert self.end is not None
        complete = begun_here and self.end.kind == "delivered"
        parts = (tuple(self.sightings), tuple(self.turns), tuple(self.rest), tuple(self.changes))
        return Journey(*parts, self.end, complete)


def _pass_end(node: Pass, before: Sighting | None) -> End:
    last = node.sightings[-1] if node.sightings else before
    assert last is not None
    if (turn := node.dropped_by) is not None:
        return End("dropped", last.point, turn)
    return End("delivered" if node.stage == "input.nat" else "unseen", last.point)
