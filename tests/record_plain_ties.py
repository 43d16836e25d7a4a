"""What is of one packet, plainly: in a host, on a wire, in fragments, in a copy for its own host."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, ip_address

from record_plain_parts import (
    Part,
    ahead_of,
    headers_of,
    left_by_id,
    may_wait_ns,
    part,
    queued,
    runs,
)
from record_plain_passes import PlainPass, plain_passes

from netemu.netfilter.hooks import STARTS
from netemu.record.capture import OTHERHOST, OUTGOING, HostCapture
from netemu.record.decode.headers import Split, decode, identity, split_frame
from netemu.record.join.wires import Member
from netemu.record.sighting import Sighting
from netemu.topology.points import Point


@dataclass(slots=True)
class PlainFrame:
    """A frame on a wire, and what it leads to."""

    sighting: Sighting
    data: bytes
    kind: int
    key: bytes
    packet: Split
    ahead: int = 0
    leads_to: list[PlainFrame] = field(default_factory=list)
    enters: PlainPass | None = None
    claimed: bool = False


class PlainTies:
    """Which frame each pass came from, which it became, and the copy that its host made for itself."""

    def __init__(self) -> None:
        self._came: dict[int, PlainFrame] = {}
        self._left: dict[int, PlainFrame] = {}
        self.parts: dict[int, list[PlainFrame]] = defaultdict(list)
        self.together: set[int] = set()
        self.unfinished: set[int] = set()
        self._copy: dict[int, tuple[PlainPass, int]] = {}
        self._comes: dict[int, PlainPass] = {}
        self._copies: set[int] = set()

    def is_copy(self, each: PlainPass) -> bool:
        return id(each) in self._copies

    def copy(self, each: PlainPass) -> tuple[PlainPass, int] | None:
        """The copy's pass through POSTROUTING, and how many sightings of the packet were before it was made."""
        return self._copy.get(id(each))

    def comes(self, copy: PlainPass) -> PlainPass | None:
        return self._comes.get(id(copy))

    def tie_copy(self, each: PlainPass, copy: PlainPass, after: int) -> None:
        self._copy[id(each)] = (copy, after)
        self._copies.add(id(copy))

    def tie_return(self, copy: PlainPass, into: PlainPass) -> None:
        self._comes[id(copy)] = into
        self._copies.add(id(into))

    def came(self, each: PlainPass) -> PlainFrame | None:
        return self._came.get(id(each))

    def left(self, each: PlainPass) -> PlainFrame | None:
        return self._left.get(id(each))

    def tie_arrival(self, each: PlainPass, frame: PlainFrame) -> None:
        frame.enters = each
        self._came[id(each)] = frame

    def tie_departure(self, each: PlainPass, frame: PlainFrame) -> None:
        frame.claimed = True
        self._left[id(each)] = frame


def plain_ties(
    captures: Sequence[HostCapture], segment_of: Mapping[Member, str]
) -> tuple[dict[str, list[PlainFrame]], dict[str, list[PlainPass]], PlainTies]:
    """Every host's frames and passes, and what leads where."""
    frames = {capture.host: list(_frames(capture)) for capture in captures}
    found = {capture.host: plain_passes(capture) for capture in captures}
    ties = PlainTies()
    for capture in captures:
        _join_host(frames[capture.host], found[capture.host], capture.interfaces, ties)
    for capture in captures:
        _leave_in_parts(frames[capture.host], found[capture.host], capture.interfaces, ties)
    _join_wires(frames, segment_of)
    for capture in captures:
        for each in found[capture.host]:
            _past_extensions(each, ties)
        _put_together(found[capture.host], ties)
    return frames, found, ties


def _frames(capture: HostCapture) -> Iterator[PlainFrame]:
    for raw in capture.frames:
        packet = split_frame(raw.data)
        headers = decode(packet) if packet else None
        if packet is None or headers is None:
            continue
        interface = capture.interfaces.get(raw.interface) or f"interface {raw.interface}"
        point = Point(capture.host, interface, "out" if raw.kind == OUTGOING else "in")
        yield PlainFrame(
            Sighting(point, raw.time_ns, headers),
            raw.data,
            raw.kind,
            identity(packet),
            packet,
            _ahead(packet, raw.data),
        )


def _ahead(packet: Split, data: bytes) -> int:
    return ahead_of(data) if packet.network[0] >> 4 == 6 else 0


def _join_host(
    frames: list[PlainFrame], found: list[PlainPass], interfaces: Mapping[int, str], ties: PlainTies
) -> None:
    """Tie each pass to the frame that it came from and to the frame that it became."""
    waiting: dict[tuple[Point, bytes], deque[PlainFrame]] = defaultdict(deque)
    for frame in frames:
        if frame.kind != OTHERHOST:
            waiting[frame.sighting.point, frame.key].append(frame)
    for each in found:
        came_by = interfaces.get(each.iif or 0)
        if each.start == "prerouting" and each.arrived is not None and came_by is not None:
            arrived = _take(waiting, Point(each.host, came_by, "in"), each.arrived)
            if arrived is not None:
                ties.tie_arrival(each, arrived)
    gone = _join_copies(frames, found, ties)
    for each in found:
        leaves_by = interfaces.get(each.oif or 0)
        if any(each is copy for copy in gone):
            _past_extensions(each, ties)
            continue
        if each.stage.startswith("postrouting") and each.left is not None and leaves_by is not None:
            left = _take(waiting, Point(each.host, leaves_by, "out"), each.left)
            if left is not None:
                ties.tie_departure(each, left)


def _join_copies(frames: list[PlainFrame], found: list[PlainPass], ties: PlainTies) -> list[PlainPass]:
    """Tie the copies of packets to several that a host makes for itself; the passes in which no frame left."""
    copies = [
        each
        for each in found
        if each.start not in STARTS and each.stages[:1] == ["postrouting"] and each.oif is not None
        if _to_several(each, frames)
    ]
    parts = [each for each in copies if each.seen[0].network[0] >> 4 == 6 and each.seen[0].network[6] == 44]
    copies = [each for each in copies if each not in parts]
    made = [(each, clone) for each in found if (clone := _clone(each)) is not None]
    for kind in dict.fromkeys((each.oif, identity(each.seen[0])) for each in copies):
        mine = sorted((each for each in copies if (each.oif, identity(each.seen[0])) == kind), key=_appears)
        packets = [(each, clone) for each, clone in made if (each.oif, identity(clone.packet)) == kind]
        packets.sort(key=lambda pair: pair[1].opened)
        for (each, clone), copy in _paired(packets, mine):
            ties.tie_copy(each, copy, clone.after)
    copies = [each for each in copies if ties.is_copy(each)]
    _join_returns(copies, found, ties)
    return [*parts, *copies]


def _paired(
    packets: list[tuple[PlainPass, _Clone]], copies: list[PlainPass]
) -> list[tuple[tuple[PlainPass, _Clone], PlainPass]]:
    pairs = list(zip(packets, copies, strict=False))
    if len(packets) == len(copies) and all(clone.fits(copy) for (_, clone), copy in pairs):
        return pairs
    found = []
    for copy in copies:
        fits = [pair for pair in packets if pair[1].fits(copy)]
        if fits:
            packets.remove(fits[-1])
            found.append((fits[-1], copy))
    return found


def _join_returns(copies: list[PlainPass], found: list[PlainPass], ties: PlainTies) -> None:
    waiting: dict[tuple[int, bytes], deque[PlainPass]] = defaultdict(deque)
    for each in found:
        bare = each.start == "prerouting" and ties.came(each) is None and each.iif is not None
        if bare and each.arrived is not None and decode(each.arrived) is not None:
            waiting[each.iif or 0, identity(each.arrived)].append(each)
    for copy in copies:
        queue = waiting[copy.oif or 0, identity(copy.seen[-1])]
        if copy.stage == "postrouting.nat" and queue:
            into = queue.popleft()
            if _number(found, into) > _number(found, copy):
                ties.tie_return(copy, into)


@dataclass(frozen=True, slots=True)
class _Clone:
    """A packet as it was cloned, if it was: after so many sightings, between two events."""

    packet: Split
    after: int
    opened: int
    closed: float

    def fits(self, copy: PlainPass) -> bool:
        return self.opened < copy.places[0] < self.closed


def _clone(each: PlainPass) -> _Clone | None:
    """Where the host would clone a packet: IPv4 before its POSTROUTING (or its end, with TTL 0), IPv6 behind that."""
    stages, places = each.stages, each.places
    if not stages or each.oif is None:
        return None
    if each.seen[-1].network[0] >> 4 == 6:
        fits = stages[-1] == "postrouting.nat" and not stages[0].startswith("postrouting")
        return _Clone(each.seen[-1], len(stages), places[-1], float("inf")) if fits else None
    if stages[-1].startswith("postrouting"):
        at = stages.index("postrouting") if "postrouting" in stages else 0
        return _Clone(each.seen[at], at, places[at - 1], places[at]) if at else None
    if each.sightings[-1].headers.ttl == 0:
        return _Clone(each.seen[-1], len(stages), places[-1], float("inf"))
    return None


def _to_several(each: PlainPass, frames: list[PlainFrame]) -> bool:
    dst = ip_address(each.sightings[-1].headers.dst)
    if dst.is_multicast or dst == IPv4Address("255.255.255.255"):
        return True
    sent = (frame for frame in frames if frame.kind == OUTGOING and frame.sighting.headers.dst == str(dst))
    first = next(sent, None)
    return dst.version == 4 and first is not None and first.data[0] & 1 == 1


def _appears(each: PlainPass) -> int:
    return each.places[0]


def _number(found: list[PlainPass], each: PlainPass) -> int:
    return next(place for place, other in enumerate(found) if other is each)


def _past_extensions(each: PlainPass, ties: PlainTies) -> None:
    """Behind IPv6 extension headers the trace does not tell the transport's protocol: the frame does."""
    frame = ties.came(each) or ties.left(each)
    if frame is None or frame.packet.protocol is None:
        return
    payload = int.from_bytes(frame.packet.network[4:6], "big")
    told = frame.sighting.headers
    for place, packet in enumerate(each.seen):
        if packet.network[6] in (0, 43, 44, 51, 60) and packet.network[0] >> 4 == 6:
            if packet.protocol is not None or (
                frame.packet.fragment
                and packet.network[6] != 44
                and int.from_bytes(packet.network[4:6], "big") != payload
            ):
                continue  # told already; or put together on the way
            headers = decode(replace(packet, protocol=frame.packet.protocol))
            assert headers is not None
            headers = replace(headers, length=told.length, fragment=told.fragment)
            each.sightings[place] = replace(each.sightings[place], headers=headers)


def _leave_in_parts(
    frames: list[PlainFrame], found: list[PlainPass], interfaces: Mapping[int, str], ties: PlainTies
) -> None:
    """Tie each pass that became no frame to the fragments that it left as."""
    cut = _cut(frames)
    passes: dict[tuple[Point, object], list[tuple[object, Part]]] = defaultdict(list)
    points = {frame.sighting.point for frame in frames}
    whole: list[tuple[Point, PlainPass]] = []
    for each in found:
        point = Point(each.host, interfaces.get(each.oif or 0) or "?", "out")
        if not each.stage.startswith("postrouting") or each.left is None or ties.left(each) or point not in points:
            continue
        if each.left.network[0] >> 4 == 4:
            own = part(each.left)
            passes[point, (4, own.code)].append((each, own))
        elif not each.left.fragment:
            whole.append((point, each))
    for key, mine in passes.items():
        for each, frame in left_by_id(mine, cut.get(key, [])):
            ties.parts[id(each)].append(frame)
    _leave_by_headers(cut, whole, ties)
    for those in ties.parts.values():
        those.sort(key=lambda frame: frame.sighting.time_ns or 0)
        for frame in those:
            frame.claimed = True


def _cut(frames: list[PlainFrame]) -> dict[tuple[Point, object], list[tuple[object, Part]]]:
    """Fragments that went out, by what they share."""
    cut: dict[tuple[Point, object], list[tuple[object, Part]]] = defaultdict(list)
    for frame in sorted(frames, key=lambda frame: frame.sighting.time_ns or 0):
        if frame.kind == OUTGOING and frame.sighting.headers.fragment and not frame.claimed:
            piece = part(frame.packet, frame.ahead)
            known = cut[frame.sighting.point, (frame.packet.network[0] >> 4, piece.code)]
            if not known or known[-1][0].data != frame.data:
                known.append((frame, piece))
    return cut


def _leave_by_headers(cut: Mapping, whole: list[tuple[Point, PlainPass]], ties: PlainTies) -> None:
    """IPv6's: by the first one's headers and the length of all; then those whose last one is missing."""
    six = [(point, run) for (point, (version, _)), every in cut.items() if version == 6 for run in runs(every)]
    six = [each for each in six if each[1][0][1].start == 0]
    six.sort(key=lambda each: each[1][0][0].sighting.time_ns or 0)
    for complete in (True, False):
        for point, run in six:
            total = sum(piece.end - piece.start for _, piece in run)
            if (not run[-1][1].more and total == run[-1][1].end) != complete:
                continue
            asked = headers_of(run[0][0].packet)
            fits = (
                each
                for each in whole
                if each[0] == point
                and headers_of(each[1].left) == asked
                and (not complete or part(each[1].left).end == total)
            )
            if (taken := next(fits, None)) is not None:
                whole.remove(taken)
                ties.parts[id(taken[1])] += [frame for frame, _ in run]


def _put_together(found: list[PlainPass], ties: PlainTies) -> None:
    """Which passes end since their host put the part together with others; which came to nothing at its own queue."""
    waiting: dict[object, list[PlainPass]] = defaultdict(list)
    at_queue: dict[object, list[PlainPass]] = defaultdict(list)

    def in_parts(each: PlainPass) -> bool:
        last = each.sightings[-1].headers if each.sightings else None
        return last is not None and (last.fragment is not None or last.proto == "44")

    ties.unfinished |= {id(each) for each in found if in_parts(each) and each.stage == "input.nat"}
    came = [(ties.came(each), each) for each in found]
    for frame, each in sorted(
        ((f, e) for f, e in came if f is not None), key=lambda both: both[0].sighting.time_ns or 0
    ):
        if frame.sighting.headers.fragment is None:
            continue
        version = frame.packet.network[0] >> 4
        code = (version, part(frame.packet, frame.ahead).code)
        if waiting[code] and _time(frame) - _time(ties.came(waiting[code][0])) > may_wait_ns(version):
            waiting[code].clear()
        if in_parts(each) and each.stage == "input.nat":
            at_queue[code].append(each)
        elif in_parts(each) or not each.sightings:
            waiting[code].append(each)
        else:
            ties.together |= {id(other) for other in waiting.pop(code, [])}
    for those in at_queue.values():
        frames = [ties.came(each) for each in those]
        parts = [part(frame.packet, frame.ahead) for frame in frames if frame is not None]
        of, last = queued(parts, [_time(frame) for frame in frames])
        ties.together |= {id(each) for each, run, end in zip(those, of, last, strict=True) if run >= 0 and not end}
        ties.unfinished -= {id(each) for each, run in zip(those, of, strict=True) if run >= 0}


def _time(frame: PlainFrame | None) -> int:
    assert frame is not None
    return frame.sighting.time_ns or 0


def _take(waiting: Mapping[tuple[Point, bytes], deque[PlainFrame]], point: Point, packet: Split) -> PlainFrame | None:
    queue = waiting.get((point, identity(packet))) if decode(packet) is not None else None
    return queue.popleft() if queue else None


def _join_wires(frames: dict[str, list[PlainFrame]], segment_of: Mapping[Member, str]) -> None:
    """Tie each frame that left to the frames that came in elsewhere on its segment."""
    arrived: dict[tuple[str, bytes], dict[Member, deque[PlainFrame]]] = defaultdict(lambda: defaultdict(deque))
    sent: list[tuple[str, Member, PlainFrame]] = []
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
