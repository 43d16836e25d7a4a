"""From ties to journeys: each start's tree of frames and passes, laid out as one run of sightings.

A frame leads to the pass that it enters, or to the frames that came in where it went out; a pass to the frame that
left, and last to the copy that its host made of it for itself (loopback.py). What is led to first is followed to its
end before the next: a broadcast's receivers stand one after another. All journeys are followed together, a step of all
of them at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from netemu.record.capture import OTHERHOST
from netemu.record.decode.rows import Column, ranges, rising, spread, stable_order
from netemu.record.join.sayings import STAGE_CODE, START_CODE
from netemu.record.join.ties import Passes, Ties

DELIVERED, DROPPED, UNSEEN, REASSEMBLED = range(4)
"""How a journey ends."""


@dataclass(frozen=True, slots=True)
class Laid:
    """Journeys in order of time: the sightings of journey i are rows[offset[i]:offset[i + 1]].

    The sighting before each is the one that stands before it in `rows`, but for those at `branches`, where it is the
    one at `before` (-1: none). `passes` are the passes gone through, passes_offset[i] to passes_offset[i + 1].
    ends_offset[i] to ends_offset[i + 1] are its ends, one for each leaf of its tree: how it ended (`end`), the position
    of the last sighting (`end_at`), and the turn that dropped it (`end_turn`, -1: none).
    """

    offset: Column
    rows: Column
    branches: Column
    before: Column
    passes: Column
    passes_offset: Column
    ends_offset: Column
    end: Column
    end_at: Column
    end_turn: Column
    complete: Column
    since_ns: Column

    def __len__(self) -> int:
        return len(self.complete)

    def before_place(self, position: int, start: int) -> int:
        """The position of the sighting before the one at `position`; -1 if it is its journey's first."""
        at = int(np.searchsorted(self.branches, position))
        if at < len(self.branches) and self.branches[at] == position:
            return int(self.before[at])
        return position - 1 if position > start else -1

    def rows_before(self, position: Column, first: Column) -> Column:
        """The row of the sighting before each at a position; its own where it is its journey's `first`."""
        before = np.where(first, position, position - 1)
        at = np.searchsorted(self.branches, position)
        branched = np.append(self.branches, -1)[at] == position
        before[branched] = np.where(self.before[at[branched]] < 0, position[branched], self.before[at[branched]])
        return self.rows[before]


@dataclass(slots=True)
class _Level:
    """The nodes that all journeys come to at one step; siblings stand together."""

    node: Column
    parent: Column
    own: Column
    children: Column
    size: Column
    at: Column
    before: Column


class _Forest:
    """The nodes: a frame is its row, a pass comes after all frames."""

    def __init__(self, ties: Ties) -> None:
        passes, wires = ties.passes, ties.sightings.wires
        self.wires = wires
        self.passes = passes
        single = np.concatenate([np.where(ties.enters >= 0, ties.enters + wires, -1), ties.left])
        self.children = np.where(single >= 0, 1, ties.leads_count)
        self.single = single
        self.first_lead = ties.leads_first
        self.leads = ties.leads
        self.copies = np.empty(0, np.int64)
        self.after = np.empty(0, np.int64)
        self.ending = np.empty(0, np.int64)
        if len(ties.copies):
            self._add(ties)

    def _add(self, ties: Ties) -> None:
        """Copies come last of what a pass leads to, and are not its end: one that led nowhere else has an end there.

        But for one whose TTL is 0 and that nothing dropped: what is sent so is for its own host alone.
        """
        copies, seen = ties.copies, ties.sightings
        self.copies, self.after = copies.leaves + self.wires, copies.after
        of, count = copies.of + self.wires, self.children[copies.of + self.wires]
        below, total = self.below(of, count), count + 1
        start = np.cumsum(total) - total
        block = np.empty(int(total.sum()), np.int64)
        block[ranges(start, count)] = below
        block[start + count] = self.copies
        self.first_lead = self.first_lead.copy()
        self.first_lead[of] = start + len(self.leads)
        self.leads = np.concatenate([self.leads, block])
        self.single[of], self.children[of] = -1, total
        coming = copies.comes >= 0
        self.single[self.copies[coming]] = copies.comes[coming] + self.wires
        self.children[self.copies] = coming
        ttl = seen.packets.ttl[self.row(of) + self.own(of) - 1]
        self.ending = of[(count == 0) & ((ttl > 0) | (_dropped_by(ties, ties.passes, copies.of) >= 0))]

    def ends(self, level: _Level) -> Column:
        """Which nodes of a step are ends of their journeys."""
        ends = level.children == 0
        return ends | np.isin(level.node, self.ending) if len(self.ending) else ends

    def part(self, level: _Level, below: _Level) -> None:
        """Before a copy stands what was seen of its packet when it was made, not what was seen later."""
        if len(self.copies):
            order = np.argsort(self.copies)
            made = np.flatnonzero(np.isin(below.node, self.copies))
            at = order[np.searchsorted(self.copies[order], below.node[made])]
            below.before[made] = level.at[below.parent[made]] + self.after[at] - 1

    def own(self, node: Column) -> Column:
        """How many sightings each node has."""
        is_pass = np.flatnonzero(node >= self.wires)
        found = np.ones(len(node), np.int64)
        found[is_pass] = self.passes.count[node[is_pass] - self.wires]
        return found

    def row(self, node: Column) -> Column:
        """The row of each node's first sighting."""
        is_pass = np.flatnonzero(node >= self.wires)
        found = node.copy()
        found[is_pass] = self.passes.first[node[is_pass] - self.wires]
        return found

    def below(self, node: Column, count: Column) -> Column:
        """All that the nodes lead to, node by node; `count` is how much that is."""
        if (count <= 1).all() and (self.single[node[count == 1]] >= 0).all():
            return self.single[node[count == 1]]
        found = np.repeat(self.single[node], count)
        many = np.flatnonzero((self.single[node] < 0) & (count > 0))
        places = ranges((np.cumsum(count) - count)[many], count[many])
        found[places] = self.leads[ranges(self.first_lead[node[many]], count[many])]
        return found


def lay_out(ties: Ties, until_ns: int = 0) -> Laid:
    """All journeys of a record, or those alone that began until then."""
    starts, since = _starts(ties)
    if until_ns:
        kept = since <= until_ns
        starts, since = starts[kept], since[kept]
    forest = _Forest(ties)
    levels = _levels(forest, starts)
    for level, below in zip(levels[-2::-1], levels[:0:-1], strict=True):
        total = np.append(0, np.cumsum(below.size))
        ends = np.cumsum(level.children)
        level.size += total[ends] - total[ends - level.children]
    size = levels[0].size
    offset = np.append(np.cumsum(size) - size, size.sum())
    rows = np.empty(offset[-1], np.int64)
    gone: list[tuple[Column, Column]] = []
    apart: list[tuple[Column, Column]] = []
    levels[0].at, levels[0].before = offset[:-1], np.full(len(starts), -1, np.int64)
    for step, level in enumerate(levels):
        own = level.own
        rows[ranges(level.at, own)] = ranges(forest.row(level.node), own)
        is_pass = level.node >= forest.wires
        # twice the position, so that a pass that saw nothing stands behind the frame before it
        gone.append((level.at[is_pass] * 2 - (own[is_pass] == 0), level.node[is_pass] - forest.wires))
        if step:
            branching = (own > 0) & (level.before != level.at - 1)
            apart.append((level.at[branching], level.before[branching]))
        if step + 1 < len(levels):
            _place_below(level, levels[step + 1], own)
            forest.part(level, levels[step + 1])
    passes = _sorted(gone)
    branches = _sorted(apart)
    ends_offset, leaf, last = _leaves(forest, levels)
    end, end_turn = _ends(ties, forest, leaf)
    ends_offset, kept = _without_parts(ends_offset, end == REASSEMBLED)
    last, end, end_turn = last[kept], end[kept], end_turn[kept]
    begun = np.zeros(len(starts), np.bool_)
    from_pass = starts >= forest.wires
    begun[from_pass] = ties.passes.start[starts[from_pass] - forest.wires] == START_CODE["output"]
    complete = begun & (end[ends_offset[:-1]] == DELIVERED)
    within = np.searchsorted(passes[0], offset * 2)
    return Laid(offset, rows, *branches, passes[1], within, ends_offset, end, last, end_turn, complete, since)


def _starts(ties: Ties) -> tuple[Column, Column]:
    """The nodes at which journeys begin, in order of time, and when that was, as near as can be told."""
    seen, passes = ties.sightings, ties.passes
    frames = np.flatnonzero(~ties.claimed & (seen.kind != OTHERHOST))
    dated = np.where(ties.came >= 0, ties.came, ties.left)
    parted = np.flatnonzero((dated < 0) & (ties.leads_count[seen.wires :] > 0))  # left as fragments: by the first one
    dated[parted] = ties.leads[ties.leads_first[seen.wires + parted]]
    times = np.where(dated >= 0, seen.time_ns[dated], 0) if seen.wires else np.zeros(len(passes), np.int64)
    latest = np.maximum.accumulate(np.where(times != 0, np.arange(len(passes)), -1))
    first_of_host = np.searchsorted(passes.host, passes.host)
    since = np.where(latest >= first_of_host, times[latest], 0)  # what no wire dates comes after the one before it
    begins = (ties.came < 0) & (passes.count > 0)
    begins[ties.copies.tied] = False
    begun = np.flatnonzero(begins)
    host = np.searchsorted(_frames_before(ties), frames, "right") - 1
    nodes = np.concatenate([frames, begun + seen.wires])
    time = np.concatenate([seen.time_ns[frames], since[begun]])
    if len(begun):
        order = stable_order(np.concatenate([host, passes.host[begun]]))  # frames stand before passes, both in order
        nodes, time = nodes[order], time[order]
    if rising(time):
        return nodes, time
    order = stable_order(time - time.min())
    return nodes[order], time[order]


def _frames_before(ties: Ties) -> Column:
    """The first row of each host's frames."""
    seen = ties.sightings
    counts = np.bincount(seen.host_of_frames(), minlength=len(seen.hosts)) if seen.wires else [0]
    return np.cumsum(counts) - counts


def _levels(forest: _Forest, starts: Column) -> list[_Level]:
    nothing = np.empty(0, np.int64)
    node, parent = starts, np.full(len(starts), -1, np.int64)
    levels: list[_Level] = []
    while len(node) or not levels:
        children = forest.children[node]
        own = forest.own(node)
        levels.append(_Level(node, parent, own, children, own.copy(), nothing, nothing))
        parent = spread(children)
        node = forest.below(node, children)
    return levels


def _place_below(level: _Level, below: _Level, own: Column) -> None:
    """Where the runs of the next step's nodes begin, and which sighting is before each."""
    ahead = level.at + own
    if len(below.parent) == len(level.node) and (level.children == 1).all():
        below.at, below.before = ahead, np.where(own > 0, ahead - 1, level.before)
        return
    earlier = np.cumsum(below.size) - below.size
    first = (np.cumsum(level.children) - level.children)[below.parent]
    below.at = ahead[below.parent] + earlier - earlier[first]
    below.before = np.where(own > 0, ahead - 1, level.before)[below.parent]


def _sorted(pairs: list[tuple[Column, Column]]) -> tuple[Column, Column]:
    keys, values = (np.concatenate([np.empty(0, np.int64), *(pair[side] for pair in pairs)]) for side in (0, 1))
    if rising(keys):
        return keys, values
    order = stable_order(keys)
    return keys[order], values[order]


def _leaves(forest: _Forest, levels: list[_Level]) -> tuple[Column, Column, Column]:
    """The nodes of each journey at which it ends, in order, and the position of the last sighting up to each."""
    found: list[tuple[Column, Column, Column]] = []
    journey = np.arange(len(levels[0].node))
    for level in levels:
        last = np.where(level.own > 0, level.at + level.own - 1, level.before)
        if not level.children.any():
            found.append((journey, level.node, last))
            continue
        ends = np.flatnonzero(forest.ends(level))
        if len(ends):
            found.append((journey[ends], level.node[ends], last[ends]))
        journey = np.repeat(journey, level.children)
    whose, leaf, last = (np.concatenate([each[column] for each in found]) for column in range(3))
    offset = np.append(0, np.cumsum(np.bincount(whose, minlength=len(levels[0].node))))
    if rising(last):
        return offset, leaf, last
    order = stable_order(last)
    return offset, leaf[order], last[order]


def _ends(ties: Ties, forest: _Forest, leaf: Column) -> tuple[Column, Column]:
    """How each leaf ended, and by which turn."""
    end = np.full(len(leaf), UNSEEN, np.uint8)
    turn = np.full(len(leaf), -1, np.int64)
    in_host = np.flatnonzero(leaf >= forest.wires)
    passes = leaf[in_host] - forest.wires
    end[in_host[ties.passes.last_stage[passes] == STAGE_CODE["input.nat"]]] = DELIVERED
    turn[in_host] = _dropped_by(ties, ties.passes, passes)
    end[turn >= 0] = DROPPED
    end[in_host[ties.parts.unfinished[passes] & (turn[in_host] < 0)]] = UNSEEN
    end[in_host[ties.parts.together[passes] & (turn[in_host] < 0)]] = REASSEMBLED
    return end, turn


def _without_parts(offset: Column, part: Column) -> tuple[Column, Column]:
    """Leave out where fragments were put together: no ends of a journey that has others."""
    others = np.add.reduceat((~part).astype(np.int64), offset[:-1]) if len(offset) > 1 else np.empty(0, np.int64)
    kept = ~part | (np.repeat(others, np.diff(offset)) == 0)
    counts = np.add.reduceat(kept.astype(np.int64), offset[:-1]) if len(offset) > 1 else others
    return np.append(0, np.cumsum(counts)), np.flatnonzero(kept)


def _dropped_by(ties: Ties, passes: Passes, rows: Column) -> Column:
    """The last turn after each pass's last sighting that dropped the packet; -1 if none did."""
    seen = ties.sightings
    drops = np.array([turn.verdict == "drop" for turn in seen.met], np.bool_)[seen.turns]
    if not len(drops):
        return np.full(len(rows), -1, np.int64)
    last = np.maximum.accumulate(np.where(drops, np.arange(len(drops)), -1))
    first, count = passes.rest_first[rows], passes.rest_count[rows]
    found = last[np.where(count > 0, first + count - 1, 0)]
    return np.where((count > 0) & (found >= first), seen.turns[found], -1)
