"""Fragments: which frames a pass left as, and which a host put together."""

from __future__ import annotations

import numpy as np
import pytest

from netemu.record.join.fragments import _run, is_fragment, is_later

MORE = 0x2000


def test_what_is_a_part_and_what_a_later_one():
    field = np.array([0, 0x4000, MORE, MORE | 185, 370], np.uint16)
    assert is_fragment(field).tolist() == [False, False, True, True, True]
    assert is_later(field).tolist() == [False, False, False, True, True]


@pytest.mark.parametrize(
    ("waiting", "first", "part", "taken", "left"),
    [
        ([(0, 1), (185, 1), (370, 0)], 0, False, [0, 1, 2], []),
        ([(0, 1), (185, 0), (0, 1), (185, 0)], 0, False, [0, 1], [2, 3]),  # another packet with the same id
        ([(0, 1), (185, 1)], 0, False, [0, 1], []),  # the last was dropped on its way out
        ([(185, 1), (370, 0)], 0, False, [], [0, 1]),  # none of this packet's
        ([(185, 1), (257, 1), (370, 0)], 185, True, [0, 1, 2], []),  # a fragment cut up further
        ([(0, 1), (0, 1), (185, 0)], 0, False, [0], [1, 2]),
    ],
)
def test_a_packets_parts_are_taken_in_order_as_far_as_they_go_on(waiting, first, part, taken, left):
    offset, more = (np.array(column) for column in zip(*waiting, strict=True))
    rows = list(range(len(waiting)))
    assert _run(rows, first, part, offset, more.astype(bool)) == taken
    assert rows == left
