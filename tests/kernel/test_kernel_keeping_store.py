"""Where taps keep what they took: in order, within the memory bound, beyond it on disk."""

from __future__ import annotations

import errno
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netemu.kernel.keeping.store import Room, Store

MIB = 1 << 20


@given(st.lists(st.binary(max_size=200_000), max_size=8), st.sampled_from([0, 100_000, 64 * MIB]))
def test_what_is_put_comes_back_whole_and_in_order_from_memory_and_from_disk(things: list[bytes], memory: int):
    store = Store(Room(memory))
    for thing in things:
        store.put(memoryview(thing))
    assert b"".join(slab.tobytes() for slab in store.take()) == b"".join(things)
    assert store.take() == []


def test_beyond_the_bound_it_goes_to_disk_and_memory_is_no_more_than_was_said(tmp_path):
    room = Room(8 * MIB, str(tmp_path))
    stores = [Store(room) for _ in range(2)]
    for number in range(40):
        stores[number % 2].put(memoryview(bytes([number]) * MIB))
    assert room.taken <= 8 * MIB
    assert room.spilled >= 30 * MIB
    assert os.listdir(tmp_path) == [], "its files have no name"
    for which, store in enumerate(stores):
        whole = b"".join(slab.tobytes() for slab in store.take())
        assert whole == b"".join(bytes([number]) * MIB for number in range(which, 40, 2))
    assert (room.taken, room.spilled) == (0, 0)


def test_a_quiet_tap_takes_little():
    room = Room()
    Store(room).put(memoryview(b"x"))
    assert room.taken <= 64 << 10


def test_a_full_disk_is_an_error_at_once(monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        Store(Room(0)).put(memoryview(b"x"))


def test_an_array_larger_than_the_bound_is_in_a_file():
    room = Room(MIB)
    assert room.array(MIB).base is None
    large = room.array(2 * MIB)
    large[:] = 7
    assert (large.base is None, len(large), int(large[-1])) == (False, 2 * MIB, 7)
