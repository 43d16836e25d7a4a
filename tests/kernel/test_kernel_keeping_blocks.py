"""A ring's blocks understood in bulk, held against blocks written down frame by frame as the kernel writes them."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from netemu.kernel.keeping.blocks import frames_of
from netemu.record.frames import RawFrame

UNWANTED = b"\x88\xb5" + b"n" * 16


@dataclass(frozen=True)
class Seen:
    """A frame as the kernel has it: its VLAN tag, if it has one, beside its bytes."""

    time_ns: int
    interface: int
    kind: int
    data: bytes
    more: int = 0
    tag: tuple[int, int] | None = None
    gap: int = 82

    def written(self, last: bool) -> bytes:
        status, tci, tpid = (1, 0, 0) if self.tag is None else (1 | 1 << 4 | 1 << 6, *self.tag)
        size = -(-(self.gap + len(self.data)) // 8) * 8
        seconds, nanoseconds = divmod(self.time_ns, 10**9)
        captured, following = len(self.data), 0 if last else size
        head = struct.pack("=IIIIII", following, seconds, nanoseconds, captured, captured + self.more, status)
        head += struct.pack("=HH", self.gap, 0)
        head += struct.pack("=IIHH8x", 0, tci, tpid, 0)
        head += struct.pack("=HHiHBB8x", 17, 0, self.interface, 1, self.kind, 6)
        return (head.ljust(self.gap, b"\xee") + self.data).ljust(size, b"\xee")

    def expected(self) -> RawFrame:
        data = self.data
        if self.tag is not None and len(data) >= 12:
            data = data[:12] + struct.pack("!HH", self.tag[1], self.tag[0]) + data[12:]
        return RawFrame(self.time_ns, self.interface, self.kind, data, len(data) + self.more)


def block(frames: list[Seen]) -> bytes:
    body = b"".join(frame.written(frame is frames[-1]) for frame in frames)
    return struct.pack("=IIIIIIQ16x", 3, 48, 1, len(frames), 48, 48 + len(body), 7) + body


FRAMES = st.builds(
    Seen,
    st.integers(0, 2**31 * 10**9),
    st.integers(1, 2**31 - 1),
    st.integers(0, 4),
    st.binary(max_size=90) | st.just(bytes(60)) | st.binary(max_size=40).map(lambda rest: bytes(12) + UNWANTED + rest),
    st.sampled_from([0, 0, 1400]),
    st.none() | st.tuples(st.integers(0, 0xFFFF), st.sampled_from([0x8100, 0x88A8])),
    st.sampled_from([82, 82, 96]),
)
SLABS = st.lists(st.lists(st.lists(FRAMES, max_size=6), max_size=4), max_size=3)


@given(SLABS)
def test_frames_of_many_blocks_in_many_slabs_come_out_as_they_were_seen(slabs: list[list[list[Seen]]]):
    raw = [np.frombuffer(b"".join(map(block, blocks)), np.uint8) for blocks in slabs]
    seen = [frame.expected() for blocks in slabs for frames in blocks for frame in frames]
    assert list(frames_of(list(raw))) == seen


@given(SLABS)
def test_what_is_to_be_left_out_is_and_nothing_else(slabs: list[list[list[Seen]]]):
    raw = [np.frombuffer(b"".join(map(block, blocks)), np.uint8) for blocks in slabs]
    every = [frame for blocks in slabs for frames in blocks for frame in frames]
    kept = [frame.expected() for frame in every if frame.data[12:30] != UNWANTED]
    assert list(frames_of(raw, [UNWANTED, b"\x88\xb5" + b"o" * 16], 12)) == kept
    assert raw == [], "slabs can go as soon as they were copied"


def test_frames_all_alike_take_the_short_way_to_the_same():
    frames = [Seen(n, 2, 4, bytes([n]) * 60) for n in range(200)]
    assert list(frames_of([np.frombuffer(block(frames), np.uint8)])) == [frame.expected() for frame in frames]
