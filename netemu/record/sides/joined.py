"""All sides joined: flows and journeys across any number of captures, and the clocks by which they are timed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from netemu.netfilter.conntrack import Tuple
from netemu.record.decode.rows import Column, ranks
from netemu.record.sides.chain import Chain
from netemu.record.sides.clock import FIRST, Clock, after, estimate
from netemu.record.sides.flows import pair_flows
from netemu.record.sides.packets import PacketPairs, pair_packets
from netemu.record.sides.side import Side

_TCP, _SYN, _ACK = 6, 0x02, 0x10
_SLACK_NS = 1_000_000_000
"""How much longer than the slowest sure packet an alike one may have taken: longer, and its partner is another."""


@dataclass(frozen=True, slots=True, eq=False)
class JoinedSides:
    """Flows and journeys of several sides, as columns; journeys lie flow by flow, in order of time.

    `flows` has a row a flow and a column a side: the side's own number of the flow, -1 where it was not seen; `turned`
    whether the side's direction bit 1 is the flow's original direction. `rows` has a row a journey: the side's row.
    `forward` tells for each flow whether its original direction goes from the first file towards the last, `assumed`
    where no TTL says so. `unclear` marks for each side the rows that could be several journeys' packet.
    """

    sides: tuple[Side, ...]
    clocks: tuple[Clock, ...]
    time_ns: tuple[Column, ...]
    flows: Column
    turned: Column
    weak: Column
    forward: Column
    assumed: Column
    rows: Column
    flow: Column
    reply: Column
    nth: Column
    by_order: Column
    unclear: tuple[Column, ...]
    unclear_flows: tuple[Column, ...]

    @property
    def joined(self) -> Column:
        """The flows that were seen on more than one side."""
        return np.flatnonzero((self.flows >= 0).sum(axis=1) > 1)

    def journeys_of(self, flow: int) -> slice:
        """Where the journeys of a flow lie."""
        first, last = np.searchsorted(self.flow, (flow, flow + 1))
        return slice(int(first), int(last))

    def tuple_at(self, flow: int, place: int) -> Tuple:
        """A flow's original tuple as one side has it, by the side's place."""
        side, number = self.sides[place], int(self.flows[flow, place])
        row = int(side.first[number])
        headers = side.packets.headers(row)
        assert headers is not None
        directed = headers.tuple
        return directed if bool(side.bit[row]) == bool(self.turned[flow, place]) else directed.inverse


def join_sides(sides: Sequence[Side]) -> JoinedSides:
    """Join the flows and packets of all sides; `sides` come in the order of the files, the client's first."""
    flows, packets = Chain([len(side.first) for side in sides]), Chain([len(side) for side in sides])
    work = _Work(tuple(sides), flows, packets)
    for distance in range(1, len(sides)):
        for one in range(len(sides) - distance):
            work.pair_flows(one, one + distance)
    for distance in range(1, len(sides)):
        for one in range(len(sides) - distance):
            work.pair_packets(one, one + distance)
    return work.joined()


class _Work:
    """What is joined so far."""

    def __init__(self, sides: tuple[Side, ...], flows: Chain, packets: Chain) -> None:
        self.sides, self.flows, self.packets = sides, flows, packets
        self.weak = np.zeros(len(flows.label), np.bool_)
        self.by_order = np.zeros(len(packets.label), np.bool_)
        self.unclear = np.zeros(len(packets.label), np.bool_)
        self.unclear_flows = np.zeros(len(flows.label), np.bool_)
        self.found: dict[tuple[int, int], PacketPairs] = {}

    def pair_flows(self, one: int, other: int) -> None:
        if other - one > 1 and not (self._open(one, other).any() and self._open(other, one).any()):
            return
        found = pair_flows(self.sides[one], self.sides[other])
        done = self.flows.join(one, found.one, other, found.other, found.crossed)
        self.weak[self.flows.begin[one] + found.one[done & found.weak]] = True
        self.weak[self.flows.begin[other] + found.other[done & found.weak]] = True
        for side, flows, bad in ((one, found.one, 0), (other, found.other, 1)):
            self.unclear_flows[self.flows.begin[side] + flows[~done]] = True
            self.unclear_flows[self.flows.begin[side] + found.unclear[bad]] = True

    def _open(self, one: int, other: int) -> Column:
        """Which flows of one side have no partner on the other."""
        return self.flows.mates(one, other) < 0

    def pair_packets(self, one: int, other: int) -> None:
        mates = self.flows.mates(one, other)
        shared = np.flatnonzero(mates >= 0)
        pair = np.full(len(self.sides[one].first), -1, np.int64)
        other_pair = np.full(len(self.sides[other].first), -1, np.int64)
        pair[shared], other_pair[mates[shared]] = shared, shared
        numbers = pair[self.sides[one].flow], other_pair[self.sides[other].flow]
        found = pair_packets(self.sides[one], self.sides[other], numbers, (self.way(one), self.way(other)))
        self.found[one, other] = found
        for side, rows in ((one, found.unclear[0]), (other, found.unclear[1])):
            self.unclear[self.packets.begin[side] + rows] = True
        self.take(one, other, found)

    def take(self, one: int, other: int, found: PacketPairs) -> None:
        """Join packets; of what contradicts earlier joins it is said that it is unclear."""
        done = self.packets.join(one, found.one, other, found.other)
        for side, rows in ((one, found.one), (other, found.other)):
            self.unclear[self.packets.begin[side] + rows[~done]] = True
            self.by_order[self.packets.begin[side] + rows[done & found.by_order]] = True

    def way(self, side: int) -> Column:
        """Each packet's direction in its joined flow, 0 or 1."""
        mine = self.sides[side]
        return mine.bit.astype(np.int64) ^ self.flows.turned[self.flows.of(side)][mine.flow]

    def joined(self) -> JoinedSides:
        count = len(self.sides)
        travel = _Travel(self)
        clocks = self._clocks(travel)
        self._drop_the_unlikely(travel, clocks)
        times = tuple(clocks[side.file].corrected(side.time_ns) for side in self.sides)
        number, rows = self.packets.table(count)
        flow_number, flows = self.flows.table(count)
        flow, way = np.full(len(rows), -1, np.int64), np.zeros(len(rows), np.int64)
        first_ns = np.full(len(rows), np.iinfo(np.int64).max)
        by_order = np.zeros(len(rows), np.bool_)
        by_order[number[self.by_order]] = True
        for side in reversed(range(count)):
            mine = number[self.packets.of(side)]
            flow[mine] = flow_number[self.flows.of(side)][self.sides[side].flow]
            way[mine] = self.way(side)
            np.minimum.at(first_ns, mine, times[side])
        starter = self._starters(flow_number, flow, way, first_ns)
        reply = way ^ starter[flow]
        begins = np.full(len(flows), np.iinfo(np.int64).max)
        np.minimum.at(begins, flow, first_ns)
        by_time = np.argsort(begins, kind="stable")
        rank = np.empty(len(flows), np.int64)
        rank[by_time] = np.arange(len(flows))
        order = np.lexsort((first_ns, rank[flow]))
        turned = np.zeros((len(flows), count), np.bool_)
        weak, unclear_flows = np.zeros(len(flows), np.bool_), []
        weak[flow_number[self.weak]] = True
        for side in range(count):
            mine = flow_number[self.flows.of(side)]
            turned[mine, side] = (self.flows.turned[self.flows.of(side)] ^ starter[mine]) == 1
            unclear_flows.append(self.unclear_flows[self.flows.of(side)])
        steps = travel.steps(flow_number, len(flows)) * np.where(starter == 1, -1, 1)
        flow, reply = rank[flow[order]], reply[order] == 1
        return JoinedSides(
            self.sides,
            tuple(clocks),
            times,
            flows[by_time],
            turned[by_time],
            weak[by_time],
            (steps >= 0)[by_time],
            (steps == 0)[by_time],
            rows[order],
            flow,
            reply,
            ranks(flow * 2 + reply) + 1,
            by_order[order],
            tuple(self.unclear[self.packets.of(side)] for side in range(count)),
            tuple(unclear_flows),
        )

    def _starters(self, flow_number: Column, flow: Column, way: Column, first_ns: Column) -> Column:
        """The direction in which each flow was begun: who sends a SYN begins, else who was seen first."""
        order = np.lexsort((first_ns, flow))
        starts = np.flatnonzero(np.diff(flow[order], prepend=-1))
        found = way[order][starts]
        for side in range(len(self.sides)):
            packets = self.sides[side].packets
            syn = (packets.proto == _TCP) & ((packets.flags & (_SYN | _ACK)) == _SYN)
            found[flow_number[self.flows.of(side)][self.sides[side].flow[syn]]] = self.way(side)[syn]
        return found

    def _clocks(self, travel: _Travel) -> list[Clock]:
        """Each file's clock, from the nearest file before it whose own is known."""
        files = max((side.file for side in self.sides), default=-1) + 1
        clocks = [FIRST]
        for file in range(1, files):
            tries = [after(clocks[before], travel.clock(before, file)) for before in reversed(range(file))]
            known = [each for each in tries if each.offset_ns is not None]
            bound = [each for each in tries if each.least_ns is not None or each.most_ns is not None]
            clocks.append((known or bound or tries)[0])
        return clocks

    def _drop_the_unlikely(self, travel: _Travel, clocks: Sequence[Clock]) -> None:
        """Take joins back that time speaks against: alike packets whose delay no sure packet comes near."""
        bad: dict[tuple[int, int], Column] = {}
        for (one, other), found in self.found.items():
            files = [clocks[self.sides[side].file] for side in (one, other)]
            if any(clock.offset_ns is None for clock in files) or not found.strong.any():
                continue
            delay = travel.delays(one, other, found, files)
            uncertain = sum(clock.uncertainty_ns or 0 for clock in files)
            most = int(delay[found.strong].max()) + uncertain + _SLACK_NS
            bad[one, other] = ~found.strong & ((delay < -uncertain) | (delay > most))
        if not any(each.any() for each in bad.values()):
            return
        self.packets = Chain([len(side) for side in self.sides])
        self.by_order[:] = False
        for (one, other), found in self.found.items():
            wrong = bad.get((one, other), np.zeros(len(found.one), np.bool_))
            for side, rows in ((one, found.one), (other, found.other)):
                self.unclear[self.packets.begin[side] + rows[wrong]] = True
            right = ~wrong
            self.take(
                one,
                other,
                PacketPairs(
                    found.one[right], found.other[right], found.by_order[right], found.strong[right], found.unclear
                ),
            )


class _Travel:
    """Which way packets went between two sides: TTL falls on the way, flow by flow."""

    def __init__(self, work: _Work) -> None:
        self.work = work
        self.sides = work.sides
        self.starts = self._starts()

    def _starts(self) -> Column:
        """For each flow of the chain (by label) the direction that its client sends in: assumed to go forward."""
        work = self.work
        found = np.zeros(len(work.flows.label), np.int64)
        syn_seen = np.zeros(len(work.flows.label), np.bool_)
        for side in reversed(range(len(self.sides))):
            mine, way = self.sides[side], work.way(side)
            label = work.flows.label[work.flows.of(side)]
            fresh = ~syn_seen[label]
            found[label[fresh]] = way[mine.first[fresh]]
            syn = (mine.packets.proto == _TCP) & ((mine.packets.flags & (_SYN | _ACK)) == _SYN)
            found[label[mine.flow[syn]]] = way[syn]
            syn_seen[label[mine.flow[syn]]] = True
        return found

    def _fall(self, one: int, other: int, found: PacketPairs) -> Column:
        """For each flow of the chain (by label): above 0 where direction 0 goes from `one` to `other`, below 0 back."""
        label = self._label(one, found)
        ttl, other_ttl = self.sides[one].packets.ttl[found.one], self.sides[other].packets.ttl[found.other]
        step = np.sign(ttl.astype(np.int64) - other_ttl) * np.where(self.work.way(one)[found.one] == 1, -1, 1)
        return np.bincount(label, step, len(self.work.flows.label))

    def _label(self, one: int, found: PacketPairs) -> Column:
        side = self.sides[one]
        return self.work.flows.label[self.work.flows.of(one)][side.flow[found.one]]

    def went(self, one: int, other: int, found: PacketPairs) -> Column:
        """Which packets went from `one` to `other`; without a TTL that tells, clients are at the first file."""
        fall = self._fall(one, other, found)
        fall = np.where(fall != 0, fall, np.where(self.starts == 0, 1, -1))
        forward: Column = (self.work.way(one)[found.one] == 0) == (fall[self._label(one, found)] > 0)
        return forward

    def steps(self, flow_number: Column, count: int) -> Column:
        """For each flow how clearly its direction 0 goes from the first file towards the last; 0 if nothing tells."""
        total = np.zeros(count)
        for (one, other), found in self.work.found.items():
            fall = self._fall(one, other, found)
            labels = np.flatnonzero(fall)
            np.add.at(total, flow_number[labels], fall[labels])
        return total

    def clock(self, before: int, file: int) -> Clock:
        """A file's clock as against another's, from the packets that both surely saw."""
        parts = []
        for (one, other), found in self.work.found.items():
            if (self.sides[one].file, self.sides[other].file) != (before, file):
                continue
            there, here = self.sides[one].time_ns[found.one], self.sides[other].time_ns[found.other]
            parts.append(np.stack([there, here, self.went(one, other, found), found.strong, ~found.by_order]))
        there, here, forward, strong, sure = np.concatenate(parts, axis=1) if parts else np.empty((5, 0), np.int64)
        tries = [estimate(there[kept], here[kept], forward[kept] == 1) for kept in (strong == 1, sure == 1)]
        told = [clock for clock in tries if clock.offset_ns is not None]
        return (told or (tries if strong.any() else tries[1:]))[0]

    def delays(self, one: int, other: int, found: PacketPairs, clocks: Sequence[Clock]) -> Column:
        """How long each packet took between two sides, by corrected clocks."""
        there = clocks[0].corrected(self.sides[one].time_ns[found.one])
        here = clocks[1].corrected(self.sides[other].time_ns[found.other])
        delay: Column = np.where(self.went(one, other, found), here - there, there - here)
        return delay
