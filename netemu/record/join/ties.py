"""Which sightings are of the same packet: in a host, passes and the frames before and behind them; on a wire, frames.

Nothing is guessed: a pass and the frames on either side of it have equal headers (checksums aside); the two ends of
a wire carry equal frames. Packets that are alike to the last byte are joined in the order in which they came. Equal
means an equal digest of 64 bits: among four million frames, two different ones share one once in two million records.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from netemu.record.capture import OTHERHOST, OUTGOING, HostCapture
from netemu.record.decode.packets import EXTENSIONS, Packets, decode_splits
from netemu.record.decode.points import PointNumbers
from netemu.record.decode.rows import Column, mix, ranges, stable_order
from netemu.record.join.fragments import left_in_parts, put_together
from netemu.record.join.loopback import Copies, own_copies
from netemu.record.join.passes import HostPasses
from netemu.record.join.sayings import STAGE_CODE, START_CODE
from netemu.record.join.sightings import Sightings, joined, retold, sightings
from netemu.topology.points import HOOK_STAGES, Point

Member = tuple[str, str]
"""A (host, interface)."""
_LEAVES = [STAGE_CODE[stage] for stage in HOOK_STAGES if stage.startswith("postrouting")]


@dataclass(frozen=True, slots=True)
class Passes:
    """All hosts' passes, host by host. `first` is a row of the sightings; `last_stage` is -1 where there is none."""

    host: Column
    start: Column
    first: Column
    count: Column
    rest_first: Column
    rest_count: Column
    arrived: Column
    iif: Column
    oif: Column
    last_stage: Column

    def __len__(self) -> int:
        return len(self.host)


@dataclass(frozen=True, slots=True)
class Ties:
    """What leads where; -1 for nothing.

    A frame that left `leads` to frames that came in, a pass that left as fragments to those frames: CSR by frame row,
    then by pass. A pass of `together` is of a fragment that its host put together with others, in another pass.
    `copies` are of packets to several, for their own host.
    """

    passes: Passes
    sightings: Sightings
    enters: Column
    came: Column
    left: Column
    claimed: Column
    leads_first: Column
    leads_count: Column
    leads: Column
    together: Column
    copies: Copies


def tie(captures: Sequence[HostCapture], found: Sequence[HostPasses], segment_of: Mapping[Member, str]) -> Ties:
    """Tie all hosts' sightings."""
    numbers = PointNumbers()
    seen = sightings(captures, found, numbers)
    passes = _all_passes(found, seen)
    came, left, out, copies = _join_hosts(captures, passes, seen, numbers)
    enters = np.full(seen.wires, -1, np.int64)
    enters[came[came >= 0]] = np.flatnonzero(came >= 0)
    claimed = np.zeros(seen.wires, np.bool_)
    claimed[left[left >= 0]] = True
    last = np.where(passes.count > 0, passes.first + passes.count - 1, -1)
    lone = np.flatnonzero((out >= 0) & (left < 0))
    whole, parts = left_in_parts(seen, last[lone], out[lone], claimed)
    claimed[parts] = True
    senders, receivers = _join_wires(seen, segment_of)
    claimed[receivers] = True
    follows = seen.kind[receivers] != OTHERHOST
    senders, receivers = senders[follows], receivers[follows]
    senders = np.concatenate([senders, seen.wires + lone[whole]])
    leads_count = np.bincount(senders, minlength=seen.wires + len(passes))
    leads = np.concatenate([receivers, parts])[stable_order(senders)]
    together = put_together(seen, passes.host, came, last)
    seen = _past_extensions(found, passes, seen, came, left)
    leads_first = np.cumsum(leads_count) - leads_count
    return Ties(passes, seen, enters, came, left, claimed, leads_first, leads_count, leads, together, copies)


def _all_passes(found: Sequence[HostPasses], seen: Sightings) -> Passes:
    hooks_before = seen.wires + np.cumsum([0, *(len(each.stage) for each in found)])
    turns_before = np.cumsum([0, *(len(each.turns) for each in found)])
    first = joined([each.first + hooks_before[place] for place, each in enumerate(found)], np.int64)
    count = joined([each.count for each in found], np.int64)
    stage = joined([each.stage for each in found], np.int8)
    last_stage = np.full(len(first), -1, np.int8)
    some = count > 0
    last_stage[some] = stage[(first + count)[some] - 1 - seen.wires]
    return Passes(
        np.repeat(np.arange(len(found)), [len(each.start) for each in found]),
        joined([each.start for each in found], np.uint8),
        first,
        count,
        joined([each.rest_first + turns_before[place] for place, each in enumerate(found)], np.int64),
        joined([each.rest_count for each in found], np.int64),
        joined([each.arrived for each in found], np.uint64),
        joined([each.iif for each in found], np.int64),
        joined([each.oif for each in found], np.int64),
        last_stage,
    )


def _join_hosts(
    captures: Sequence[HostCapture], passes: Passes, seen: Sightings, numbers: PointNumbers
) -> tuple[Column, Column, Column, Copies]:
    """The frame that each pass came from, the one that it became, and the point where it went out; a copy went nowhere.

    Copies take no part in who left as which frame: they are as like the frame as the packet itself.
    """
    mine = np.flatnonzero(seen.kind != OTHERHOST)
    waiting = _coded(seen.packets.key[mine], seen.point[mine])
    came, left = np.full(len(passes), -1, np.int64), np.full(len(passes), -1, np.int64)
    comes = np.flatnonzero((passes.start == START_CODE["prerouting"]) & (passes.arrived != 0))
    point = _points(captures, passes, passes.iif, "in", numbers)[comes]
    came[comes] = _paired(mine, waiting, passes.arrived[comes], point)
    copies = own_copies(seen, passes, came)
    leaves = np.isin(passes.last_stage, _LEAVES)
    leaves[copies.leaves] = leaves[copies.parts] = False
    goes = np.flatnonzero(leaves)
    out = np.full(len(passes), -1, np.int64)
    out[goes] = _points(captures, passes, passes.oif, "out", numbers)[goes]
    left[goes] = _paired(mine, waiting, seen.packets.key[(passes.first + passes.count - 1)[goes]], out[goes])
    return came, left, out, copies


def _paired(mine: Column, waiting: Column, keys: Column, point: Column) -> Column:
    known = np.flatnonzero(point >= 0)
    found = np.full(len(keys), -1, np.int64)
    found[known] = in_order(waiting, _coded(keys[known], point[known]))
    found[found >= 0] = mine[found[found >= 0]]
    return found


def _coded(keys: Column, point: Column) -> Column:
    return mix(keys ^ point.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))


def _points(
    captures: Sequence[HostCapture], passes: Passes, interface: Column, way: str, numbers: PointNumbers
) -> Column:
    """The number of the wire's point that each pass came from or went to; -1 where it is not known or has no frames."""
    known = {point: number for number, point in enumerate(numbers.points)}
    found = np.full(len(passes), -1, np.int32)
    for host, capture in enumerate(captures):
        here = np.flatnonzero(passes.host == host)
        for number in np.unique(interface[here]).tolist():
            name = capture.interfaces.get(number)
            if name is not None:
                point = Point(capture.host, name, "in" if way == "in" else "out")
                found[here[interface[here] == number]] = known.get(point, -1)
    return found


def in_order(waiting: Column, wanted: Column) -> Column:
    """For each wanted code the place of a waiting one that is equal, each used once, both in order; -1 for none."""
    order, asked = stable_order(waiting), stable_order(wanted)
    have, want = waiting[order], wanted[asked]
    place = np.searchsorted(have, want)
    begins = np.ones(len(want), np.bool_)
    begins[1:] = want[1:] != want[:-1]
    place += np.arange(len(want)) - np.maximum.accumulate(np.where(begins, np.arange(len(want)), 0))
    there = np.flatnonzero(place < len(have))
    there = there[have[place[there]] == want[there]]
    found = np.full(len(wanted), -1, np.int64)
    found[asked[there]] = order[place[there]]
    return found


def _join_wires(seen: Sightings, segment_of: Mapping[Member, str]) -> tuple[Column, Column]:
    """Frames that left and the frames that came in elsewhere on their segment: pairs, in order of time."""
    names = [(point.host, str(point.interface)) for point in seen.points]
    segments = [segment_of.get(member, f"{member[0]} {member[1]}") for member in names]
    number = {name: place for place, name in enumerate(dict.fromkeys(segments))}
    members = {name: place for place, name in enumerate(dict.fromkeys(names))}
    segment = np.array([number[name] for name in segments], np.uint64)
    member = np.array([members[name] for name in names], np.int64)
    loops = np.array([name[1] == "lo" for name in members], np.bool_)
    point = seen.point[: seen.wires]
    code = mix(seen.digest ^ mix(segment[point], 1)) if len(point) else seen.digest
    out = seen.kind == OUTGOING
    sent, came = np.flatnonzero(out), np.flatnonzero(~out)
    sent = sent[np.argsort(seen.time_ns[sent], kind="stable")]
    sent = sent[stable_order(code[sent])]
    queues = _Queues.of(code[came], member[point[came]] if len(came) else came)
    first, last = (np.searchsorted(queues.code, code[sent], side) for side in ("left", "right"))
    sender = np.repeat(np.arange(len(sent)), last - first)
    queue = ranges(first, last - first)
    allowed = (member[point[sent]][sender] != queues.member[queue]) | loops[queues.member[queue]]
    # each queue serves its senders in order of time; a member does not get its own frames
    order = stable_order(queue)
    counted = np.cumsum(allowed[order]) - allowed[order]
    begins = np.searchsorted(queue[order], np.arange(len(queues.code)))
    rank = np.empty(len(queue), np.int64)
    rank[order] = counted - counted[begins[queue[order]]] if len(order) else 0
    gets = allowed & (rank < queues.count[queue])
    return sent[sender[gets]], came[queues.order[queues.first[queue[gets]] + rank[gets]]]


@dataclass(frozen=True, slots=True)
class _Queues:
    """The frames that came in, by what they hold and at which member: each queue's frames are order[first:][:count].

    Queues of equal frames stand together, the member that came first in front.
    """

    order: Column
    code: Column
    member: Column
    first: Column
    count: Column

    @classmethod
    def of(cls, code: Column, member: Column) -> _Queues:
        both = mix(code ^ mix(member.astype(np.uint64)))
        order = stable_order(both)
        ordered = both[order]
        begins = np.ones(len(order), np.bool_)
        begins[1:] = ordered[1:] != ordered[:-1]
        first = np.flatnonzero(begins)
        count = np.diff(np.append(first, len(order)))
        place = stable_order(order[first])
        place = place[stable_order(code[order[first[place]]])]
        return cls(order, code[order[first[place]]], member[order[first[place]]], first[place], count[place])


def _past_extensions(
    found: Sequence[HostPasses], passes: Passes, seen: Sightings, came: Column, left: Column
) -> Sightings:
    """Behind IPv6 extension headers the trace has the transport's header, but not its protocol: the frame tells it.

    Of what was put together on the way the trace shows no extension headers any more.
    """
    packets = seen.packets
    frame = np.where(came >= 0, came, left)
    tied = np.flatnonzero(frame >= 0)
    tied = tied[packets.behind[frame[tied]] >= 0]
    rows, frames = ranges(passes.first[tied], passes.count[tied]), np.repeat(frame[tied], passes.count[tied])
    unread = np.isin(packets.proto[rows], EXTENSIONS)
    rows, frames = rows[unread], frames[unread]
    before = seen.wires + np.cumsum([0, *(len(each.event) for each in found)])
    for place, each in enumerate(found):
        mine = np.flatnonzero((rows >= before[place]) & (rows < before[place + 1]))
        if len(mine):
            event = each.event[rows[mine] - before[place]]
            seen = retold(seen, rows[mine], _reread(each, event, packets, frames[mine]))
    return seen


def _reread(found: HostPasses, event: Column, packets: Packets, frame: Column) -> dict[str, Column]:
    """What events tell of the transport, by their frames' protocols; the lengths and the fragments are the frames'."""
    events = found.events
    parts = (events.network, events.network_length, events.transport, events.transport_length)
    network, network_length, transport, length = (each[event] for each in parts)
    read = decode_splits(events.data, network, network_length, transport, length, packets.behind[frame])
    told = {name: getattr(read, name) for name in ("proto", "sport", "dport", "flags", "seq", "ack", "icmp", "icmp_id")}
    return told | {name: getattr(packets, name)[frame] for name in ("length", "fragment", "ip_id")}
