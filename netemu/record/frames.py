"""Raw captures in columns: what taps hand over before anything of it is understood.

Bytes lie one after the other in one flat array; `offset` says where each frame or datagram begins, and has one more
element than there are: bytes i are data[offset[i]:offset[i + 1]].
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Offsets = NDArray[np.int64]
Where = slice | NDArray[np.bool_] | NDArray[np.integer]
"""Which elements: a slice, a mask with one truth value for each, or indices (in any order, also repeated)."""

_AT_ONCE = 1 << 20
"""How many elements are gathered at once: the index of each of their bytes takes eight."""


@dataclass(frozen=True, slots=True)
class RawFrame:
    """One frame: kernel time in ns since the epoch, interface by its number, packet type, the captured bytes.

    `length` is what it had on the wire, where that is more than was captured; `status` what the kernel said of its
    checksum (capture.py).
    """

    time_ns: int
    interface: int
    kind: int
    data: bytes
    length: int = 0
    status: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Datagrams:
    """Netlink datagrams as they were received, in order. Iterating gives each one's bytes."""

    data: Bytes
    offset: Offsets

    @classmethod
    def of(cls, datagrams: Iterable[bytes] = ()) -> Self:
        """Datagrams from single ones."""
        return cls(*_packed(list(datagrams)))

    @classmethod
    def concat(cls, parts: Iterable[Self]) -> Self:
        """All parts' datagrams, one part after the other."""
        several = list(parts)
        if len(several) == 1:
            return several[0]
        return cls(*_concat([(part.data, part.offset) for part in several]))

    def select(self, where: Where) -> Self:
        """The datagrams at these places."""
        return type(self)(*_select(self.data, self.offset, where))

    def __len__(self) -> int:
        return len(self.offset) - 1

    def __iter__(self) -> Iterator[bytes]:
        return _each(self.data, self.offset)


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """Frames as packet sockets saw them, a column a fact. Iterating gives each one as a `RawFrame`.

    `time_ns` is kernel time since the epoch, `interface` its number on its host, `kind` sockaddr_ll's packet type
    (capture.py names them), `length` the bytes it had on the wire, of which `data` may hold fewer, `status` what the
    kernel said of its checksum (capture.py). VLAN tags are in their places. Frames come in the order in which the
    kernel handed them to the socket; where some went past its ring and others did not, in that of their times.
    """

    time_ns: NDArray[np.int64]
    interface: NDArray[np.int32]
    kind: NDArray[np.uint8]
    length: NDArray[np.int32]
    status: NDArray[np.uint8]
    data: Bytes
    offset: Offsets

    @classmethod
    def of(cls, frames: Iterable[RawFrame] = ()) -> Self:
        """Frames from single ones."""
        each = list(frames)
        return cls(
            np.fromiter((frame.time_ns for frame in each), np.int64, len(each)),
            np.fromiter((frame.interface for frame in each), np.int32, len(each)),
            np.fromiter((frame.kind for frame in each), np.uint8, len(each)),
            np.fromiter((max(frame.length, len(frame.data)) for frame in each), np.int32, len(each)),
            np.fromiter((frame.status for frame in each), np.uint8, len(each)),
            *_packed([frame.data for frame in each]),
        )

    @classmethod
    def concat(cls, parts: Iterable[Self]) -> Self:
        """All parts' frames, one part after the other."""
        several = list(parts)
        if not several:
            return cls.of()
        if len(several) == 1:
            return several[0]
        return cls(
            np.concatenate([part.time_ns for part in several]),
            np.concatenate([part.interface for part in several]),
            np.concatenate([part.kind for part in several]),
            np.concatenate([part.length for part in several]),
            np.concatenate([part.status for part in several]),
            *_concat([(part.data, part.offset) for part in several]),
        )

    def select(self, where: Where) -> Self:
        """The frames at these places."""
        columns = self.time_ns[where], self.interface[where], self.kind[where], self.length[where], self.status[where]
        return type(self)(*columns, *_select(self.data, self.offset, where))

    def __len__(self) -> int:
        return len(self.offset) - 1

    def __iter__(self) -> Iterator[RawFrame]:
        told = (self.time_ns, self.interface, self.kind, self.length, self.status)
        columns = (column.tolist() for column in told)
        for time_ns, interface, kind, length, status, data in zip(*columns, _each(self.data, self.offset), strict=True):
            yield RawFrame(time_ns, interface, kind, data, length, status)


def offsets(lengths: NDArray[np.integer]) -> Offsets:
    """Where each of several things of these lengths begins when they lie one after the other, and where all end."""
    found = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=found[1:])
    return found


def _each(data: Bytes, offset: Offsets) -> Iterator[bytes]:
    whole, places = np.ascontiguousarray(data).data, offset.tolist()
    return (bytes(whole[start:end]) for start, end in pairwise(places))


def _packed(things: Sequence[bytes]) -> tuple[Bytes, Offsets]:
    lengths = np.fromiter(map(len, things), np.int64, len(things))
    return np.frombuffer(b"".join(things), np.uint8), offsets(lengths)


def _concat(parts: Sequence[tuple[Bytes, Offsets]]) -> tuple[Bytes, Offsets]:
    if not parts:
        return _packed(())
    lengths = np.concatenate([np.diff(offset) for _, offset in parts])
    return np.concatenate([data[offset[0] : offset[-1]] for data, offset in parts]), offsets(lengths)


def _select(data: Bytes, offset: Offsets, where: Where) -> tuple[Bytes, Offsets]:
    if isinstance(where, slice):
        first, end, step = where.indices(len(offset) - 1)
        if step == 1:
            end = max(first, end)
            return data[offset[first] : offset[end]], offset[first : end + 1] - offset[first]
    starts, lengths = offset[:-1][where], np.diff(offset)[where]
    moved = offsets(lengths)
    chosen = np.empty(int(moved[-1]), np.uint8)
    for first in range(0, len(starts), _AT_ONCE):
        part = slice(first, first + _AT_ONCE)
        begin, end = moved[first], moved[min(first + _AT_ONCE, len(starts))]
        shift = np.repeat(starts[part] - moved[:-1][part], lengths[part])
        chosen[begin:end] = data[shift + np.arange(begin, end)]
    return chosen, moved
