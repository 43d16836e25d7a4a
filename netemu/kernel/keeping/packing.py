"""How frames are kept that are no longer as the kernel gave them: columns and bytes, without the rest.

Half of a short frame's place in a ring's block is headers of which a record keeps little. What is packed at once, while
it is in the processor's cache, is less to keep, and to end a record only has to lay it side by side. That takes frames
that are all equally long; of others their bytes are kept as they lay, and a list of what is told of each.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from netemu.record.frames import Bytes

PACKED, LISTED = 0x4E45544D, 0x4E45544C
"""The first word of a packed block and of a listed one; a ring's have TPACKET_V3's version there. Words 3 and 5 mean
the same in all."""
FEWEST = 128
"""Frames that are worth being packed: less are understood in bulk, later."""
CAPTURED = 6
"""Which word of a packed block says how many bytes each of its frames has."""
_HEADER = 32


@dataclass(slots=True)
class Packed:
    """The frames of a packed block, all of `data.shape[1]` bytes."""

    time_ns: NDArray[np.int64]
    interface: NDArray[np.int32]
    length: NDArray[np.int32]
    kind: NDArray[np.uint8]
    status: NDArray[np.uint8]
    data: NDArray[np.uint8]

    @classmethod
    def of(cls, block: Bytes, count: int, captured: int) -> Self:
        """The columns of a packed block, sharing its bytes."""
        ends = [_HEADER + each * count for each in (0, 8, 12, 16, 17, 18, 18 + captured)]
        time_ns, interface, length, kind, status, data = (block[ends[n] : ends[n + 1]] for n in range(6))
        words = interface.view(np.int32), length.view(np.int32)
        return cls(time_ns.view(np.int64), *words, kind, status, data.reshape(count, captured))

    @property
    def whole(self) -> NDArray[np.int64]:
        """How long each frame is."""
        return np.full(len(self.data), self.data.shape[1])

    def copy(self, data: Bytes, offset: NDArray[np.int64]) -> None:
        """Copy the frames' bytes to their places in `data`."""
        size = self.data.shape[1]
        if together(offset, size):
            data[offset[0] : offset[0] + self.data.size] = self.data.reshape(-1)
        elif size:
            sliding_window_view(data, size, writeable=True)[offset] = self.data


@dataclass(slots=True)
class Listed:
    """The frames of a listed block; `start` is where in `data` each begins, `tag` its VLAN tag beside it (or 0)."""

    time_ns: NDArray[np.int64]
    interface: NDArray[np.int32]
    length: NDArray[np.int32]
    tag: NDArray[np.uint32]
    start: NDArray[np.uint32]
    kind: NDArray[np.uint8]
    status: NDArray[np.uint8]
    data: NDArray[np.uint8]

    @classmethod
    def of(cls, block: Bytes, count: int) -> Self:
        """The columns of a listed block, sharing its bytes."""
        ends = [_HEADER + each * count for each in (0, 8, 12, 16, 20, 24, 25, 26)]
        time_ns, interface, length, tag, start, kind, status = (block[ends[n] : ends[n + 1]] for n in range(7))
        words = interface.view(np.int32), length.view(np.int32), tag.view(np.uint32), start.view(np.uint32)
        return cls(time_ns.view(np.int64), *words, kind, status, block[_in_longs(ends[-1]) :])


class Alike(Protocol):
    """Frames that can be packed: all equally long, no canary among them, nothing kept beside their bytes."""

    @property
    def captured(self) -> int:
        """Bytes of each."""

    def __len__(self) -> int: ...

    def fill(self, into: Packed) -> None:
        """Write them into columns of their number."""


def packed_size(frames: Alike) -> int:
    """Bytes that frames will have as a packed block: whole words of 64 bits."""
    return _in_longs(_HEADER + (18 + frames.captured) * len(frames))


def pack(frames: Alike, place: Bytes) -> None:
    """Write frames as a packed block to its `place`, of `packed_size` bytes."""
    struct.pack_into("=8I", place.data, 0, PACKED, 0, 0, len(frames), 0, len(place), frames.captured, 0)
    frames.fill(Packed.of(place, len(frames), frames.captured))


def together(offset: NDArray[np.int64], size: int) -> bool:
    """Whether frames of so many bytes lie one behind the other, in their order, at these places."""
    return bool((np.diff(offset) == size).all())


def list_block(place: Bytes, count: int) -> Listed:
    """Begin a listed block in its `place`, of `listed_size` bytes: its columns and bytes are to be written yet."""
    struct.pack_into("=8I", place.data, 0, LISTED, 0, 0, count, 0, len(place), 0, 0)
    return Listed.of(place, count)


def listed_size(count: int, size: int) -> int:
    """Bytes of a listed block of so many frames with so many bytes of data, which are whole words of 64 bits."""
    return _in_longs(_HEADER + 26 * count) + size


def _in_longs(size: int) -> int:
    return -(-size // 8) * 8
