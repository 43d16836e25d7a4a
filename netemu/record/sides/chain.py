"""Things of several sides, flows or packets, joined pair by pair to one thing that has at most one of each side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from netemu.record.decode.rows import Column


class Chain:
    """`label` is the same for all that is joined, side by side; at most 63 sides.

    `turned` tells whether a thing's direction is the other way round than that of what it is joined to.
    """

    def __init__(self, counts: Sequence[int]) -> None:
        self.begin = np.cumsum([0, *counts])
        total = int(self.begin[-1])
        self.label = np.arange(total)
        self.turned = np.zeros(total, np.int64)
        self.has = np.repeat(np.uint64(1) << np.arange(len(counts), dtype=np.uint64), counts)

    def of(self, side: int) -> slice:
        """Where the things of one side are."""
        return slice(int(self.begin[side]), int(self.begin[side + 1]))

    def mates(self, one: int, other: int) -> Column:
        """For each of one side's things the one of the other's that it is joined to, or -1."""
        mine, theirs = self.label[self.of(one)], self.label[self.of(other)]
        at = np.full(len(self.label), -1, np.int64)
        at[theirs] = np.arange(len(theirs))
        return at[mine]

    def join(self, one: int, mine: Column, other: int, theirs: Column, crossed: Column | None = None) -> Column:
        """Join pairs, each thing in at most one; which were: not those that would have two things of one side."""
        left, right = self.begin[one] + mine, self.begin[other] + theirs
        kept, gone = self.label[left], self.label[right]
        apart = (self.has[kept] & self.has[gone]) == 0
        done = apart | (kept == gone)
        turn = np.zeros(len(self.label), np.int64)
        if crossed is not None:
            turn[gone[apart]] = (self.turned[left] ^ self.turned[right] ^ crossed)[apart]
        kept, gone = kept[apart], gone[apart]
        self.has[kept] |= self.has[gone]
        self.turned ^= turn[self.label]
        to = np.arange(len(self.label))
        to[gone] = kept
        self.label = to[self.label]
        return done

    def table(self, sides: int) -> tuple[Column, Column]:
        """Each label's number from 0, and a row a label and a column a side: the side's thing, or -1."""
        number = (np.cumsum(self.label == np.arange(len(self.label))) - 1)[self.label]
        found = np.full((int(number.max(initial=-1)) + 1, sides), -1, np.int64)
        for side in range(sides):
            mine = number[self.of(side)]
            found[mine, side] = np.arange(len(mine))
        return number, found
