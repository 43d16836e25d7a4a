"""Frames that go through a lane in an order that is known, and what a lane has of them, for tests of lanes."""

from __future__ import annotations

from veth_pair import Pair, on_one_core

from netemu.kernel.ebpf.lane_program import FRAMES, HEAD, PIECE, PLACE, STAMPED, TAIL
from netemu.kernel.taps.lane import Lane
from netemu.kernel.taps.ring import Ring
from netemu.kernel.taps.wire import sending_socket

SMALL = 2 << 20
"""Bytes of the smallest ring that has a lane."""


def small(pair: Pair) -> Ring:
    made = Ring(pair.right, size=SMALL)
    made.open()
    return made


def frame(number: int, size: int = 46) -> bytes:
    return b"\xff" * 6 + bytes(6) + b"\x88\xb6" + number.to_bytes(4, "big").ljust(size, b".")


def inject(pair: Pair, frames: list[bytes]) -> None:
    """Send frames from one core: what happens on two has no order."""
    with on_one_core(), sending_socket(pair.left) as sender:
        for each in frames:
            sender.sendto(each, ("eth0", 0))


def entry_of(held: Lane, data: bytes) -> int:
    """The place of the entry of a frame that was not taken yet."""
    for number in range(held._longs[TAIL // 8] >> FRAMES, held.end >> FRAMES):
        place = number & held.layout.entries - 1
        begin = int(held._entries[place, PLACE]) % STAMPED * PIECE
        if held._data[begin : begin + len(data)].tobytes() == data:
            return place
    raise AssertionError(data)


def begin_at(source: Ring, frames: int, pieces: int) -> None:
    """As if so many had gone through it."""
    assert source._lane is not None
    for count in (HEAD, TAIL):
        source._lane._longs[count // 8] = frames << FRAMES | pieces
