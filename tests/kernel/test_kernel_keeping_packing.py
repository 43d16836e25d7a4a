"""Blocks packed as they are taken: the same frames come out of them, and what is not alike is not packed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_kernel_keeping_blocks import UNWANTED, Seen, block

from netemu.kernel.keeping.blocks import BLOCK_FIRST, BLOCK_FRAMES, frames_of
from netemu.kernel.keeping.packing import pack, packed_size
from netemu.kernel.keeping.rows import area, rows_of

APART, AT = UNWANTED[:2], 12


def rows(*blocks: list[Seen]):
    areas = []
    for frames in blocks:
        words = np.frombuffer(block(frames), np.uint32)
        first = int(words[BLOCK_FIRST]) // 4
        step = int(words[first]) // 4 if len(frames) else 0
        areas.append(area(words[first:], int(words[BLOCK_FRAMES]), step or len(words) - first))
    if any(each is None or each.shape[1] != areas[0].shape[1] for each in areas):
        return None
    return rows_of(areas, APART, AT)


def packed(*blocks: list[Seen]) -> np.ndarray:
    found = rows(*blocks)
    assert found is not None
    place = np.zeros(packed_size(found), np.uint8)
    pack(found, place)
    return place


@st.composite
def alike(draw: st.DrawFn) -> list[Seen]:
    size, gap = draw(st.integers(14, 90)), draw(st.sampled_from([82, 96]))
    data = st.binary(min_size=size, max_size=size).filter(lambda data: data[AT : AT + 2] != APART)
    facts = st.tuples(st.integers(0, 2**31 * 10**9), st.integers(1, 2**31 - 1), st.integers(0, 4), data)
    return [
        Seen(*each, more=draw(st.sampled_from([0, 1400])), gap=gap)
        for each in draw(st.lists(facts, min_size=2, max_size=9))
    ]


ANY = st.lists(st.builds(Seen, st.just(5), st.just(1), st.just(0), st.binary(max_size=90)), max_size=4)


@given(st.lists(st.lists(alike().map(lambda frames: (True, frames)) | ANY.map(lambda frames: (False, frames)))))
def test_frames_of_packed_blocks_among_others_come_out_as_they_were_seen(slabs):
    raw = [
        np.concatenate([packed(frames) if so else np.frombuffer(block(frames), np.uint8) for so, frames in slab])
        for slab in slabs
        if slab
    ]
    seen = [frame.expected() for slab in slabs for _, frames in slab for frame in frames]
    assert list(frames_of(raw)) == seen
    assert raw == []


ORDINARY = [Seen(number, 1, 4, bytes([number]) * 60) for number in range(6)]


UNLIKE = {
    "shorter": Seen(9, 1, 4, b"s" * 59),
    "longer": Seen(9, 1, 4, b"l" * 70),
    "tagged": Seen(9, 1, 4, b"t" * 60, tag=(5, 0x8100)),
    "canary": Seen(9, 1, 4, bytes(12) + UNWANTED + bytes(30)),
}
"""Frames that can't be packed together with others of 60 bytes."""


@pytest.mark.parametrize("place", [0, 2, 5])
@pytest.mark.parametrize("other", [*UNLIKE.values(), Seen(9, 1, 4, b"g" * 60, gap=90)], ids=[*UNLIKE, "elsewhere"])
def test_a_block_with_a_frame_unlike_the_others_is_not_packed(place, other):
    assert rows(ORDINARY) is not None
    assert rows([*ORDINARY[:place], other, *ORDINARY[place + 1 :]]) is None


@pytest.mark.parametrize("frames", [[Seen(1, 1, 4, b"short")] * 3, [Seen(1, 1, 4, bytes(60), gap=83)] * 3])
def test_frames_too_short_for_an_ethertype_or_at_odd_places_are_not_packed(frames):
    assert rows(frames) is None


def test_frames_of_several_blocks_are_packed_together():
    blocks = [ORDINARY, ORDINARY[:2], ORDINARY[3:]]
    assert list(frames_of([packed(*blocks)])) == [frame.expected() for frames in blocks for frame in frames]


@pytest.mark.parametrize("place", [0, 1])
def test_one_frame_unlike_the_others_in_one_of_several_blocks_leaves_them_as_they_are(place):
    blocks = [ORDINARY[:], ORDINARY[:], ORDINARY[:]]
    blocks[place] = [*ORDINARY[:-1], Seen(9, 1, 4, b"s" * 59)]
    assert rows(*blocks) is None
