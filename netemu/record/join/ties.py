"""Which sightings are of the same packet: in a host, passes and the frames before and behind them; on a wire, frames.

Nothing is guessed: a pass and the frames on either side of it have equal headers (checksums aside); the two ends of
a wire carry equal frames. Packets that are alike to the last byte are joined in the order in which they came. Equal
means an equal digest of 64 bits: among four million frames, two different ones share one once in two million records.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from netemu.record.capture import OTHERHOST, HostCapture
from netemu.record.decode.packets import EXTENSIONS, Packets, decode_splits
from netemu.record.decode.points import PointNumbers
from netemu.record.decode.rows import (
    Column,
    arranged,
    begins_run,
    concatenated,
    constant,
    mix,
    ranges,
    rising,
    row_kind,
)
from netemu.record.join.fragment_timers import FragmentTimers
from netemu.record.join.fragments import Told, is_fragment, left_in_parts, payloads
from netemu.record.join.loopback import Copies, own_copies
from netemu.record.join.passes import HostPasses
from netemu.record.join.reassembly import Reassembly, put_together
from netemu.record.join.sayings import LEAVES, START_CODE
from netemu.record.join.sightings import Sightings, retold, sightings
from netemu.record.join.wires import Member, Segments, join_wires
from netemu.topology.points import Point

_FRAGMENT_HEADER = 44


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
    then by pass. `cut` is what only order tells of packets that left as fragments, `parts` what was put together again.

    What is not told by what it holds alone is told by its order: `odd_wires` are the rows of frames of which equal ones
    left more than once, or were seen more than once at one member of their segment; `odd_hosts` those of which others
    at their point have equal headers. `copies` are of packets to several, for
    their own host.
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
    cut: Told
    parts: Reassembly
    copies: Copies
    odd_wires: Column
    odd_hosts: Column


def tie(
    captures: Sequence[HostCapture],
    found: Sequence[HostPasses],
    segment_of: Mapping[Member, str],
    topology: Mapping[str, Any] | None = None,
) -> Ties:
    """Tie all hosts' sightings; `topology` is what was built, where that is known."""
    numbers = PointNumbers()
    seen = sightings(captures, found, numbers)
    passes = _all_passes(found, seen)
    came, left, out, copies, odd_hosts = _join_hosts(captures, passes, seen, numbers)
    counted = row_kind(len(seen) + len(passes))
    enters = constant(-1, counted, seen.wires)
    if len(passes):
        enters = enters.copy()
        enters[came[came >= 0]] = np.flatnonzero(came >= 0)
    claimed = np.zeros(seen.wires, np.bool_)
    claimed[left[left >= 0]] = True
    last = np.where(passes.count > 0, passes.first + passes.count - 1, -1)
    lone = np.flatnonzero((out >= 0) & (left < 0))
    parts = left_in_parts(seen, last[lone], out[lone], claimed)
    claimed[parts.row] = True
    senders, receivers, odd_wires = join_wires(seen, Segments.of(seen, segment_of))
    claimed[receivers] = True
    if (seen.kind == OTHERHOST).any():
        follows = seen.kind[receivers] != OTHERHOST
        senders, receivers = senders[follows], receivers[follows]
    if len(parts.row):
        senders = np.concatenate([senders, seen.wires + lone[parts.place]])
        receivers = np.concatenate([receivers, parts.row])
    leads_count = np.bincount(senders, minlength=seen.wires + len(passes)).astype(counted)
    leads_first = np.cumsum(leads_count, dtype=counted)
    leads_first -= leads_count
    in_order = rising(senders)
    leads = receivers.astype(counted, copy=not in_order)
    if not in_order:
        leads[leads_first[senders] + _ranks_in_runs(senders)] = receivers  # one sender's stand together, and in order
    seen = _past_extensions(found, passes, seen, came, left)
    timers = FragmentTimers.of([capture.host for capture in captures], topology)
    together = put_together(seen, passes.host, came, last, passes.last_stage, timers)
    whole_ties = (enters, came, left, claimed, leads_first, leads_count, leads, parts.told, together)
    return Ties(passes, seen, *whole_ties, copies, odd_wires, odd_hosts)


def _ranks_in_runs(values: Column) -> Column:
    """How many equal values stand right before each."""
    place = np.arange(len(values))
    begins = begins_run(values)
    return place - np.maximum.accumulate(np.where(begins, place, 0))


def _all_passes(found: Sequence[HostPasses], seen: Sightings) -> Passes:
    hooks_before = seen.wires + np.cumsum([0, *(len(each.stage) for each in found)])
    turns_before = np.cumsum([0, *(len(each.turns) for each in found)])
    first = concatenated([each.first + hooks_before[place] for place, each in enumerate(found)], np.int64)
    count = concatenated([each.count for each in found], np.int64)
    stage = concatenated([each.stage for each in found], np.int8)
    last_stage = np.full(len(first), -1, np.int8)
    some = count > 0
    last_stage[some] = stage[(first + count)[some] - 1 - seen.wires]
    return Passes(
        np.repeat(np.arange(len(found)), [len(each.start) for each in found]),
        concatenated([each.start for each in found], np.uint8),
        first,
        count,
        concatenated([each.rest_first + turns_before[place] for place, each in enumerate(found)], np.int64),
        concatenated([each.rest_count for each in found], np.int64),
        concatenated([each.arrived for each in found], np.uint64),
        concatenated([each.iif for each in found], np.int64),
        concatenated([each.oif for each in found], np.int64),
        last_stage,
    )


def _join_hosts(
    captures: Sequence[HostCapture], passes: Passes, seen: Sightings, numbers: PointNumbers
) -> tuple[Column, Column, Column, Copies, Column]:
    """The frame that each pass came from, the one that it became, and the point where it went out; a copy went nowhere.

    Copies take no part in who left as which frame: they are as like the frame as the packet itself. Then the rows of
    frames of which others at their point have equal headers.
    """
    came, left, out = (np.full(len(passes), -1, np.int64) for _ in range(3))
    if not len(passes):
        return came, left, out, own_copies(seen, passes, came), np.empty(0, np.int64)
    tracing = np.bincount(passes.host, minlength=len(seen.hosts)) > 0
    mine = np.flatnonzero((seen.kind != OTHERHOST) & tracing[seen.host_of_points()][seen.point[: seen.wires]])
    order, waiting = arranged(_coded(seen.packets.key[mine], seen.point[mine]))
    mine = mine[order]
    comes = np.flatnonzero((passes.start == START_CODE["prerouting"]) & (passes.arrived != 0))
    point = _points(captures, passes, passes.iif, "in", numbers)[comes]
    came[comes] = _paired(mine, waiting, passes.arrived[comes], point)
    copies = own_copies(seen, passes, came)
    leaves = np.isin(passes.last_stage, LEAVES)
    leaves[copies.leaves] = leaves[copies.parts] = False
    goes = np.flatnonzero(leaves)
    out[goes] = _points(captures, passes, passes.oif, "out", numbers)[goes]
    left[goes] = _paired(mine, waiting, seen.packets.key[(passes.first + passes.count - 1)[goes]], out[goes])
    twice = np.zeros(len(waiting) + 1, np.bool_)
    twice[1:-1] = waiting[1:] == waiting[:-1]
    return came, left, out, copies, np.sort(mine[twice[1:] | twice[:-1]])


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


def in_order(have: Column, wanted: Column) -> Column:
    """For each wanted code the place of one that is equal, each used once, both in order; -1 for none.

    `have` are the codes in order, equal ones in the order in which they are taken.
    """
    asked, want = arranged(wanted)
    place = np.searchsorted(have, want)
    place += _ranks_in_runs(want)
    there = np.flatnonzero(place < len(have))
    there = there[have[place[there]] == want[there]]
    found = np.full(len(wanted), -1, np.int64)
    found[asked[there]] = place[there]
    return found


def _past_extensions(
    found: Sequence[HostPasses], passes: Passes, seen: Sightings, came: Column, left: Column
) -> Sightings:
    """Behind IPv6 extension headers the trace has the transport's header, but not its protocol: the frame tells it.

    Of what was put together on the way the trace shows no fragment header any more: it is longer than its frame.
    """
    packets = seen.packets
    frame = np.where(came >= 0, came, left)
    tied = np.flatnonzero(frame >= 0)
    tied = tied[packets.behind[frame[tied]] >= 0]
    rows, frames = ranges(passes.first[tied], passes.count[tied]), np.repeat(frame[tied], passes.count[tied])
    unread = np.isin(packets.proto[rows], EXTENSIONS)
    rows, frames = rows[unread], frames[unread]
    mixed = is_fragment(packets.fragment[frames]) & (packets.proto[rows] != _FRAGMENT_HEADER)
    if mixed.any():
        kept = ~mixed
        kept[mixed] = packets.length[rows[mixed]] == payloads(seen, frames[mixed])
        rows, frames = rows[kept], frames[kept]
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
