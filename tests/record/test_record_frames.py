"""Raw captures in columns: what goes in single comes out single, however it was joined and chosen in between."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netemu.record.frames import Datagrams, Frames, RawFrame, offsets

FRAMES = st.builds(
    RawFrame,
    st.integers(0, 2**62),
    st.integers(0, 2**31 - 1),
    st.integers(0, 4),
    st.binary(max_size=80),
    st.integers(100, 65535),
)
PARTS = st.lists(st.lists(FRAMES, max_size=5), max_size=4)


def several() -> Frames:
    return Frames.of(RawFrame(1000 + n, n, n % 5, bytes([n]) * n) for n in range(10))


def numbers(frames: Frames) -> list[int]:
    """The numbers of frames of `several`, each checked to be whole."""
    for frame in frames:
        n = frame.interface
        assert frame == RawFrame(1000 + n, n, n % 5, bytes([n]) * n, n)
    return [frame.interface for frame in frames]


@given(PARTS)
def test_joined_frames_come_out_one_by_one_as_they_went_in(parts: list[list[RawFrame]]):
    frames = Frames.concat(Frames.of(part) for part in parts)
    assert list(frames) == [frame for part in parts for frame in part]
    assert len(frames) == sum(map(len, parts))


@given(st.lists(st.lists(st.binary(max_size=40), max_size=5), max_size=4))
def test_joined_datagrams_come_out_one_by_one_as_they_went_in(parts: list[list[bytes]]):
    assert list(Datagrams.concat(Datagrams.of(part) for part in parts)) == [each for part in parts for each in part]


@given(st.lists(st.binary(max_size=9)), st.data())
def test_every_way_to_choose_gives_the_bytes_of_those_chosen(things: list[bytes], data: st.DataObject):
    datagrams = Datagrams.of(things)
    ends = st.none() | st.integers(-12, 12)
    where = slice(data.draw(ends), data.draw(ends), data.draw(st.sampled_from([None, 1, 2, -1])))
    assert list(datagrams.select(where)) == things[where]
    mask = data.draw(st.lists(st.booleans(), min_size=len(things), max_size=len(things)))
    assert list(datagrams.select(np.array(mask, bool))) == [
        each for each, take in zip(things, mask, strict=True) if take
    ]
    if things:
        places = data.draw(st.lists(st.integers(0, len(things) - 1)))
        assert list(datagrams.select(np.array(places, np.int64))) == [things[place] for place in places]


@pytest.mark.parametrize(
    ("where", "left"),
    [
        (slice(2, 5), [2, 3, 4]),
        (slice(8, 3), []),
        (slice(None, None, 3), [0, 3, 6, 9]),
        (np.array([9, 0, 0, 4]), [9, 0, 0, 4]),
        (np.arange(10) % 2 == 1, [1, 3, 5, 7, 9]),
        (np.zeros(10, bool), []),
    ],
)
def test_chosen_frames_keep_their_columns_together(where: object, left: list[int]):
    assert numbers(several().select(where)) == left


def test_what_was_chosen_can_be_chosen_from_and_joined_again():
    part = several().select(slice(3, 9))
    assert numbers(Frames.concat([part.select(np.array([0, 5])), part.select(slice(1, 2))])) == [3, 8, 4]


def test_nothing_joined_is_nothing():
    assert len(Frames.concat([])) == len(Datagrams.concat([])) == 0
    assert list(Frames.of()) == list(Datagrams.of()) == []


def test_a_frame_that_was_cut_keeps_its_length_on_the_wire():
    (frame,) = Frames.of([RawFrame(1, 2, 0, b"abc", 1500)])
    assert (frame.data, frame.length) == (b"abc", 1500)


def test_offsets_begin_at_zero_and_end_behind_the_last():
    assert offsets(np.array([3, 0, 5])).tolist() == [0, 3, 3, 8]
