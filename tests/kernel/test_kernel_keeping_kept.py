"""What a ring's frames are kept as: whatever comes, in whatever order, comes out as it was seen, but for canaries."""

from __future__ import annotations

import errno

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_kernel_keeping_blocks import FRAMES, UNWANTED, Seen, block
from test_kernel_keeping_packing import APART, AT, alike, rows
from test_kernel_keeping_stretch import LANE_FRAMES, stretch

from netemu.kernel.keeping.columns import Column
from netemu.kernel.keeping.kept import Kept
from netemu.kernel.keeping.store import Room
from netemu.kernel.keeping.stretch import Stretch
from netemu.record.frames import RawFrame

MIB = 1 << 20
PUTS = st.lists(
    st.tuples(st.just("rows"), alike())
    | st.tuples(st.just("block"), st.lists(FRAMES, max_size=6))
    | st.tuples(st.just("stretch"), st.lists(LANE_FRAMES, min_size=1, max_size=6))
    | st.tuples(st.just("stretch"), st.lists(LANE_FRAMES, min_size=1, max_size=1).map(lambda one: one * 130)),
    max_size=12,
)


def put(kept: Kept, kind: str, frames: list[Seen]) -> None:
    """As a ring does: alike frames as rows, where they have one step, a lane's as it has them, others as a block."""
    raw = rows(frames) if kind == "rows" else None
    if kind == "stretch":
        kept.put_stretch(stretch(frames))
    elif raw is not None:
        kept.put_alike(raw)
    else:
        kept.put(np.frombuffer(block(frames), np.uint8))


def kept_in(memory: int) -> Kept:
    kept = Kept(Room(memory), AT, APART)
    kept.apart = [UNWANTED]
    return kept


def seen(puts: list[tuple[str, list[Seen]]]) -> list[RawFrame]:
    return [frame.expected() for _, frames in puts for frame in frames if frame.data[12:30] != UNWANTED]


def ordinary(number: int, count: int = 100, size: int = 60) -> list[Seen]:
    return [Seen(1000 * number + n, 1, 4, bytes([n % 251]) * size) for n in range(count)]


@settings(max_examples=40)
@given(st.lists(PUTS, max_size=3), st.sampled_from([0, 700, 3_000, 64 * MIB]))
def test_what_is_put_comes_out_as_it_was_seen_each_time_it_is_taken(turns, memory):
    kept = kept_in(memory)
    for puts in turns:
        for kind, frames in puts:
            put(kept, kind, frames)
        assert list(kept.whole(kept.take())) == seen(puts)
        assert kept.room.taken == 0
    assert list(kept.whole(kept.take())) == []


@settings(max_examples=40)
@given(PUTS, st.sampled_from([0, 700, 3_000, 64 * MIB]))
def test_what_comes_from_ring_and_lane_comes_out_in_the_order_of_its_times(puts, memory):
    kept = kept_in(memory)
    kept.from_ring = kept.from_lane = True
    for each in puts:
        put(kept, *each)
    assert list(kept.whole(kept.take())) == sorted(seen(puts), key=lambda frame: frame.time_ns)
    assert not kept.from_ring
    assert not kept.from_lane


@settings(max_examples=20)
@given(PUTS, PUTS)
def test_what_is_cleared_is_gone_and_what_comes_then_is_there(gone, puts):
    kept = kept_in(64 * MIB)
    for each in gone:
        put(kept, *each)
    kept.clear()
    for each in puts:
        put(kept, *each)
    assert list(kept.whole(kept.take())) == seen(puts)


def test_frames_alike_are_kept_once_and_the_few_others_among_them_beside():
    kept = kept_in(64 * MIB)
    puts = [("rows", ordinary(n)) for n in range(200)]
    puts[3:3] = [("block", [Seen(7, 1, 0, bytes(12) + UNWANTED), Seen(8, 2, 1, b"odd" * 20, tag=(5, 0x8100))])]
    for each in puts:
        put(kept, *each)
    columns, blocks, _ = taken = kept.take()
    assert columns is not None
    assert blocks == []
    frames = kept.whole(taken)
    assert list(frames) == seen(puts)
    assert frames.data.base is not None, "the columns' own memory"
    assert columns.size == sum(18 + len(frame.data) for frame in frames)


def test_where_many_others_come_all_is_kept_in_blocks_from_there_on():
    kept = kept_in(64 * MIB)
    many = [("block", [Seen(n, 1, 1, bytes(n % 90 + 14)) for n in range(600)]) for _ in range(3)]
    puts = [("rows", ordinary(1)), *many, ("rows", ordinary(2)), ("block", ordinary(3, 3)), ("rows", ordinary(4))]
    for each in puts:
        put(kept, *each)
    columns, blocks, _ = taken = kept.take()
    assert columns is not None
    assert columns.size < sum(map(len, blocks))
    assert list(kept.whole(taken)) == seen(puts)


def test_columns_grow_within_the_memory_bound_and_the_rest_goes_to_disk(tmp_path):
    kept = Kept(Room(MIB, str(tmp_path)), AT, APART)
    puts = [("rows", ordinary(n, 1000)) for n in range(30)]
    for each in puts:
        put(kept, *each)
        assert kept.room.taken <= MIB
    assert kept.room.spilled > MIB
    taken = kept.take()
    assert list(kept.whole(taken)) == seen(puts)


@pytest.mark.parametrize("column", range(6))
@pytest.mark.parametrize("odd", [False, True])
@pytest.mark.parametrize("error", [OSError(errno.ENOMEM, "Cannot allocate memory"), MemoryError()], ids=repr)
def test_a_column_for_which_there_is_no_memory_loses_nothing(monkeypatch, column, odd, error):
    """Growing by mremap(2) fails once: those rows, and all that follow, are kept in blocks."""
    kept, place, calls = kept_in(64 * MIB), Column.place, iter(range(10_000))

    def failing(self: Column, count: int) -> np.ndarray:
        if next(calls) == 6 * 2 + column:
            raise error
        return place(self, count)

    monkeypatch.setattr(Column, "place", failing)
    puts = [("rows", ordinary(n)) for n in range(4)]
    if odd:
        puts[2:2] = [("block", ordinary(9, 3))]
    for each in puts:
        put(kept, *each)
    assert list(kept.whole(kept.take())) == seen(puts)
    assert kept.room.taken == 0


@pytest.mark.parametrize("memory", [0, 64 * MIB])
@pytest.mark.parametrize("count", [5, 200])
def test_what_could_not_be_written_for_want_of_memory_is_not_there(monkeypatch, memory, count):
    kept, tell = kept_in(memory), Stretch.tell
    put(kept, "stretch", ordinary(1, count))

    def failing(self: Stretch, *into: np.ndarray) -> None:
        into[0][:] = 7
        raise MemoryError

    monkeypatch.setattr(Stretch, "tell", failing)
    with pytest.raises(MemoryError):
        put(kept, "stretch", ordinary(2, count))
    monkeypatch.setattr(Stretch, "tell", tell)
    put(kept, "stretch", ordinary(3, count))
    monkeypatch.setattr(Stretch, "tell", failing)
    with pytest.raises(MemoryError):
        put(kept, "stretch", ordinary(4, count))
    monkeypatch.setattr(Stretch, "tell", tell)
    put(kept, "stretch", ordinary(5, count))
    assert list(kept.whole(kept.take())) == seen([("stretch", ordinary(n, count)) for n in (1, 3, 5)])


def test_a_column_grows_over_its_first_room_and_keeps_what_it_has():
    column = Column(np.int64)
    for n in range(500):
        column.place(1000)[:] = n
    column.place(5)[:] = -1
    column.forget(5)
    assert column.used == 8 * 500_000
    assert (column.array() == np.repeat(np.arange(500), 1000)).all()
