"""A host's trace events grouped into passes: one packet's way through the hooks of one host.

Events carry no time; their order on the socket is the order in the hooks. The trace id is used again for later
packets, so a pass starts anew at its first stage. An IPv4 multicast whose TTL is 0 does not come to postrouting
(ip_mc_output): what has its id there is the copy of a later one (loopback.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from netemu.netfilter.conntrack import PacketConntrack
from netemu.record.capture import HostCapture
from netemu.record.decode.events import Events, read_events
from netemu.record.decode.packets import Packets, concatenate, decode_splits
from netemu.record.decode.rows import Column, begins_run, ranges, stable_order
from netemu.record.join.later_fragments import told_by_frames, without_headers
from netemu.record.join.sayings import BEGINS, IGNORED, JUMPED_TO, NAT, SEES, STAGE_CODE, START_CODE, TURN, Sayings
from netemu.record.join.turn import RuleTurn
from netemu.topology.points import HOOK_STAGES

LAST_STAGES = ("input.nat", "postrouting.nat")
_AFTER_OUTPUT = {"output", "output.nat", "postrouting", "postrouting.nat"}


def comes_after(stage: str, last: str) -> bool:
    """Whether a pass whose last stage was `last` can come to `stage`."""
    if not last:
        return True
    if last in LAST_STAGES or (last in _AFTER_OUTPUT and stage not in _AFTER_OUTPUT):
        return False
    return STAGE_CODE.get(stage, 0) > STAGE_CODE[last]


_COMES_AFTER = np.array([[comes_after(stage, last) for last in HOOK_STAGES] for stage in HOOK_STAGES])


@dataclass(frozen=True, slots=True)
class HostPasses:
    """A host's passes as columns, in the order in which they began; then its hook sightings, pass by pass.

    Of each pass: `start` (START_CODE), its sightings `first` to `first + count`, the turns after them, the digest of
    the packet that `arrived` (0 where it is not known), interfaces (-1 where unknown). Of each sighting: `stage`
    (STAGE_CODE), the `event` it comes from, its headers, its conntrack state (`ct`, -1 for none, numbers `states`,
    which have no id) and entry (`ct_id`), the turns before it. `turns` number `met`.
    """

    host: str
    start: Column
    first: Column
    count: Column
    rest_first: Column
    rest_count: Column
    arrived: Column
    iif: Column
    oif: Column
    stage: Column
    event: Column
    packets: Packets
    ct: Column
    ct_id: Column
    turns_first: Column
    turns_count: Column
    turns: Column
    met: tuple[RuleTurn, ...]
    states: tuple[PacketConntrack, ...]
    events: Events


def read_passes(capture: HostCapture) -> HostPasses:
    """A host's passes from its trace."""
    return passes_and_events(capture)[0]


def passes_and_events(capture: HostCapture) -> tuple[HostPasses, Column]:
    """A host's passes, and the number of the pass that each event is of; -1 where it is of none."""
    events = read_events(capture.trace)
    sayings = Sayings(capture, events)
    tap = np.flatnonzero(sayings.tap[events.said] & (events.network_length > 0))
    places = (events.network, events.network_length, events.transport, events.transport_length)
    packets = decode_splits(events.data, *(each[tap] for each in places))
    place = np.full(len(events), -1, np.int64)
    place[tap[packets.version > 0]] = np.flatnonzero(packets.version > 0)
    kind = sayings.kind[events.said]
    stage = sayings.stage[events.said]
    bare = without_headers(events, sayings.tap[events.said] & ((kind == BEGINS) | (stage >= 0)))
    place[bare] = len(packets)
    odd = sayings.tap[events.said] & (kind != BEGINS) & ((place < 0) | (stage < 0))
    kind[odd] = IGNORED
    grouped = _group(events.id, kind, stage, odd, _stays(packets, stage, place))
    if len(bare):
        packets = concatenate([packets, _told_later(capture, events, grouped, bare, kind, place, len(packets))])
    found, kept = _columns(capture, events, sayings, grouped, kind, stage, place, packets)
    order, start = grouped
    number = np.where(kept, np.cumsum(kept) - 1, -1)
    of_event = np.empty(len(order), np.int64)
    of_event[order] = np.repeat(number, np.diff(np.append(start, len(order))))
    return found, of_event


def _told_later(
    capture: HostCapture,
    events: Events,
    grouped: tuple[Column, Column],
    bare: Column,
    kind: Column,
    place: Column,
    before: int,
) -> Packets:
    """The packets of events of later fragments, which stand behind `before` others; what is not told is ignored."""
    order, start = grouped
    at = np.empty(len(order), np.int64)
    at[order] = np.arange(len(order))
    bare = order[np.sort(at[bare])]
    told, packets = told_by_frames(capture, events, bare, np.searchsorted(start, at[bare], "right") - 1)
    place[bare] = -1
    kind[bare] = np.where(kind[bare] == SEES, IGNORED, kind[bare])
    kind[bare[told]] = np.where(kind[bare[told]] == IGNORED, SEES, kind[bare[told]])
    place[bare[told]] = before + np.arange(len(told))
    return packets


def _stays(packets: Packets, stage: Column, place: Column) -> Column | None:
    """Which events are of packets that do not come to postrouting though nothing drops them; None if none is."""
    spent = (packets.ttl == 0) & (packets.version == 4)
    if not spent.any():
        return None
    spent &= packets.dst_low >> np.uint64(28) == 14
    return np.append(spent, False)[place] & (stage >= STAGE_CODE["output"]) & (stage < STAGE_CODE["postrouting"])


def _group(id: Column, kind: Column, stage: Column, odd: Column, stays: Column | None) -> tuple[Column, Column]:
    """All events by pass, in the order in which passes began, and where in that each pass begins."""
    order = stable_order(id)
    ids, kind, stage = id[order], kind[order], stage[order]
    begins = begins_run(ids)
    block = np.maximum.accumulate(np.where(begins, np.arange(len(order)), 0))
    matters = kind != TURN
    matters &= kind != IGNORED
    last = np.maximum.accumulate(np.where(matters, np.arange(len(order)), -1))
    before = np.concatenate([[-1], last[:-1]]) if len(last) else last
    follows = (kind == SEES) & (before >= block)
    follows[follows] = kind[before[follows]] == SEES
    again = np.zeros(len(order), np.bool_)
    again[follows] = ~_COMES_AFTER[stage[follows], stage[before[follows]]]
    if stays is not None:
        again[follows] |= stays[order][before[follows]] & (stage[follows] >= STAGE_CODE["postrouting"])
    begins |= again | (kind == BEGINS)
    if odd.any():
        _group_odd(order, np.isin(ids, ids[odd[order]]), begins, block, kind, stage, odd, stays)
    start = np.flatnonzero(begins)
    earliest = stable_order(order[start])
    count = np.diff(np.append(start, len(order)))[earliest]
    return order[ranges(start[earliest], count)], np.cumsum(count) - count


def _group_odd(
    order: Column,
    mine: Column,
    begins: Column,
    block: Column,
    kind: Column,
    stage: Column,
    odd: Column,
    stays: Column | None,
) -> None:
    """Where passes begin among the events of ids of which some tap's event makes no sense: one after another.

    Such an event begins a pass where its stage can't follow, but is no stage that the next would have to follow.
    """
    last, stayed = -1, False
    for row in np.flatnonzero(mine):
        if block[row] == row:
            last = -1
        strange = bool(odd[order[row]])
        name = HOOK_STAGES[stage[row]] if stage[row] >= 0 else ""
        begins[row] = block[row] == row or kind[row] == BEGINS
        if (kind[row] == SEES or strange) and last >= 0:
            begins[row] |= not comes_after(name, HOOK_STAGES[last]) or (stayed and name.startswith("postrouting"))
        if begins[row]:
            last = -1
        if kind[row] == SEES:
            last, stayed = int(stage[row]), stays is not None and bool(stays[order[row]])


def _columns(
    capture: HostCapture,
    events: Events,
    sayings: Sayings,
    grouped: tuple[Column, Column],
    kind: Column,
    stage: Column,
    place: Column,
    packets: Packets,
) -> tuple[HostPasses, Column]:
    """The passes that are kept, and which of all are."""
    order, start = grouped
    kinds, stages, places = kind[order], stage[order].copy(), place[order]
    end = np.append(start[1:], len(order)) if len(start) else start
    of_pass = np.repeat(np.arange(len(start)), end - start)
    begun = sayings.begins[events.said[order[start]]] if len(start) else np.empty(0, np.uint8)
    seen = kinds == SEES
    _see_dropped_output(start, begun, seen, stages, places, of_pass)
    count = np.bincount(of_pass[seen], minlength=len(start))
    kept = (count > 0) | (begun == START_CODE["prerouting"])
    rows = np.flatnonzero(seen)
    turn_at = np.flatnonzero(kinds == TURN)
    since = np.concatenate([[0], rows[:-1] + 1]) if len(rows) else rows
    since = np.maximum(since, start[of_pass[rows]])
    after = np.searchsorted(rows, end)  # of each pass, the first sighting that is not its own
    last = np.where(count > 0, np.append(rows, 0)[after - 1] + 1, start)
    turns_first, rest_first = np.searchsorted(turn_at, since), np.searchsorted(turn_at, last)
    said, met = _met(sayings, events.said[order[turn_at]], np.searchsorted(rows, turn_at), of_pass[turn_at])
    ct, ct_id, states = sayings.conntrack(order[rows])
    if not capture.states:
        made_up = kinds[rows] == BEGINS
        ct[made_up], ct_id[made_up] = -1, -1
    arrived = np.zeros(len(start), np.uint64)
    knows = np.flatnonzero((begun > 0) & (places[start] >= 0) if len(start) else kept)
    arrived[knows] = packets.key[places[start[knows]]]
    iif, oif = _interfaces(events, order, np.flatnonzero(seen | (kinds == BEGINS)), rows, of_pass, len(start))
    found = HostPasses(
        capture.host,
        begun[kept],
        (np.cumsum(count) - count)[kept],
        count[kept],
        rest_first[kept],
        (np.searchsorted(turn_at, end) - rest_first)[kept],
        arrived[kept],
        iif[kept],
        oif[kept],
        stages[rows],
        order[rows],
        packets.select(places[rows]),
        ct,
        ct_id,
        turns_first,
        np.searchsorted(turn_at, rows) - turns_first,
        said,
        met,
        states,
        events,
    )
    return found, kept


def _see_dropped_output(
    start: Column, begun: Column, seen: Column, stages: Column, places: Column, of_pass: Column
) -> None:
    """A packet that its own host drops before the first stage (in the raw table) is seen nowhere else but here."""
    alone = (np.bincount(of_pass[seen], minlength=len(start)) == 0) & (begun == START_CODE["output"])
    at = start[alone]
    at = at[places[at] >= 0]
    seen[at] = True
    stages[at] = STAGE_CODE["output"]


def _met(sayings: Sayings, said: Column, run: Column, of_pass: Column) -> tuple[Column, tuple[RuleTurn, ...]]:
    """The turns by number, and what the numbers stand for; in one run are turns with no sighting between them.

    A chain that is no base chain belongs to a nat walk if the turn before it in its run does.
    """
    chain = sayings.chain[said]
    begins = begins_run(run) | begins_run(of_pass)
    tells = np.maximum.accumulate(np.where(begins | (chain != JUMPED_TO), np.arange(len(said)), 0))
    both = said.astype(np.int64) * 2 + (chain[tells] == NAT)
    kinds, inverse = np.unique(both, return_inverse=True)
    return inverse.astype(np.int32), tuple(sayings.turn(each // 2, bool(each % 2)) for each in kinds.tolist())


def _interfaces(
    events: Events, order: Column, told: Column, rows: Column, of_pass: Column, passes: int
) -> tuple[Column, Column]:
    """The interface that each pass came from, as its first event tells, and the one it went to, as its last does."""
    iif, oif = np.full(passes, -1, np.int64), np.full(passes, -1, np.int64)
    comes = told[events.iif[order[told]] >= 0][::-1]
    iif[of_pass[comes]] = events.iif[order[comes]]  # of several values for one place the last stays
    goes = rows[events.oif[order[rows]] >= 0]
    oif[of_pass[goes]] = events.oif[order[goes]]
    return iif, oif


def hook_conntrack(states: tuple[PacketConntrack, ...], number: int, id: int) -> PacketConntrack | None:
    """A sighting's conntrack state from its columns."""
    if number < 0:
        return None
    state = states[number]
    if id < 0:
        return state
    return PacketConntrack(state.state, state.direction, id, state.status)
