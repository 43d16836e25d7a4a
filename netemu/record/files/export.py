"""A record as a capture file: one interface a point, hooks among the wires, what is known of a packet as its comment.

The kernel tells no time at a hook: a packet there has the time of the wire before it on its journey (of the first
wire behind it, where it came from the host itself), and stands behind it in the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from netemu.record.capture import OUTGOING, HostCapture
from netemu.record.decode.points import wire_name
from netemu.record.decode.rows import Column
from netemu.record.files.pcapng import RAW_IP, CapturedPacket, CaptureInterface, header, packet, statistics
from netemu.record.join.ends import End
from netemu.record.join.passes import read_passes
from netemu.record.join.rewrites import Rewrite
from netemu.record.journeys import Journey, Journeys
from netemu.topology.points import HOOK_STAGES

_AT_ONCE = 1024
"""How many packets make one piece of the file."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """Rows in the order of the file: whose capture, frame (or hook sighting, counted on), time, journey, its place."""

    host: Column
    item: Column
    time_ns: Column
    journey: Column
    place: Column


def pcapng(captures: Sequence[HostCapture], journeys: Sequence[Journey]) -> Iterator[bytes]:
    """Captures as pcapng, piece by piece: every frame of every tap, and what the hooks saw of the packets followed."""
    points = _Points(captures, journeys)
    yield header(points.interfaces)
    seen = _in_order(captures, journeys)
    latest = int(seen.time_ns.max(initial=0))
    columns = (seen.host, seen.item, seen.time_ns, seen.journey, seen.place)
    for start in range(0, len(seen.host), _AT_ONCE):
        rows = zip(*(column[start : start + _AT_ONCE].tolist() for column in columns), strict=True)
        yield b"".join(packet(points.packet(*row)) for row in rows)
    yield statistics(points.interfaces, latest)


class _Points:
    """The file's interfaces, and each packet as it was at its point."""

    def __init__(self, captures: Sequence[HostCapture], journeys: Sequence[Journey]) -> None:
        self.journeys = journeys
        self.captures = captures
        self.passes = [read_passes(capture) for capture in self.captures]
        self.interfaces: list[CaptureInterface] = []
        self.wires: list[dict[int, int]] = []
        self.hooks: list[dict[int, int]] = []
        for capture, passes in zip(self.captures, self.passes, strict=True):
            lost = {tap.tap: tap.lost for tap in capture.health}
            numbers, counts = np.unique(capture.frames.interface, return_counts=True)
            self.wires.append({})
            for number, count in zip(numbers.tolist(), counts.tolist(), strict=True):
                self.wires[-1][number] = len(self.interfaces)
                name = f"{capture.host}:{wire_name(capture, number)}"
                about = "every interface of the host together lost what is said to be dropped here"
                dropped = lost.get("wire")
                self.interfaces.append(
                    CaptureInterface(name, description=about if dropped else "", seen=count, dropped=dropped)
                )
            stages, counts = np.unique(passes.stage, return_counts=True)
            self.hooks.append({})
            for stage, count in zip(stages.tolist(), counts.tolist(), strict=True):
                self.hooks[-1][stage] = len(self.interfaces)
                name = f"{capture.host}@{HOOK_STAGES[stage]}"
                about = "headers as the nft trace shows them; times are those of the wire before"
                self.interfaces.append(CaptureInterface(name, RAW_IP, about, count, lost.get("hooks")))

    def packet(self, host: int, item: int, time_ns: int, journey: int, place: int) -> CapturedPacket:
        """One packet of the file."""
        frames = self.captures[host].frames
        comment = _told(self.journeys[journey], place) if journey >= 0 else ""
        if item < len(frames):
            data = bytes(frames.data[frames.offset[item] : frames.offset[item + 1]])
            outgoing = bool(frames.kind[item] == OUTGOING)
            interface = self.wires[host][int(frames.interface[item])]
            return CapturedPacket(interface, time_ns, data, int(frames.length[item]), outgoing, comment)
        hook, passes = item - len(frames), self.passes[host]
        events, event = passes.events, int(passes.event[hook])
        network = events.bytes_at(int(events.network[event]), int(events.network_length[event]))
        transport = events.bytes_at(int(events.transport[event]), int(events.transport_length[event]))
        data = network + transport
        interface = self.hooks[host][int(passes.stage[hook])]
        return CapturedPacket(interface, time_ns, data, max(_ip_length(data), len(data)), None, comment)


def _ip_length(data: bytes) -> int:
    """How long an IP packet says it is."""
    if data[:1] and data[0] >> 4 == 6:
        return 40 + int.from_bytes(data[4:6], "big")
    return int.from_bytes(data[2:4], "big")


def _in_order(captures: Sequence[HostCapture], journeys: Sequence[Journey]) -> _Seen:
    """All rows in order of time; on one journey in the order of its sightings."""
    frames = [len(capture.frames) for capture in captures]
    before = np.cumsum([0, *frames])
    host = np.repeat(np.arange(len(captures)), frames)
    item = np.concatenate([np.empty(0, np.int64), *(np.arange(count) for count in frames)])
    time_ns = np.concatenate([np.empty(0, np.int64), *(capture.frames.time_ns for capture in captures)])
    journey, place = np.full(len(host), -1, np.int64), np.zeros(len(host), np.int64)
    if not isinstance(journeys, Journeys) or not len(journeys):
        order = np.argsort(time_ns, kind="stable")
        return _Seen(host[order], item[order], time_ns[order], journey[order], place[order])
    seen, laid = journeys.seen, journeys.laid
    at = np.repeat(np.arange(len(laid)), np.diff(laid.offset))
    places = np.arange(len(laid.rows)) - laid.offset[at]
    wire = laid.rows < seen.wires
    whose = seen.host_of_points()[seen.point]
    rows = laid.rows[wire]
    frame = before[whose[rows]] + seen.frame[rows]
    journey[frame], place[frame] = at[wire], places[wire]
    hooks, first = laid.rows[~wire], _hooks_before(captures)
    hook_host = whose[hooks]
    hook_item = hooks - seen.wires - first[hook_host] + np.array(frames)[hook_host]
    times = _times(laid.rows, laid.offset, wire, seen.time_ns)
    host, item = np.append(host, hook_host), np.append(item, hook_item)
    time_ns = np.append(time_ns, times[~wire])
    journey, place = np.append(journey, at[~wire]), np.append(place, places[~wire])
    order = np.lexsort((place, journey, time_ns))
    return _Seen(host[order], item[order], time_ns[order], journey[order], place[order])


def _hooks_before(captures: Sequence[HostCapture]) -> Column:
    """How many hook sightings the hosts before each have."""
    counts = [len(read_passes(capture).stage) for capture in captures]
    return np.cumsum([0, *counts])[:-1]


def _times(rows: Column, offset: Column, wire: Column, time_ns: Column) -> Column:
    """A time for each sighting: its own, else that of the wire before it, else that of the first wire behind it."""
    position = np.arange(len(rows))
    begins = np.repeat(offset[:-1], np.diff(offset))
    last = np.maximum.accumulate(np.where(wire, position, -1))
    ends = np.repeat(offset[1:], np.diff(offset))
    following = np.minimum.accumulate(np.where(wire, position, len(rows))[::-1])[::-1]
    chosen = np.where(last >= begins, last, np.where(following < ends, following, -1))
    own = np.zeros(len(rows), np.int64)
    own[wire] = time_ns[rows[wire]]
    return np.where(chosen >= 0, own[chosen], 0)


def _told(journey: Journey, place: int) -> str:
    """What is known of a packet at one of its points."""
    words = f"journey {journey.id}, flow {journey.flow}, {_name(journey)}"
    seen = journey.sightings[place]
    wrong = [f"wrong {name} checksum" for name in seen.wrong_checksums]
    if seen.ct is not None:
        words += f", {seen.ct.ctinfo}"
    again = [f"repeats journey {journey.retransmits}"] if journey.retransmits is not None else []
    again += [f"journey {journey.duplicates} once more"] if journey.duplicates is not None else []
    changes = [_changed(change) for change in journey.rewrites if change.place == place and change.by != "route"]
    ends = [_ended(end) for end in journey.ends if end.place == place]
    return "; ".join([words, *wrong, *again, *changes, *ends])


def _name(journey: Journey) -> str:
    if journey.error is not None:
        among = f" (1 of {journey.error.among} that fit)" if journey.error.among > 1 else ""
        return f"error {journey.error.kind}, quotes journey {journey.quotes}{among}"
    return f"{'request' if journey.direction == 'original' else 'reply'} {journey.nth}"


def _changed(change: Rewrite) -> str:
    by = f"rule {change.rule}" if change.by == "rule" else change.by
    return f"{change.field} {change.before} ⇒ {change.after} by {by}"


def _ended(end: End) -> str:
    """How a journey ended at this packet, as far as the kernel told why."""
    words = {"delivered": "delivered", "unseen": "not seen any further", "reassembled": "put together with others"}
    said = f", error {end.error.kind} in journey {end.error.journey}" if end.error is not None else ""
    if end.turn is not None:
        return f"dropped by {end.turn.table} {end.turn.chain}: {end.turn.text}{said}"
    said += ", dropped for its checksum" if end.why == "checksum" else ""
    return f"{words.get(end.kind, end.kind)}{said}"
