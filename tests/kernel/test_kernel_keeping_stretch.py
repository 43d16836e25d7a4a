"""Frames of a lane, as its memory has them: what is told of each comes out, and only what is alike is packed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_kernel_keeping_blocks import UNWANTED, Seen
from test_kernel_keeping_packing import APART, AT, UNLIKE

from netemu.kernel.ebpf.btf import Facts
from netemu.kernel.ebpf.lane_program import ENTRY, KIND, PIECE, STAMPED
from netemu.kernel.keeping.blocks import frames_of
from netemu.kernel.keeping.packing import FEWEST, pack, packed_size
from netemu.kernel.keeping.stretch import Stretch
from netemu.record.capture import OUTGOING, UNFINISHED, VOUCHED

FACTS = Facts(word=128, summed=5, valid=22, clock=3 << 8, stamp=32)
BEHIND = 37 * 10**9
UNNECESSARY, COMPLETE, PARTIAL = 1, 2, 3
LANE_FRAMES = st.builds(
    Seen,
    st.integers(0, 2**31 * 10**9),
    st.integers(1, 2**31 - 1),
    st.integers(0, 4),
    st.binary(min_size=1, max_size=150) | st.binary(max_size=40).map(lambda rest: bytes(12) + UNWANTED + rest),
    tag=st.none() | st.tuples(st.integers(0, 0xFFFF), st.sampled_from([0x8100, 0x88A8])),
)


def stretch(frames: list[Seen], checksums: list[int] | None = None, first: int = 5) -> Stretch:
    """As a lane's program writes them, from the piece `first` on."""
    entries, pieces = np.full((len(frames), ENTRY // 4), 0xEEEEEEEE, np.uint32), b""
    for entry, frame, checksum in zip(entries, frames, checksums or [0] * len(frames), strict=True):
        tci, tpid = frame.tag or (0, 0)
        entry[1] = tpid << 16 | tci
        stamped = frame.time_ns % 3 == 0
        entry[2:4] = np.array([frame.time_ns + (0 if stamped else BEHIND)], np.int64).view(np.uint32)
        entry[4:7] = frame.interface, len(frame.data), checksum
        entry[7] = first + len(pieces) // PIECE | frame.kind << KIND | stamped * STAMPED
        pieces += frame.data.ljust(-(-len(frame.data) // PIECE) * PIECE, b"\xee")
    return Stretch(entries, np.frombuffer(pieces, np.uint8), FACTS, BEHIND)


@given(st.lists(st.lists(LANE_FRAMES, min_size=1, max_size=8), max_size=4))
def test_listed_frames_come_out_as_they_were_seen(stretches):
    blocks = [stretch(frames).block() for frames in stretches]
    raw = [np.concatenate(blocks)] if blocks else []
    seen = [frame for frames in stretches for frame in frames]
    assert list(frames_of(list(raw))) == [frame.expected() for frame in seen]
    kept = [frame.expected() for frame in seen if frame.data[12:30] != UNWANTED]
    assert list(frames_of(raw, [UNWANTED], AT)) == kept


@pytest.mark.parametrize("size", [14, 60, 64, 65, 1500])
def test_alike_frames_are_packed_and_come_out_as_they_were_seen(size):
    frames = [Seen(10**18 + n, 1 + n % 3, n % 5, bytes([n % 251]) * size) for n in range(FEWEST)]
    even = stretch(frames).alike(APART, AT)
    assert even is not None
    place = np.zeros(packed_size(even), np.uint8)
    pack(even, place)
    assert list(frames_of([place])) == [frame.expected() for frame in frames]


@pytest.mark.parametrize("place", [0, 60, FEWEST - 1])
@pytest.mark.parametrize("other", UNLIKE.values(), ids=UNLIKE)
def test_frames_with_one_unlike_the_others_are_not_packed(place, other):
    frames = [Seen(n, 1, 4, b"f" * 60) for n in range(FEWEST)]
    assert stretch(frames).alike(APART, AT) is not None
    assert stretch([*frames[:place], other, *frames[place + 1 :]]).alike(APART, AT) is None


def test_few_frames_and_frames_without_an_ethertype_are_not_packed():
    assert stretch([Seen(n, 1, 4, b"f" * 60) for n in range(FEWEST - 1)]).alike(APART, AT) is None
    assert stretch([Seen(n, 1, 4, b"f" * 13) for n in range(FEWEST)]).alike(APART, AT) is None


@pytest.mark.parametrize(
    ("summed", "valid", "kind", "status"),
    [
        (0, 0, 0, 0),
        (UNNECESSARY, 0, 0, VOUCHED),
        (UNNECESSARY, 0, OUTGOING, 0),
        (COMPLETE, 0, 0, 0),
        (COMPLETE, 1, 0, VOUCHED),
        (0, 1, 3, VOUCHED),
        (0, 1, OUTGOING, 0),
        (PARTIAL, 0, 0, UNFINISHED),
        (PARTIAL, 1, OUTGOING, UNFINISHED),
    ],
)
def test_what_is_known_of_a_checksum_is_told_as_a_ring_tells_it(summed, valid, kind, status):
    """tpacket_rcv (net/packet/af_packet.c) and skb_csum_unnecessary (linux/skbuff.h)."""
    frames, checksum = [Seen(1, 1, kind, bytes(60))], summed << FACTS.summed | valid << FACTS.valid
    for others in (0, 0xFFFFFFFF & ~(3 << FACTS.summed | 1 << FACTS.valid)):
        (found,) = frames_of([stretch(frames, [checksum | others]).block()])
        assert found.status == status
