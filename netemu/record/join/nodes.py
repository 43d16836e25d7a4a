"""What journeys are made of, frames and passes as nodes, what each leads to, and at which nodes journeys begin.

A frame leads to the pass that it enters, or to the frames that came in where it went out; a pass to the frame that
left, and last to the copy that its host made of it for itself (loopback.py).
"""

from __future__ import annotations

import numpy as np

from netemu.record.capture import OTHERHOST
from netemu.record.decode.rows import Column, constant, ranges, rising, stable_order
from netemu.record.join.ties import Ties


class Forest:
    """The nodes: a frame is its row, a pass comes after all frames. `starts` are those at which journeys begin.

    `since_ns` is when each start was, as near as can be told; they are in order of time.
    """

    def __init__(self, ties: Ties) -> None:
        passes, wires = ties.passes, ties.sightings.wires
        self.wires = wires
        self.passes = passes
        self.starts, self.since_ns = _starts(ties)
        self._dropping = _dropping(ties)
        self.single, self.children = ties.enters, ties.leads_count
        if len(passes):
            self.single = np.concatenate([ties.enters, ties.left], dtype=ties.enters.dtype)
            self.single[:wires][self.single[:wires] >= 0] += wires
            self.children = self.children.copy()
            self.children[self.single >= 0] = 1
        self.first_lead = ties.leads_first
        self.leads = ties.leads
        self._copies = np.empty(0, np.int64)
        self._after = np.empty(0, np.int64)
        self._ending = np.empty(0, np.int64)
        if len(ties.copies):
            self._add(ties)

    def _add(self, ties: Ties) -> None:
        """Copies come last of what a pass leads to, and are not its end: one that led nowhere else has an end there.

        But for one whose TTL is 0 and that nothing dropped: what is sent so is for its own host alone.
        """
        copies, seen = ties.copies, ties.sightings
        made = copies.leaves + self.wires
        of, count = copies.of + self.wires, self.children[copies.of + self.wires]
        below, total = self.below(of, count), count + 1
        start = np.cumsum(total) - total
        block = np.empty(int(total.sum()), np.int64)
        block[ranges(start, count)] = below
        block[start + count] = made
        self.first_lead = self.first_lead.copy()
        self.first_lead[of] = start + len(self.leads)
        self.leads = np.concatenate([self.leads, block])
        self.single[of], self.children[of] = -1, total
        coming = copies.comes >= 0
        self.single[made[coming]] = copies.comes[coming] + self.wires
        self.children[made] = coming
        ttl = seen.packets.ttl[(self.passes.first + self.passes.count)[copies.of] - 1]
        self._ending = np.sort(of[(count == 0) & ((ttl > 0) | (self.dropped_by(copies.of) >= 0))])
        order = np.argsort(made)
        self._copies, self._after = made[order], copies.after[order]

    def ends(self, node: Column, children: Column) -> Column:
        """Which nodes, that lead to so many, are ends of their journeys."""
        ends = children == 0
        return ends | (_place(node, self._ending) >= 0) if len(self._ending) else ends

    def after(self, node: Column) -> tuple[Column, Column]:
        """Which of the nodes are copies, and after how many of its pass's sightings each of these was made."""
        if not len(self._copies):
            return self._copies, self._copies
        place = _place(node, self._copies)
        made = np.flatnonzero(place >= 0)
        return made, self._after[place[made]]

    def dropped_by(self, passes: Column) -> Column:
        """The last turn after each pass's last sighting that dropped the packet; -1 if none did."""
        first, count = self.passes.rest_first[passes], self.passes.rest_count[passes]
        last, turns = self._dropping
        if not len(last):
            return np.full(len(passes), -1, np.int64)
        found = last[np.where(count > 0, first + count - 1, 0)]
        return np.where((count > 0) & (found >= first), turns[found], -1)

    def own(self, node: Column, passes: Column) -> Column:
        """How many sightings each node has; those at `passes` are no frames."""
        if not len(passes):
            return constant(1, np.int64, len(node))
        found = np.ones(len(node), np.int64)
        found[passes] = self.passes.count[node[passes] - self.wires]
        return found

    def row(self, node: Column, passes: Column) -> Column:
        """The row of each node's first sighting."""
        found = node.copy()
        found[passes] = self.passes.first[node[passes] - self.wires]
        return found

    def below(self, node: Column, count: Column) -> Column:
        """All that the nodes lead to, node by node; `count` is how much that is."""
        if not len(self.passes):
            return self._led(node, count)
        single = self.single[node]
        many = np.flatnonzero((single < 0) & (count > 0))
        if not len(many):
            return single[count > 0]
        if len(many) == len(node):
            return self._led(node, count)
        found = np.repeat(single, count)
        places = ranges((np.cumsum(count) - count)[many], count[many])
        found[places] = self._led(node[many], count[many])
        return found

    def _led(self, node: Column, count: Column) -> Column:
        """What nodes lead to that all have their leads among `leads`: often they stand there one after the other."""
        first = self.first_lead[node]
        if len(first) and (first[1:] == first[:-1] + count[:-1]).all():
            return self.leads[first[0] : first[-1] + count[-1]]
        return self.leads[ranges(first, count)]


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
    host = np.searchsorted(seen.edges[:-1], frames, "right") - 1
    nodes = np.concatenate([frames, begun + seen.wires])
    time = np.concatenate([seen.time_ns[frames], since[begun]])
    if len(begun):
        order = stable_order(np.concatenate([host, passes.host[begun]]))  # frames stand before passes, both in order
        nodes, time = nodes[order], time[order]
    if rising(time):
        return nodes, time
    order = stable_order(time - time.min())
    return nodes[order], time[order]


def _dropping(ties: Ties) -> tuple[Column, Column]:
    """Of each turn the last one up to it that dropped a packet (-1: none), and which turns these are."""
    seen = ties.sightings
    drops = np.array([turn.verdict == "drop" for turn in seen.met], np.bool_)[seen.turns]
    return np.maximum.accumulate(np.where(drops, np.arange(len(drops)), -1)), seen.turns


def _place(nodes: Column, known: Column) -> Column:
    """Where each node stands among the known ones, which are in order; -1 for one that is not there."""
    if not len(known):
        return np.full(len(nodes), -1, np.int64)
    place = np.minimum(np.searchsorted(known, nodes), len(known) - 1)
    return np.where(known[place] == nodes, place, -1)
