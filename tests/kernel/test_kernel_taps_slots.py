"""Datagrams taken many at a time, over a socket pair: whole and in their order, whatever their lengths."""

from __future__ import annotations

import socket

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netemu.kernel.keeping.store import Room, Store
from netemu.kernel.taps.slots import NARROW, Batch, Slots, packed

LONGEST = 2048


@pytest.fixture
def ends():
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with near, far:
        yield near, far


def test_each_datagram_comes_whole_whatever_its_length(ends):
    near, far = ends
    sent = [bytes([length % 251]) * length for length in (1, NARROW - 1, NARROW, NARROW + 1, LONGEST)]
    for data in sent:
        near.send(data)
    slots = Slots()
    taken = slots.fill(far)
    assert slots.each(slots.lengths(taken).tolist()) == sent
    assert slots.truncated(taken) == 0
    assert slots.fill(far) == 0


def test_a_datagram_longer_than_its_places_is_told(ends):
    near, far = ends
    near.send(bytes(LONGEST + 1))
    slots = Slots()
    assert slots.truncated(slots.fill(far)) == 1


@given(
    batches=st.lists(st.lists(st.binary(min_size=1, max_size=NARROW + 40), min_size=1, max_size=9), max_size=30),
    memory=st.sampled_from([0, 64 << 10, 1 << 20]),
)
def test_batches_are_packed_as_they_came_from_narrow_places_and_others(batches, memory):
    store, kept = Store(Room(memory)), []
    for batch in batches:
        narrow = max(map(len, batch)) <= NARROW
        store.put(memoryview(b"".join(each.ljust(NARROW, b"?") if narrow else each for each in batch)))
        kept.append(Batch(np.array([len(each) for each in batch], np.uint32), NARROW if narrow else 0))
    room = Room(memory)
    assert list(packed(store.take(), kept, room.array)) == [each for batch in batches for each in batch]


def test_batches_that_fill_several_slabs_are_packed_in_order():
    store, kept, sent = Store(Room()), [], []
    for number in range(40):
        batch = [number.to_bytes(2, "big") * (30 + row % 3) for row in range(100 + number)]
        store.put(memoryview(b"".join(each.ljust(NARROW, b"?") for each in batch)))
        kept.append(Batch(np.array([len(each) for each in batch], np.uint32), NARROW))
        sent += batch
    slabs = store.take()
    assert len(slabs) > 1
    assert list(packed(slabs, kept, Room().array)) == sent
