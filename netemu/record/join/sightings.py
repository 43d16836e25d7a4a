"""Everything that was seen, as columns: first the IP frames of all hosts' wires, then what their hooks saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

from netemu.netfilter.conntrack import PacketConntrack
from netemu.record.capture import OUTGOING, HostCapture
from netemu.record.decode.checksums import WORDS
from netemu.record.decode.packets import Packets, concatenate, decoded_in_parts
from netemu.record.decode.points import PointNumbers, wire_name
from netemu.record.decode.rows import Column, concatenated, constant, distinct, same, whole_digest
from netemu.record.frames import offsets
from netemu.record.join.checksums import RecordChecksums
from netemu.record.join.passes import HostPasses, hook_conntrack
from netemu.record.join.turn import RuleTurn
from netemu.record.sighting import Sighting
from netemu.topology.points import HOOK_STAGES, Point

_BYTE_ORDER: Literal["little", "big"] = "little" if np.little_endian else "big"
"""netlink's lengths are in the machine's own order."""


@dataclass(frozen=True, slots=True)
class Sightings:
    """One row a sighting; rows below `wires` are frames, in the order of `hosts` and of their taps.

    Those of host i are the rows from edges[i] to edges[i + 1]. `point` numbers `points`. Of frames: `time_ns`, `kind`
    (sockaddr_ll's packet type), `digest` of all of its bytes, and the `frame` of its host's capture that it is. Of
    hooks, whose rows count from `wires` on: `ct` (-1 or a number of `states`), `ct_id`, the turns before it, which
    number `met`; where in its host's trace its network header is (`network`), and how much further on its transport
    header (`transport`, 0 for none). `captures` are in the order of `hosts`.
    """

    captures: tuple[HostCapture, ...]
    hosts: tuple[str, ...]
    points: tuple[Point, ...]
    edges: Column
    point: Column
    packets: Packets
    time_ns: Column
    kind: Column
    digest: Column
    frame: Column
    ct: Column
    ct_id: Column
    turns_first: Column
    turns_count: Column
    turns: Column
    network: Column
    transport: Column
    states: tuple[PacketConntrack, ...]
    met: tuple[RuleTurn, ...]
    checksums: RecordChecksums

    def __len__(self) -> int:
        return len(self.point)

    @property
    def wires(self) -> int:
        """How many of the rows are frames."""
        return int(self.edges[-1])

    def sighting(self, row: int) -> Sighting:
        """One sighting as a value of its own."""
        headers = self.packets.headers(row)
        assert headers is not None
        point, hook = self.points[self.point[row]], row - self.wires
        if hook < 0:
            return Sighting(point, int(self.time_ns[row]), headers, None, self, row)
        ct = hook_conntrack(self.states, int(self.ct[hook]), int(self.ct_id[hook]))
        return Sighting(point, None, headers, ct, self, row)

    def bytes_of(self, row: int) -> bytes:
        """A frame as far as it was captured; at a hook the network and transport headers that the trace carries."""
        capture, hook = self.captures[self.hosts.index(self.points[self.point[row]].host)], row - self.wires
        if hook < 0:
            frames, frame = capture.frames, int(self.frame[row])
            return bytes(frames.data[frames.offset[frame] : frames.offset[frame + 1]])
        network, transport = int(self.network[hook]), int(self.transport[hook])
        data = _value(capture.trace.data, network)
        return data + _value(capture.trace.data, network + transport) if transport else data

    def checksums_of(self, row: int) -> tuple[str | None, str | None]:
        """What is known of a sighting's checksums, the IP header's and the transport's (decode/checksums.py)."""
        ip, carried = self.checksums.one(row)
        return WORDS[ip], WORDS[carried]

    def place_in_trace(self, row: int) -> int | None:
        """Which datagram of its host's trace told of a hook's sighting; None for a frame."""
        hook = row - self.wires
        if hook < 0:
            return None
        trace = self.captures[self.hosts.index(self.points[self.point[row]].host)].trace
        return int(np.searchsorted(trace.offset, self.network[hook], "right")) - 1

    def lengths(self) -> Column:
        """How many bytes each frame had on its wire."""
        parts = [
            capture.frames.length[self.frame[first:end]]
            for capture, first, end in zip(self.captures, self.edges[:-1], self.edges[1:], strict=True)
        ]
        return concatenated(parts, np.int32)

    def host_of_points(self) -> Column:
        """The number of each point's host, as in `hosts`."""
        number = {host: place for place, host in enumerate(self.hosts)}
        return np.array([number[point.host] for point in self.points], np.int64)

    def interfaces(self, host: str) -> tuple[str, ...]:
        """The names of a host's interfaces, and of those that frames were seen on."""
        named = [name for each in self.captures if each.host == host for name in each.interfaces.values()]
        seen = [point.interface for point in self.points if point.host == host and point.interface is not None]
        return tuple(dict.fromkeys([*named, *seen]))

    def states_of(self, rows: Column) -> Column:
        """The number of each row's conntrack state; -1 for none."""
        return self._at_hooks(self.ct, rows, -1)

    def turns_of(self, rows: Column) -> tuple[Column, Column]:
        """The first of the turns before each row, and how many there are."""
        return self._at_hooks(self.turns_first, rows, 0), self._at_hooks(self.turns_count, rows, 0)

    def _at_hooks(self, column: Column, rows: Column, otherwise: int) -> Column:
        """What a column of hooks has at some rows; of frames what it has `otherwise`."""
        hook = rows - self.wires
        if len(rows) and int(hook.min()) >= 0:
            return column[hook]
        found = np.full(len(rows), otherwise, column.dtype)
        seen = np.flatnonzero(hook >= 0)
        found[seen] = column[hook[seen]]
        return found

    def turns_before(self, row: int) -> tuple[RuleTurn, ...]:
        """The rules and policies that the packet met just before a sighting."""
        hook = row - self.wires
        return self.turns_between(self.turns_first[hook], self.turns_count[hook]) if hook >= 0 else ()

    def turns_between(self, first: int, count: int) -> tuple[RuleTurn, ...]:
        """As many turns, from one on."""
        return tuple(self.met[turn] for turn in self.turns[first : first + count])


def sightings(captures: Sequence[HostCapture], found: Sequence[HostPasses], numbers: PointNumbers) -> Sightings:
    """The wires' and the hooks' sightings of all hosts."""
    wires = [_frames(capture, numbers, keys=len(each.start) > 0) for capture, each in zip(captures, found, strict=True)]
    points = [_hook_points(each, numbers) for each in found]
    states = dict.fromkeys(state for each in found for state in each.states)
    state_number = {state: number for number, state in enumerate(states)}
    turns_before = np.cumsum([0, *(len(each.turns) for each in found)])
    met_before = np.cumsum([0, *(len(each.met) for each in found)])
    ct = [
        np.array([*(state_number[state] for state in each.states), -1], np.int32)[each.ct]  # -1 is the last one
        for each in found
    ]
    frame = concatenated([each.frame for each in wires], np.int32)
    network = concatenated([_network(each) for each in found], np.int64)
    packets = concatenate([*(part for each in wires for part in each.parts), *(each.packets for each in found)])
    counts = [len(each.frame) for each in wires], [len(each.stage) for each in found]
    return Sightings(
        tuple(captures),
        tuple(capture.host for capture in captures),
        tuple(numbers.points),
        offsets(np.array(counts[0], np.int64)),
        concatenated([*(each.point for each in wires), *points], np.min_scalar_type(len(numbers.points)).type),
        packets,
        concatenated([each.time_ns for each in wires], np.int64),
        concatenated([each.kind for each in wires], np.uint8),
        concatenated([each.digest for each in wires], np.uint64),
        frame,
        concatenated(ct, np.int32),
        concatenated([each.ct_id for each in found], np.int64),
        concatenated([each.turns_first + turns_before[place] for place, each in enumerate(found)], np.int64),
        concatenated([each.turns_count for each in found], np.int64),
        concatenated([each.turns + met_before[place] for place, each in enumerate(found)], np.int32),
        network,
        concatenated([_transport_behind(each) for each in found], np.int32),
        tuple(states),
        tuple(turn for each in found for turn in each.met),
        RecordChecksums(captures, counts[0], frame, counts[1], network, packets.proto[len(frame) :]),
    )


class _Frames(NamedTuple):
    """A host's IP frames: headers in parts, points, times, packet types, digests of all their bytes, and which."""

    parts: list[Packets]
    point: Column
    time_ns: Column
    kind: Column
    digest: Column
    frame: Column


def _frames(capture: HostCapture, numbers: PointNumbers, *, keys: bool) -> _Frames:
    """Of a host; their packets' `keys` are for its hooks alone."""
    frames = capture.frames
    starts, ends = frames.offset[:-1], frames.offset[1:]
    parts, kept, begin = [], [np.empty(0, np.int32)], 0
    for part in decoded_in_parts(frames.data, starts, ends, keys=keys):
        has_ip = part.version > 0
        rows = np.arange(begin, begin + len(part), dtype=np.int32)
        begin += len(part)
        whole = bool(has_ip.all())
        kept.append(rows if whole else rows[has_ip])
        parts.append(part if whole else part.select(np.flatnonzero(has_ip)))
    frame = np.concatenate(kept)
    whole = len(frame) == len(frames)
    told: tuple[Column, ...] = (starts, ends, frames.time_ns, frames.kind, frames.interface)
    first, end, times, kind, interface = told if whole else (column[frame] for column in told)
    digest = whole_digest(frames.data, first, end - first)
    return _Frames(parts, _points(capture, numbers, interface, kind == OUTGOING), times, kind, digest, frame)


def _points(capture: HostCapture, numbers: PointNumbers, interface: Column, out: Column) -> Column:
    """The number of the point where each frame was seen."""
    first, inverse = distinct(interface)
    both = [
        numbers.of(Point(capture.host, wire_name(capture, number), way))
        for number in interface[first].tolist()
        for way in ("in", "out")
    ]
    if len(first) == 1 and same(out):
        return constant(both[int(out[0])], np.int32, len(out))
    return np.array(both, np.int32)[inverse * 2 + out]


def _network(found: HostPasses) -> Column:
    """Where each sighting's network header is; of IPv6's later fragments its beginning (later_fragments.py)."""
    events, event = found.events, found.event
    return np.where(events.network_length[event] > 0, events.network[event], events.transport[event])


def _transport_behind(found: HostPasses) -> Column:
    """How far behind each sighting's network header its transport header is; 0 where it has none."""
    return np.where(
        found.events.transport_length[found.event] > 0, found.events.transport[found.event] - _network(found), 0
    )


def _value(data: Column, start: int) -> bytes:
    """The value of the netlink attribute that begins there: its length, with its four bytes of head, stands before."""
    size = int.from_bytes(bytes(data[start - 4 : start - 2]), _BYTE_ORDER) - 4
    return bytes(data[start : start + size])


def _hook_points(found: HostPasses, numbers: PointNumbers) -> Column:
    codes = [numbers.of(Point(found.host, stage=stage)) for stage in HOOK_STAGES]
    return np.array(codes, np.int32)[found.stage]


def retold(found: Sightings, rows: Column, columns: Mapping[str, Column]) -> Sightings:
    """The sightings with other values of their packets' columns at some rows."""
    told = {name: getattr(found.packets, name).copy() for name in columns}
    for name, values in columns.items():
        told[name][rows] = values
    return replace(found, packets=replace(found.packets, **told))
