"""From ties to journeys: each start's tree of frames and passes, laid out as one run of sightings.

What a node (nodes.py) leads to first is followed to its end before the next: a broadcast's receivers stand one after
another. Journeys are followed together, a step of many of them at a time: as many as the processor's cache has room
for.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from netemu.record.decode.rows import AT_ONCE, Column, concatenated, constant, ranges, rising, row_kind, stable_order
from netemu.record.frames import offsets
from netemu.record.join.nodes import Forest
from netemu.record.join.sayings import STAGE_CODE, START_CODE
from netemu.record.join.ties import Ties

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

    def all_rows_before(self) -> Column:
        """The same of every position."""
        rows, first, at = self.rows, self.offset[:-1], self.branches
        found = np.empty_like(rows)
        found[1:] = rows[:-1]
        found[first] = rows[first]
        found[at] = rows[np.where(self.before < 0, at, self.before)]
        return found


@dataclass(slots=True)
class _Level:
    """The nodes that all journeys come to at one step; siblings stand together. Those at `passes` are no frames.

    Each has so many sightings of its `own`, `at` a position and after the one `before` it, and so many `children`: the
    next step's nodes up to the one at `ends`. `ahead[i]` is the size of the next step's first i nodes together.
    """

    node: Column
    passes: Column
    own: Column
    children: Column
    ends: Column
    ahead: Column
    size: Column
    at: Column
    before: Column

    @property
    def last(self) -> Column:
        """The position of each one's last sighting; of one that has none that of the sighting before it."""
        return np.where(self.own > 0, self.at + self.own - 1, self.before) if len(self.passes) else self.at


def lay_out(ties: Ties, until_ns: int = 0) -> Laid:
    """All journeys of a record, or those alone that began until then."""
    forest = Forest(ties)
    starts, since = forest.starts, forest.since_ns
    if until_ns:
        kept = since <= until_ns
        starts, since = starts[kept], since[kept]
    blocks = (slice(at, at + AT_ONCE) for at in range(0, max(len(starts), 1), AT_ONCE))
    return _together([_laid(ties, forest, starts[block], since[block]) for block in blocks])


def _laid(ties: Ties, forest: Forest, starts: Column, since: Column) -> Laid:
    """The journeys that begin at some starts."""
    levels = _levels(forest, starts)
    for level, below in zip(levels[-2::-1], levels[:0:-1], strict=True):
        level.ahead = offsets(below.size)
        level.size = level.own + (level.ahead[level.ends] - level.ahead[level.ends - level.children])
    offset = offsets(levels[0].size)
    rows = np.empty(offset[-1], row_kind(len(ties.sightings)))
    gone: list[tuple[Column, Column]] = []
    apart: list[tuple[Column, Column]] = []
    levels[0].at, levels[0].before = offset[:-1], np.full(len(starts), -1, np.int64)
    for step, level in enumerate(levels):
        own, passes = level.own, level.passes
        if len(passes):
            rows[ranges(level.at, own)] = ranges(forest.row(level.node, passes), own)
            # twice the position, so that a pass that saw nothing stands behind the frame before it
            gone.append((level.at[passes] * 2 - (own[passes] == 0), level.node[passes] - forest.wires))
        else:
            rows[level.at] = level.node
        if step:
            branching = level.before != level.at - 1
            if len(passes):
                branching &= own > 0
            branches = np.flatnonzero(branching)
            apart.append((level.at[branches], level.before[branches]))
        if step + 1 < len(levels):
            below = levels[step + 1]
            _place_below(level, below)
            # before a copy stands what was seen of its packet when it was made, not what was seen later
            # (copies are below passes, where `before` is a column of its own)
            made, after = forest.after(below.node)
            below.before[made] = level.at[np.searchsorted(level.ends, made, "right")] + after - 1
    went, parted = _sorted(gone), _sorted(apart)
    ends_offset, leaf, last = _leaves(forest, levels)
    end, end_turn = _ends(ties, forest, leaf)
    ends_offset, kept = _without_parts(ends_offset, end == REASSEMBLED)
    last, end, end_turn = last[kept], end[kept], end_turn[kept]
    begun = np.zeros(len(starts), np.bool_)
    from_pass = starts >= forest.wires
    begun[from_pass] = ties.passes.start[starts[from_pass] - forest.wires] == START_CODE["output"]
    complete = begun & (end[ends_offset[:-1]] == DELIVERED)
    within = np.searchsorted(went[0], offset * 2)
    return Laid(offset, rows, *parted, went[1], within, ends_offset, end, last, end_turn, complete, since)


def _together(parts: list[Laid]) -> Laid:
    """Parts of a record one after another: each counts its own positions, passes and ends from 0. `parts` are used up.

    A column's parts go before the next one takes as much memory.
    """
    counts = [(len(each.rows), len(each.passes), len(each.end)) for each in parts]
    rows, passes, ends = np.cumsum([(0, 0, 0), *counts], axis=0).T
    columns = {field.name: [getattr(each, field.name) for each in parts] for field in fields(Laid)}
    parts.clear()

    def column(name: str) -> Column:
        found = columns.pop(name)
        return concatenated(found, found[0].dtype.type)

    def moved(name: str, before: Column) -> Column:
        found = columns.pop(name)
        places = np.empty(sum(map(len, found)), np.int64)
        begin = 0
        for values, ahead in zip(found, before.tolist(), strict=False):
            here = places[begin : begin + len(values)]
            np.add(values, ahead, out=here)
            if len(values) and int(values.min()) < 0:
                here[values < 0] = -1
            begin += len(values)
        return places

    def offset(name: str, before: Column) -> Column:
        if not before[-1]:
            return constant(0, np.int64, 1 + sum(len(values) - 1 for values in columns.pop(name)))
        last = columns[name][-1]
        columns[name] = [*(values[:-1] for values in columns[name][:-1]), last]
        return moved(name, before)

    return Laid(
        offset("offset", rows),
        column("rows"),
        moved("branches", rows),
        moved("before", rows),
        column("passes"),
        offset("passes_offset", passes),
        offset("ends_offset", ends),
        column("end"),
        moved("end_at", rows),
        column("end_turn"),
        column("complete"),
        column("since_ns"),
    )


def _levels(forest: Forest, starts: Column) -> list[_Level]:
    nothing = np.empty(0, np.int64)
    node, levels = starts, list[_Level]()
    while len(node) or not levels:
        children = forest.children[node]
        passes = np.flatnonzero(node >= forest.wires)
        own = forest.own(node, passes)
        ends = np.cumsum(children, dtype=np.int64)
        levels.append(_Level(node, passes, own, children, ends, nothing, own, nothing, nothing))
        node = forest.below(node, children) if len(ends) and ends[-1] else nothing
    return levels


def _place_below(level: _Level, below: _Level) -> None:
    """Where the runs of the next step's nodes begin, and which sighting is before each."""
    behind, last = level.at + level.own, level.last
    if len(below.node) == len(level.node) and (level.children == 1).all():
        below.at, below.before = behind, last
        return
    below.at = np.repeat(behind - level.ahead[level.ends - level.children], level.children)
    below.at += level.ahead[:-1]
    below.before = np.repeat(last, level.children)


def _sorted(pairs: list[tuple[Column, Column]]) -> tuple[Column, Column]:
    keys, values = (np.concatenate([np.empty(0, np.int64), *(pair[side] for pair in pairs)]) for side in (0, 1))
    if rising(keys):
        return keys, values
    order = stable_order(keys)
    return keys[order], values[order]


def _leaves(forest: Forest, levels: list[_Level]) -> tuple[Column, Column, Column]:
    """The nodes of each journey at which it ends, in order, and the position of the last sighting up to each."""
    found: list[tuple[Column, Column, Column]] = []
    journey = np.arange(len(levels[0].node))
    for level in levels:
        last = level.last
        if not len(level.ends) or not level.ends[-1]:
            found.append((journey, level.node, last))
            continue
        ends = np.flatnonzero(forest.ends(level.node, level.children))
        if len(ends):
            found.append((journey[ends], level.node[ends], last[ends]))
        journey = np.repeat(journey, level.children)
    whose, leaf, last = found[0] if len(found) == 1 else map(np.concatenate, zip(*found, strict=True))
    offset = offsets(np.bincount(whose, minlength=len(levels[0].node)))
    if rising(last):
        return offset, leaf, last
    order = stable_order(last)
    return offset, leaf[order], last[order]


def _ends(ties: Ties, forest: Forest, leaf: Column) -> tuple[Column, Column]:
    """How each leaf ended, and by which turn."""
    end = np.full(len(leaf), UNSEEN, np.uint8)
    in_host = np.flatnonzero(leaf >= forest.wires)
    if not len(in_host):
        return end, constant(-1, np.int64, len(leaf))
    turn = np.full(len(leaf), -1, np.int64)
    passes = leaf[in_host] - forest.wires
    end[in_host[ties.passes.last_stage[passes] == STAGE_CODE["input.nat"]]] = DELIVERED
    turn[in_host] = forest.dropped_by(passes)
    end[turn >= 0] = DROPPED
    end[in_host[ties.parts.unfinished[passes] & (turn[in_host] < 0)]] = UNSEEN
    end[in_host[ties.parts.together[passes] & (turn[in_host] < 0)]] = REASSEMBLED
    return end, turn


def _without_parts(offset: Column, part: Column) -> tuple[Column, Column | slice]:
    """Leave out where fragments were put together: no ends of a journey that has others."""
    if not part.any():
        return offset, slice(None)
    others = np.add.reduceat((~part).astype(np.int64), offset[:-1]) if len(offset) > 1 else np.empty(0, np.int64)
    kept = ~part | (np.repeat(others, np.diff(offset)) == 0)
    counts = np.add.reduceat(kept.astype(np.int64), offset[:-1]) if len(offset) > 1 else others
    return np.append(0, np.cumsum(counts)), np.flatnonzero(kept)
