"""The joins of netemu.record once more, plainly: one object a packet, one step at a time.

This is the reference that the columns are held against: slow, and easy to be sure of. It was the whole of the
product's record once, so every test of the record has been passed by it too.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, ip_address

from record_parts_plain import (
    LaterFragments,
    Part,
    ahead_of,
    decoded,
    headers_of,
    is_bare,
    left_by_id,
    part,
    queued,
    runs,
)
from record_passes import Pass, trace_events

from netemu.netfilter.conntrack import Direction, Entry, PacketConntrack, Tuple
from netemu.netfilter.hooks import STAGE, STARTS
from netemu.netfilter.messages import TraceEvent
from netemu.netfilter.ruleset import Rule, Ruleset
from netemu.record.capture import OTHERHOST, OUTGOING, START, TAP_TABLE, HostCapture, is_tap_table
from netemu.record.decode.headers import Split, decode, identity, split_frame
from netemu.record.flows import EntryKey, Flow
from netemu.record.join.ends import End
from netemu.record.join.rewrites import Rewrite, rewrites
from netemu.record.join.turn import RuleTurn
from netemu.record.join.wires import Member
from netemu.record.journeys import Journey
from netemu.record.sighting import Sighting
from netemu.topology.points import HOOK_STAGES, Point


@dataclass(slots=True)
class PlainPass(Pass):
    """A pass, and the packet as it was before any rule and at its last stage.

    `bare` are events that tell 20 bytes alone, with the places of their sightings (-1: the start).
    """

    arrived: Split | None = None
    left: Split | None = None
    seen: list[Split] = field(default_factory=list)
    bare: list[tuple[int, TraceEvent]] = field(default_factory=list)
    routed: list[tuple[int | None, int | None]] = field(default_factory=list)
    begun_by: int | None = None
    places: list[int] = field(default_factory=list)

    @property
    def stages(self) -> list[str]:
        """The stages that it came to."""
        return [str(sighting.point.stage) for sighting in self.sightings]


def plain_passes(capture: HostCapture) -> list[PlainPass]:
    """A host's passes, in the order in which they began."""
    builder = _Builder(capture.host, capture.rules_before, capture.rules_after, capture.states)
    for event in trace_events(capture.trace):
        builder.take(event)
    later = LaterFragments(capture)
    for each in builder.found:
        _tell_later(each, later)
        _see_dropped_output(each)
    return [each for each in builder.found if each.sightings or each.start == "prerouting"]


def _tell_later(each: PlainPass, later: LaterFragments) -> None:
    """Of later fragments of IPv6 the frames tell what the trace does not; what has no frame stays untold."""
    packets = later.tell([event for _, event in each.bare]) if each.bare else []
    places = [place for place, _ in each.bare]
    if packets is None:
        _untell(each, places)
        return
    for place, packet in zip(places, packets, strict=True):
        if place < 0:
            each.arrived = packet
        else:
            each.seen[place] = packet
            each.sightings[place] = replace(each.sightings[place], headers=decoded(packet))
    each.left = each.seen[-1] if each.seen else None


def _untell(each: PlainPass, places: list[int]) -> None:
    """Take away the sightings of what is not told; the rules stay, with what was seen next."""
    if -1 in places:
        each.arrived = None
    for place in sorted((place for place in places if place >= 0), reverse=True):
        turns = each.turns.pop(place)
        if place < len(each.turns):
            each.turns[place] = turns + each.turns[place]
        else:
            each.rest = turns + each.rest
        for column in (each.sightings, each.seen, each.routed):
            del column[place]
    each.left = each.seen[-1] if each.seen else None
    each.iif = next((iif for iif in (each.begun_by, *(iif for iif, _ in each.routed)) if iif is not None), None)
    each.oif = next((oif for _, oif in reversed(each.routed) if oif is not None), None)


def _see_dropped_output(each: PlainPass) -> None:
    """A packet that its own host drops before the first stage (in the raw table) is seen nowhere else but here."""
    headers = decode(each.arrived) if each.arrived is not None else None
    if each.start == "output" and not each.sightings and headers is not None:
        each.sightings.append(Sighting(Point(each.host, stage="output"), None, headers))
        each.seen.append(each.arrived)
        each.places.append(0)
        each.turns.append([])


_ORDER = {stage: place for place, stage in enumerate(HOOK_STAGES)}
_AFTER_OUTPUT = {"output", "output.nat", "postrouting", "postrouting.nat"}


def _comes_after(stage: str, last: str) -> bool:
    """Whether a pass whose last stage was `last` can come to `stage`."""
    if not last:
        return True
    if last in {"input.nat", "postrouting.nat"} or (last in _AFTER_OUTPUT and stage not in _AFTER_OUTPUT):
        return False
    return _ORDER.get(stage, 0) > _ORDER[last]


def _goes_on(current: PlainPass, event: TraceEvent) -> bool:
    """An IPv4 multicast with TTL 0 does not come to postrouting (ip_mc_output)."""
    if not event.chain.startswith("postrouting") or not current.stage.startswith("output"):
        return True
    headers = current.sightings[-1].headers
    return headers.ttl > 0 or ":" in headers.dst or not ip_address(headers.dst).is_multicast


class _Builder:
    """Holds the passes that are under way, by trace id."""

    def __init__(
        self, host: str, before: Ruleset, after: Ruleset, states: dict[tuple[str, int], PacketConntrack]
    ) -> None:
        self.host = host
        self.rules = before.by_handle() | after.by_handle()
        self.nat_chains = before.nat_chains | after.nat_chains
        self.other_chains = before.other_chains | after.other_chains
        self.states = states
        self.under_way: dict[int, PlainPass] = {}
        self.found: list[PlainPass] = []
        self.events = 0

    def take(self, event: TraceEvent) -> None:
        """Add one event to the pass it belongs to, or begin one."""
        self.events += 1
        tap = event.table == TAP_TABLE
        if tap and event.chain.startswith(START):
            begun = self._begin(event.id, event.chain.removeprefix(START))
            begun.arrived, begun.iif = Split(event.network, event.transport), event.iif
            begun.begun_by = event.iif
            if is_bare(event):
                begun.bare.append((-1, event))
            return
        current = self.under_way.get(event.id)
        if current is None or (tap and not (_comes_after(event.chain, current.stage) and _goes_on(current, event))):
            current = self._begin(event.id, "")  # its start was lost
        if not tap:
            if not is_tap_table(event.table) and (event.kind == "policy" or event.handle is not None):
                current.rest.append(self._turn(event, current.rest))
        elif event.chain in STAGE and (event.network or is_bare(event)):
            self._see(current, event)

    def _begin(self, id: int, start: str) -> PlainPass:
        self.under_way[id] = begun = PlainPass(self.host, start)
        self.found.append(begun)
        return begun

    def _see(self, current: PlainPass, event: TraceEvent) -> None:
        packet = Split(event.network, event.transport)
        if is_bare(event):
            packet = Split(event.transport.ljust(40, b"\0"), b"")  # until it is told
            current.bare.append((len(current.sightings), event))
        headers = decode(packet)
        if headers is None:
            return
        current.routed.append((event.iif, event.oif))
        ct = self.states.get((event.chain, event.handle or 0)) if self.states else event.ct
        current.sightings.append(Sighting(Point(self.host, stage=event.chain), None, headers, ct))
        current.seen.append(packet)
        current.places.append(self.events)
        current.arrived = current.arrived or packet
        current.left = packet
        current.turns.append(current.rest)
        current.rest = []
        current.iif = event.iif if current.iif is None else current.iif
        current.oif = event.oif if event.oif is not None else current.oif

    def _turn(self, event: TraceEvent, earlier: list[RuleTurn]) -> RuleTurn:
        chain = (event.family, event.table, event.chain)
        rule = None
        if event.kind == "rule" and event.handle is not None:
            rule = self.rules.get((*chain, event.handle)) or Rule(*chain, -1, f"handle {event.handle}")
        jumped_to = chain not in self.other_chains and bool(earlier) and earlier[-1].nat
        verdict = event.verdict if event.target is None else f"{event.verdict} {event.target}"
        return RuleTurn(self.host, *chain, rule, verdict, chain in self.nat_chains or jumped_to)


@dataclass(slots=True)
class _Frame:
    """A frame on a wire, and what it leads to."""

    sighting: Sighting
    data: bytes
    kind: int
    key: bytes
    packet: Split
    ahead: int = 0
    leads_to: list[_Frame] = field(default_factory=list)
    enters: PlainPass | None = None
    claimed: bool = False


def plain_journeys(captures: Sequence[HostCapture], segment_of: Mapping[Member, str]) -> list[Journey]:
    """Join all captures' sightings; `segment_of` tells which segment a (host, interface) is on."""
    frames = {capture.host: list(_frames(capture)) for capture in captures}
    found = {capture.host: plain_passes(capture) for capture in captures}
    ties = _Ties()
    for capture in captures:
        _join_host(frames[capture.host], found[capture.host], capture.interfaces, ties)
    for capture in captures:
        _leave_in_parts(frames[capture.host], found[capture.host], capture.interfaces, ties)
    _join_wires(frames, segment_of)
    for capture in captures:
        for each in found[capture.host]:
            _past_extensions(each, ties)
        _put_together(found[capture.host], ties)
    starts: list[tuple[int, _Frame | PlainPass]] = []
    for host, mine in found.items():
        unclaimed = (frame for frame in frames[host] if not frame.claimed and frame.kind != OTHERHOST)
        starts.extend((frame.sighting.time_ns or 0, frame) for frame in unclaimed)
        latest = 0  # a pass that no wire dates comes after the one before it
        for each in mine:
            dated = ties.came(each) or ties.left(each)
            latest = (dated.sighting.time_ns or latest) if dated is not None else latest
            if ties.came(each) is None and each.sightings and not ties.is_copy(each):
                starts.append((latest, each))
    starts.sort(key=lambda start: start[0])
    return [_journey(start, ties, since) for since, start in starts]


class _Ties:
    """Which frame each pass came from, which it became, and the copy that its host made for itself."""

    def __init__(self) -> None:
        self._came: dict[int, _Frame] = {}
        self._left: dict[int, _Frame] = {}
        self.parts: dict[int, list[_Frame]] = defaultdict(list)
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

    def came(self, each: PlainPass) -> _Frame | None:
        return self._came.get(id(each))

    def left(self, each: PlainPass) -> _Frame | None:
        return self._left.get(id(each))

    def tie_arrival(self, each: PlainPass, frame: _Frame) -> None:
        frame.enters = each
        self._came[id(each)] = frame

    def tie_departure(self, each: PlainPass, frame: _Frame) -> None:
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
        yield _Frame(
            Sighting(point, raw.time_ns, headers),
            raw.data,
            raw.kind,
            identity(packet),
            packet,
            _ahead(packet, raw.data),
        )


def _ahead(packet: Split, data: bytes) -> int:
    return ahead_of(data) if packet.network[0] >> 4 == 6 else 0


def _join_host(frames: list[_Frame], found: list[PlainPass], interfaces: Mapping[int, str], ties: _Ties) -> None:
    """Tie each pass to the frame that it came from and to the frame that it became."""
    waiting: dict[tuple[Point, bytes], deque[_Frame]] = defaultdict(deque)
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


def _join_copies(frames: list[_Frame], found: list[PlainPass], ties: _Ties) -> list[PlainPass]:
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


def _join_returns(copies: list[PlainPass], found: list[PlainPass], ties: _Ties) -> None:
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


def _to_several(each: PlainPass, frames: list[_Frame]) -> bool:
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


def _past_extensions(each: PlainPass, ties: _Ties) -> None:
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


def _leave_in_parts(frames: list[_Frame], found: list[PlainPass], interfaces: Mapping[int, str], ties: _Ties) -> None:
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


def _cut(frames: list[_Frame]) -> dict[tuple[Point, object], list[tuple[object, Part]]]:
    """Fragments that went out, by what they share."""
    cut: dict[tuple[Point, object], list[tuple[object, Part]]] = defaultdict(list)
    for frame in sorted(frames, key=lambda frame: frame.sighting.time_ns or 0):
        if frame.kind == OUTGOING and frame.sighting.headers.fragment and not frame.claimed:
            piece = part(frame.packet, frame.ahead)
            known = cut[frame.sighting.point, (frame.packet.network[0] >> 4, piece.code)]
            if not known or known[-1][0].data != frame.data:
                known.append((frame, piece))
    return cut


def _leave_by_headers(cut: Mapping, whole: list[tuple[Point, PlainPass]], ties: _Ties) -> None:
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


def _put_together(found: list[PlainPass], ties: _Ties) -> None:
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
        code = (frame.packet.network[0] >> 4, part(frame.packet, frame.ahead).code)
        if in_parts(each) and each.stage == "input.nat":
            at_queue[code].append(each)
        elif in_parts(each) or not each.sightings:
            waiting[code].append(each)
        else:
            ties.together |= {id(other) for other in waiting.pop(code, [])}
    for those in at_queue.values():
        frames = [ties.came(each) for each in those]
        of, last = queued([part(frame.packet, frame.ahead) for frame in frames if frame is not None])
        ties.together |= {id(each) for each, run, end in zip(those, of, last, strict=True) if run >= 0 and not end}
        ties.unfinished -= {id(each) for each, run in zip(those, of, strict=True) if run >= 0}


def _take(waiting: Mapping[tuple[Point, bytes], deque[_Frame]], point: Point, packet: Split) -> _Frame | None:
    queue = waiting.get((point, identity(packet))) if decode(packet) is not None else None
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


def _journey(start: _Frame | PlainPass, ties: _Ties, since_ns: int) -> Journey:
    walk = _Walk()
    stack: list[tuple[_Frame | PlainPass, Sighting | None]] = [(start, None)]
    while stack:
        node, before = stack.pop()
        if isinstance(node, _Frame):
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


def _pass_end(node: PlainPass, before: Sighting | None, ties: _Ties) -> End:
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


@dataclass(slots=True)
class PlainFlow(Flow):
    """A flow, and how many packets of each direction it has."""

    journeys: list[Journey] = field(default_factory=list)
    counts: Counter[Direction] = field(default_factory=Counter)


def plain_flows(
    journeys: list[Journey], entries: Mapping[EntryKey, Entry], quoted: Mapping[int, int] | None = None
) -> list[PlainFlow]:
    """Give each journey its flow, direction and nth; `journeys` come in order of time.

    `quoted` tells which journeys are ICMP errors and the journeys that they quote, by their places.
    """
    joiner, quoted = _Joiner(entries), quoted or {}
    for place, journey in enumerate(journeys):
        if place not in quoted:
            joiner.take(journey)
    for place, of in quoted.items():
        about = journeys[of]
        journeys[place].flow = about.flow
        journeys[place].direction = "reply" if about.direction == "original" else "original"
    return joiner.flows


class _Joiner:
    """What is known so far: which flow and direction a directed tuple, or an entry's direction, belongs to."""

    def __init__(self, entries: Mapping[EntryKey, Entry]) -> None:
        self.entries = entries
        self.by_tuple: dict[tuple[str, Tuple], EntryKey] = {}
        for (host, id), entry in entries.items():
            self.by_tuple[host, entry.original] = self.by_tuple[host, entry.reply] = (host, id)
        self.tuples: dict[Tuple, tuple[PlainFlow, Direction]] = {}
        self.tracked: dict[EntryKey, PlainFlow] = {}
        self.flows: list[PlainFlow] = []

    def take(self, journey: Journey) -> None:
        keys = self._entry_keys(journey)
        flow, direction = self._find(journey, keys)
        journey.flow, journey.direction = flow.id, direction
        flow.counts[direction] += 1
        journey.nth = flow.counts[direction]
        flow.journeys.append(journey)
        for key in keys:
            self.tracked[key] = flow
            flow.entries.setdefault(key[0], self.entries[key])
        for directed in _shown(journey):
            self._note(flow, direction, directed)
        for key in keys:
            entry = self.entries[key]
            self._note(flow, "original", entry.original)
            self._note(flow, "reply", entry.reply)

    def _entry_keys(self, journey: Journey) -> list[EntryKey]:
        """The confirmed entries that the packet carried; an ICMP error's is that of the packet it quotes: left out."""
        keys: dict[EntryKey, None] = {}
        for seen in journey.sightings:
            if seen.ct is None or seen.ct.state in ("related", "invalid", "untracked"):
                continue
            host = seen.point.host
            key = (host, seen.ct.id) if seen.ct.id is not None else self.by_tuple.get((host, seen.headers.tuple))
            if key in self.entries and key is not None:
                keys[key] = None
        return list(keys)

    def _find(self, journey: Journey, keys: list[EntryKey]) -> tuple[PlainFlow, Direction]:
        direction: Direction
        for key in keys:
            if key in self.tracked:
                flow = self.tracked[key]
                direction = next(
                    (hit[1] for each in _shown(journey) if (hit := self.tuples.get(each)) and hit[0] is flow),
                    "original",
                )
                return flow, direction
        for directed in _shown(journey):
            hit = self.tuples.get(directed)
            if hit is not None and not any(self._other_entry(hit[0], key) for key in keys):
                return hit
        original = journey.first.headers.tuple
        direction = self._told_direction(journey)
        if direction == "reply":  # the record began after the connection's first packet
            original = self.entries[keys[0]].original if keys else original.inverse
        flow = PlainFlow(len(self.flows) + 1, original)
        self.flows.append(flow)
        return flow, direction

    def _told_direction(self, journey: Journey) -> Direction:
        """The direction that conntrack tells; without it, a flow's first packet is an original one."""
        told = (seen.ct.direction for seen in journey.sightings if seen.ct is not None and seen.ct.state != "related")
        return next((direction for direction in told if direction is not None), "original")

    def _other_entry(self, flow: PlainFlow, key: EntryKey) -> bool:
        known = flow.entries.get(key[0])
        return known is not None and known.id != key[1]

    def _note(self, flow: PlainFlow, direction: Direction, directed: Tuple) -> None:
        known = self.tuples.get(directed)
        if known is not None and known[0] is flow:
            return
        self.tuples[directed] = (flow, direction)
        self.tuples[directed.inverse] = (flow, "reply" if direction == "original" else "original")


def _shown(journey: Journey) -> list[Tuple]:
    """The tuples that a journey shows; where ports are not told, as of a later fragment, its packet's, told before."""

    def without(seen: Sighting) -> bool:
        return seen.headers.sport is None or (seen.headers.fragment is not None and seen.headers.fragment[0] > 0)

    seen = [each for each in journey.sightings if without(journey.first) or not without(each)]
    return [each.headers.tuple for each in seen]
