"""A netlink socket's datagrams put into a memory-mapped ring by a filter on the socket, before they would be queued.

To queue an event and to take it off a socket costs the kernel more than to make it, on the sender's core and on the
reader's. The filter is an eBPF program: it copies each datagram into the ring (BPF_MAP_TYPE_RINGBUF, Linux 5.8) and
tells the socket to drop it, without counting that. Once the ring is full the datagrams are queued as they would be
without it, until the reader has emptied the ring: nothing is lost before the socket's buffer is full too, and what is
lost then is counted there. The order stays: a record says how many datagrams were queued before it.
See kernel/bpf/ringbuf.c, and do_one_broadcast in net/netlink/af_netlink.c.
"""

from __future__ import annotations

import mmap
import os
import socket
import struct

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from netemu.kernel.ebpf import bpf
from netemu.kernel.ebpf.bpf import Instruction as Do

PLACE = 320
"""Bytes of a record in the ring, unless its datagram is too long for that: TCP's over IPv6, tracked, have up to 264."""
LEAD = 16
"""Bytes of a record before its datagram: struct bpf_ringbuf_hdr, the length, how many were queued before it."""
_HEADER = 8
_LONG_PLACE = 2048
_STEPS = {place - _HEADER: place // 4 for place in (PLACE, _LONG_PLACE)}
"""What the first word of a whole record says, and how many words on the next begins."""
_BUSY, _DISCARDED, _LENGTH = 1 << 31, 1 << 30, (1 << 30) - 1
_SO_ATTACH_BPF = 50
_RESERVE, _SUBMIT, _DISCARD, _LOAD_BYTES = 131, 132, 133, 26
"""bpf_ringbuf_reserve, _submit and _discard, bpf_skb_load_bytes."""
_ALL, _NONE = -1, 0
"""How much of it the socket is given."""


_FULL, _QUEUED = 0, 8
"""Where in the words that the program shares with us it says whether the ring was full, and how many it queued."""


def _program(ring: int, words: int) -> bytes:
    """r6 is the packet (struct __sk_buff), r7 its length, r8 its place in the ring, r9 how many were queued before."""
    return bpf.assembled(
        {
            "begin": [
                Do(bpf.MOVE, 6, 1),
                Do(bpf.LOAD_WORD, 7, 6),
                *bpf.load_value(1, words),
                Do(bpf.LOAD_WORD, 9, 1, _QUEUED),
                Do(bpf.LOAD_WORD, 2, 1, _FULL),
                Do(bpf.JUMP_UNLESS_EQUAL, 2, to="queue"),
                Do(bpf.JUMP_IF_LESS, 7, number=1, to="queue"),
            ],
            "short": _keep(ring, PLACE, "long"),
            "long": _keep(ring, _LONG_PLACE, "full"),
            "discard": [Do(bpf.MOVE, 1, 8), Do(bpf.NUMBER, 2), Do(bpf.CALL, number=_DISCARD)],
            "full": [*bpf.load_value(1, words), Do(bpf.STORE_NUMBER, 1, offset=_FULL, number=1)],
            "queue": [
                *bpf.load_value(1, words),
                Do(bpf.NUMBER, 2, number=1),
                Do(bpf.ADD_TO_LONG, 1, 2, _QUEUED),
                Do(bpf.NUMBER, 0, number=_ALL),
                Do(bpf.EXIT),
            ],
            "kept": [Do(bpf.NUMBER, 0, number=_NONE), Do(bpf.EXIT)],
        }
    )


def _keep(ring: int, place: int, longer: str) -> list[Do]:
    """Copy the packet to a new record; go on at `longer` if it does not fit."""
    return [
        Do(bpf.JUMP_IF_MORE, 7, number=place - LEAD, to=longer),
        *bpf.load_map(1, ring),
        Do(bpf.NUMBER, 2, number=place - _HEADER),
        Do(bpf.NUMBER, 3),
        Do(bpf.CALL, number=_RESERVE),
        Do(bpf.JUMP_IF_EQUAL, 0, to="full"),
        Do(bpf.MOVE, 8, 0),
        Do(bpf.STORE_WORD, 8, 7),
        Do(bpf.STORE_WORD, 8, 9, 4),
        Do(bpf.MOVE, 1, 6),
        Do(bpf.NUMBER, 2),
        Do(bpf.MOVE, 3, 8),
        Do(bpf.ADD_NUMBER, 3, number=LEAD - _HEADER),
        Do(bpf.MOVE, 4, 7),
        Do(bpf.CALL, number=_LOAD_BYTES),
        Do(bpf.JUMP_UNLESS_EQUAL, 0, to="discard"),
        Do(bpf.MOVE, 1, 8),
        Do(bpf.NUMBER, 2),
        Do(bpf.CALL, number=_SUBMIT),
        Do(bpf.JUMP, to="kept"),
    ]


class Outlet:
    """The ring of one socket: made, it is in use; `close` it after the socket. Not for two threads at once.

    `size` is a power of two, of pages. Raises OSError where the kernel has no such thing, or does not let us.
    """

    def __init__(self, sock: socket.socket, size: int) -> None:
        opened = list[int]()
        try:
            opened.append(bpf.ring_buffer(size))
            opened.append(bpf.shared_bytes(16))
            opened.append(bpf.socket_filter(_program(*opened)))
            ring, words, program = opened
            self._shared = mmap.mmap(words, mmap.PAGESIZE)
            self._ours = mmap.mmap(ring, mmap.PAGESIZE)
            self._theirs = mmap.mmap(ring, mmap.PAGESIZE + 2 * size, prot=mmap.PROT_READ, offset=mmap.PAGESIZE)
            sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_BPF, struct.pack("=i", program))
        except OSError:
            for each in opened:
                os.close(each)
            raise
        os.close(words)
        os.close(program)
        self.size = size
        self.descriptor = ring
        self._words = memoryview(self._shared)[:16].cast("Q")
        self._taken = memoryview(self._ours)[:8].cast("Q")
        self._filled = memoryview(self._theirs)[:8].cast("Q")
        self._bytes = memoryview(self._theirs)[mmap.PAGESIZE :]

    @property
    def overflows(self) -> bool:
        """Whether the ring was full: what came since was queued."""
        return self._words[_FULL // 8] != 0

    def reopen(self) -> None:
        """Put datagrams in the ring again."""
        self._words[_FULL // 8] = 0

    @property
    def queued(self) -> int:
        """How many datagrams were queued so far: all that the ring holds before the last of them is before `end`."""
        return self._words[_QUEUED // 8]

    @property
    def begin(self) -> int:
        """From where on records were not taken yet."""
        return self._taken[0]

    @property
    def end(self) -> int:
        """Up to where the ring is filled at this moment."""
        return self._filled[0]

    def first_waits_for(self, queued: int, end: int) -> int:
        """How many more than `queued` were queued before the first record up to `end`; 0 if none, or not known yet."""
        with self.records(end) as records:
            if not len(records):
                return 0
            said, _, _, before = struct.unpack_from("=4I", records)
            return 0 if said & _BUSY else max(ahead(before, queued), 0)

    def records(self, end: int) -> memoryview:
        """The records up to `end`, as far as they are whole: in one piece, though the ring may go round."""
        at = self.begin % self.size
        return self._bytes[at : at + end - self.begin]

    def release(self, length: int) -> None:
        """So many bytes of records were taken: there is room for others."""
        self._taken[0] += length

    def close(self) -> None:
        """Let go of the ring; once is enough, twice does no harm."""
        if self.descriptor < 0:
            return
        for view in (self._words, self._taken, self._filled, self._bytes):
            view.release()
        for mapped in (self._shared, self._ours, self._theirs):
            mapped.close()
        os.close(self.descriptor)
        self.descriptor = -1


def ahead(before: int, queued: int) -> int:
    """How many more than `queued` had been queued `before` a record, which has 32 bits for it; 0 or less if none."""
    return (before - queued + (1 << 31) & (1 << 32) - 1) - (1 << 31)


def first_ahead(before: NDArray[np.uint32], queued: int) -> int:
    """Which record is the first for which `ahead` tells some; how many there are if none is."""
    waiting = np.flatnonzero((before - np.uint32(queued & 0xFFFFFFFF)).view(np.int32) > 0)
    return int(waiting[0]) if len(waiting) else len(before)


Kept = tuple[NDArray[np.uint32], NDArray[np.uint32]]
"""Of records, the length of each one's datagram and how many datagrams were queued before it."""


def alike(records: memoryview) -> Kept | None:
    """What records say where all of them are whole and of `PLACE` bytes, else None."""
    if len(records) % PLACE:
        return None
    words = np.frombuffer(records, np.uint32).reshape(-1, PLACE // 4)
    return (words[:, 2].copy(), words[:, 3].copy()) if (words[:, 0] == PLACE - _HEADER).all() else None


def whole(records: memoryview) -> NDArray[np.int64]:
    """Where records of both sizes begin, up to the first that is not whole, or was discarded."""
    words, found, at = records.cast("I"), list[int](), 0
    while at < len(words) and (words_on := _STEPS.get(words[at])):
        found.append(at)
        at += words_on
    return np.array(found, np.int64) * 4


def said(records: memoryview, starts: NDArray[np.int64]) -> Kept:
    """What the records say that begin there."""
    words, first = np.frombuffer(records, np.uint32), starts // 4
    return words[first + 2], words[first + 3]


def gather(
    records: memoryview, starts: NDArray[np.int64], lengths: NDArray[np.uint32], rows: NDArray[np.uint8]
) -> None:
    """Copy the datagrams of the records that begin there into rows, which are as wide as the longest or wider."""
    data, is_long = np.frombuffer(records, np.uint8), lengths > PLACE - LEAD
    for these, place in ((np.flatnonzero(~is_long), PLACE), (np.flatnonzero(is_long), _LONG_PLACE)):
        size = min(rows.shape[1], place - LEAD)
        if len(these):
            rows[these, :size] = sliding_window_view(data, size)[starts[these] + LEAD]


def end_of(starts: NDArray[np.int64], lengths: NDArray[np.uint32]) -> int:
    """Where the last of the records ends that begin there."""
    return int(starts[-1]) + (PLACE if lengths[-1] <= PLACE - LEAD else _LONG_PLACE)


def one_by_one(records: memoryview, queued: int) -> tuple[int, list[bytes]]:
    """How many bytes of records are whole and came before more than `queued` were queued; the datagrams in them."""
    at, found = 0, []
    while at < len(records):
        said, _, length, before = struct.unpack_from("=4I", records, at)
        if said & _BUSY or ahead(before, queued) > 0:
            break
        if not said & _DISCARDED:
            found.append(bytes(records[at + LEAD : at + LEAD + length]))
        at += -(-(_HEADER + (said & _LENGTH)) // 8) * 8
    return at, found
