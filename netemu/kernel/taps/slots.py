"""Many datagrams with one call (recvmmsg): where they are put as they come, and how they are packed afterwards.

Taps' events have 180 to 200 bytes. The first bytes of each go side by side into narrow places, so that a whole call's
datagrams are kept by one copy, with nothing done for each; what is longer goes on in a place of its own.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from netemu.kernel.keeping.blocks import copy_rows
from netemu.record.decode.rows import stable_order
from netemu.record.frames import Bytes, Datagrams, offsets

NARROW = 256
"""Bytes of a place that lies side by side with the others."""
AT_ONCE, _REST = 512, 2048 - NARROW
"""How many datagrams one call takes, and how much more than a place each may have: names are at most 128 bytes."""
_HEADER_WORDS = 16
"""struct mmsghdr in words of 4 bytes."""
Lengths = NDArray[np.uint32]


class Batch(NamedTuple):
    """Datagrams that were put into a store together, each in a place of so many bytes.

    A place of 0 bytes is none: they lie one behind the other.
    """

    lengths: Lengths
    place: int = 0

    @property
    def size(self) -> int:
        """Bytes of all of them in the store."""
        return len(self.lengths) * self.place if self.place else int(self.lengths.sum())

    @property
    def starts(self) -> NDArray[np.int64]:
        """Where each begins."""
        return np.arange(len(self.lengths)) * self.place if self.place else offsets(self.lengths)[:-1]


class Slots(threading.local):
    """A thread's own places for what its calls take, and the structures that say where they are."""

    def __init__(self) -> None:
        self._narrow = np.empty(AT_ONCE * NARROW, np.uint8)
        self._rest = np.empty(AT_ONCE * _REST, np.uint8)
        number = np.arange(AT_ONCE, dtype=np.uint64)
        self._vectors = np.empty((AT_ONCE, 2, 2), np.uint64)
        self._vectors[:, 0, 0] = self._narrow.ctypes.data + number * NARROW
        self._vectors[:, 1, 0] = self._rest.ctypes.data + number * _REST
        self._vectors[:, :, 1] = NARROW, _REST
        self._headers = np.zeros((AT_ONCE, _HEADER_WORDS), np.uint32)
        wide = self._headers.view(np.uint64)
        wide[:, 2] = self._vectors.ctypes.data + number * 32
        wide[:, 3] = 2
        self._recvmmsg = ctypes.CDLL(None, use_errno=True).recvmmsg
        self._recvmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)

    def fill(self, sock: socket.socket, most: int = AT_ONCE) -> int:
        """Take datagrams, so many at most: how many, 0 if there is none. Raises OSError."""
        taken = self._recvmmsg(sock.fileno(), self._headers.ctypes.data, min(most, AT_ONCE), socket.MSG_DONTWAIT, None)
        if taken >= 0:
            return int(taken)
        error = ctypes.get_errno()
        if error == errno.EAGAIN:
            return 0
        raise OSError(error, os.strerror(error))

    def lengths(self, taken: int) -> Lengths:
        """Each datagram's length."""
        return self._headers[:taken, 14].copy()

    def truncated(self, taken: int) -> int:
        """How many were longer than both of their places."""
        return int(np.count_nonzero(self._headers[:taken, 12] & socket.MSG_TRUNC))

    def side_by_side(self, taken: int) -> memoryview:
        """The narrow places, whole: each datagram's, where none is longer."""
        return memoryview(self._narrow.data)[: taken * NARROW]

    def each(self, lengths: Sequence[int]) -> list[bytes]:
        """Each datagram by itself, whatever its length."""
        narrow, rest = memoryview(self._narrow.data), memoryview(self._rest.data)
        return [
            bytes(narrow[NARROW * number : NARROW * number + min(length, NARROW)])
            + bytes(rest[_REST * number : _REST * number + max(length - NARROW, 0)])
            for number, length in enumerate(lengths)
        ]


def packed(slabs: list[Bytes], batches: Sequence[Batch], array: Callable[[int], Bytes]) -> Datagrams:
    """The datagrams of batches kept in slabs.

    A batch lies whole in one slab. `array` makes the array for their bytes; `slabs` is emptied on the way.
    """
    if not batches:
        return Datagrams.of()
    lengths = np.concatenate([batch.lengths for batch in batches])
    offset = offsets(lengths)
    if len(slabs) == 1 and not any(batch.place for batch in batches):
        return Datagrams(slabs.pop(), offset)
    bases = offsets(np.array([batch.size for batch in batches]))
    starts = np.concatenate([batch.starts + base for batch, base in zip(batches, bases, strict=False)])
    data = array(int(offset[-1]))
    begin = first = 0
    while slabs:
        slab = slabs.pop(0)
        last = int(np.searchsorted(starts, begin + len(slab)))
        _pack(slab, starts[first:last] - begin, lengths[first:last], data, offset[first:last])
        begin, first = begin + len(slab), last
    return Datagrams(data, offset)


def _pack(slab: Bytes, starts: NDArray[np.int64], lengths: Lengths, data: Bytes, offset: NDArray[np.int64]) -> None:
    order = stable_order(lengths)
    for these in np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1):
        if len(these):
            copy_rows(slab, starts[these], data, offset[these], int(lengths[these[0]]))
