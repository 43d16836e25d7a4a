"""The blocks of a packet socket's ring, understood in bulk: frames of a whole record at once.

A block is a header and the frames that follow it, each with the distance to the next (TPACKET_V3: struct
tpacket_block_desc, tpacket3_hdr and, right behind it, sockaddr_ll, in linux/if_packet.h).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import as_strided, sliding_window_view
from numpy.typing import NDArray

from netemu.kernel.keeping.packing import CAPTURED, LISTED, PACKED, Listed, Packed, together
from netemu.record.capture import UNFINISHED, VOUCHED
from netemu.record.frames import Bytes, Frames, Offsets, offsets

BLOCK_STATUS, BLOCK_FRAMES, BLOCK_FIRST, BLOCK_LENGTH = 2, 3, 4, 5
"""Which words of a block's header are its status, number of frames, offset of the first, and whole length."""
_SECONDS, _NANOSECONDS, _CAPTURED, _LENGTH, _STATUS, _VLAN = 1, 2, 3, 4, 5, 8
_INTERFACE = 13
"""Which words of a frame's header hold what: tpacket3_hdr has 12 of them, sockaddr_ll comes behind it."""
_DATA, _VLAN_TYPE = 12, 18
"""Which halves of words: where the frame's bytes begin, and its VLAN tag's type."""
_KIND = 58
"""Which byte: sockaddr_ll's packet type."""
_VLAN_VALID, _VLAN_TPID_VALID = 1 << 4, 1 << 6
_TAG_AT, _TAG = 12, 4
"""Where in a frame its VLAN tag belongs, and how long it is: the kernel keeps it beside the frame."""


@dataclass(slots=True)
class _Columns:
    """The headers of the frames in one slab; `start` is where each one's bytes begin, `tag` its VLAN tag (or 0)."""

    slab: Bytes
    time_ns: NDArray[np.int64]
    interface: NDArray[np.int32]
    kind: NDArray[np.uint8]
    length: NDArray[np.int32]
    status: NDArray[np.uint8]
    captured: NDArray[np.int64]
    start: NDArray[np.int64]
    tag: NDArray[np.uint32]

    @property
    def whole(self) -> NDArray[np.int64]:
        """How long each frame is with its VLAN tag in its place."""
        longer: NDArray[np.int64] = self.captured + _TAG * (self.tag != 0)
        return longer

    def copy(self, data: Bytes, offset: NDArray[np.int64]) -> None:
        """Copy each frame's bytes to its place in `data`: all of one length at once."""
        tagged = self.tag != 0
        size = int(self.captured[0])
        if not tagged.any() and (self.captured == size).all():
            if not size:
                return
            if together(offset, size):
                data[offset[0] : offset[-1] + size].reshape(-1, size)[:] = _windows(self.slab, size)[self.start]
            else:
                copy_rows(self.slab, self.start, data, offset, size)
            return
        classes = self.captured * 2 + tagged
        order = np.argsort(classes, kind="stable")
        ends = np.flatnonzero(np.diff(classes[order])) + 1
        for these in np.split(order, ends):
            size, tags = int(self.captured[these[0]]), bool(tagged[these[0]])
            if tags:
                copy_rows(self.slab, self.start[these], data, offset[these], _TAG_AT)
                tag = self.tag[these].astype(">u4").view(np.uint8).reshape(-1, _TAG)
                _windows(data, _TAG)[offset[these] + _TAG_AT] = tag
                behind = _TAG_AT + _TAG
                copy_rows(self.slab, self.start[these] + _TAG_AT, data, offset[these] + behind, size - _TAG_AT)
            else:
                copy_rows(self.slab, self.start[these], data, offset[these], size)


class _Before:
    """Frames that come before those in blocks."""

    def __init__(self, frames: Frames) -> None:
        self._frames = frames
        self.time_ns, self.interface, self.kind = frames.time_ns, frames.interface, frames.kind
        self.length, self.status = frames.length, frames.status

    @property
    def whole(self) -> NDArray[np.int64]:
        """How long each frame is."""
        return np.diff(self._frames.offset)

    def copy(self, data: Bytes, offset: NDArray[np.int64]) -> None:
        """Copy the frames' bytes to their places in `data`."""
        starts = self._frames.offset[:-1]
        if (offset - offset[0] == starts).all():
            data[offset[0] : offset[0] + len(self._frames.data)] = self._frames.data
            return
        told = (self.time_ns, self.interface, self.kind, self.length, self.status)
        untagged = np.zeros(len(starts), np.uint32)
        _Columns(self._frames.data, *told, self.whole, starts, untagged).copy(data, offset)


def _array(size: int) -> Bytes:
    return np.empty(size, np.uint8)


def frames_of(
    slabs: list[Bytes],
    leave_out: Sequence[bytes] = (),
    at: int = 0,
    array: Callable[[int], Bytes] = _array,
    before: Frames | None = None,
    *,
    by_time: bool = False,
) -> Frames:
    """The frames in slabs of blocks, but for those that have one of `leave_out`'s byte strings at `at`.

    Frames of packed blocks are all there: what may have to be left out is not to be packed. `before` are frames to
    begin with. `array` makes the array for their bytes. They come in the order in which they are given, or in that of
    their times. `slabs` is emptied, so that each can go as soon as it was copied.
    """
    parts = [part for slab in slabs if len(slab) for part in _parts(slab, leave_out, at)]
    slabs.clear()
    if before is not None:
        parts.insert(0, _Before(before))
    if not parts:
        return Frames.of()
    time_ns = np.concatenate([part.time_ns for part in parts])
    disordered = by_time and (time_ns[1:] < time_ns[:-1]).any()
    order = np.argsort(time_ns, kind="stable") if disordered else slice(None)
    columns = (
        time_ns[order],
        np.concatenate([part.interface for part in parts])[order],
        np.concatenate([part.kind for part in parts])[order],
        np.concatenate([part.length for part in parts])[order],
        np.concatenate([part.status for part in parts])[order],
    )
    offset = offsets(np.concatenate([part.whole for part in parts])[order])
    places = np.empty_like(time_ns) if disordered else offset[:-1]
    if disordered:
        places[order] = offset[:-1]
    data = array(int(offset[-1]))
    first = 0
    parts.reverse()
    while parts:
        part = parts.pop()
        count = len(part.time_ns)
        if count:
            part.copy(data, places[first : first + count])
        first += count
    return Frames(*columns, data, offset)


def _parts(slab: Bytes, leave_out: Sequence[bytes], at: int) -> Iterator[_Columns | Packed | _Before]:
    """What a slab has: packed blocks each by itself, and what is between them together."""
    header = memoryview(slab.view(np.uint32))  # type: ignore[arg-type]
    block = first = 0
    while block < len(header):
        end = block + header[block + BLOCK_LENGTH] // 4
        kind, count = header[block], header[block + BLOCK_FRAMES]
        if kind in (PACKED, LISTED):
            if first < block:
                yield _without(_columns(slab[first * 4 : block * 4]), leave_out, at)
            if kind == PACKED:
                yield Packed.of(slab[block * 4 : end * 4], count, header[block + CAPTURED])
            else:
                yield _without(_columns_of(Listed.of(slab[block * 4 : end * 4], count)), leave_out, at)
            first = end
        block = end
    if first < block:
        yield _without(_columns(slab[first * 4 : block * 4]), leave_out, at)


def places(slab: Bytes) -> Offsets:
    """Where in a slab of whole blocks each frame's header begins."""
    words = slab.view(np.uint32)
    header = memoryview(words)  # type: ignore[arg-type]
    found: list[NDArray[np.int64]] = []
    block = 0
    while block < len(words):
        count, first = header[block + BLOCK_FRAMES], block + header[block + BLOCK_FIRST] // 4
        if count:
            found.append(_places(words, header, first, count))
        block += header[block + BLOCK_LENGTH] // 4
    if not found:
        return np.empty(0, np.int64)
    together: Offsets = np.concatenate(found) * 4
    return together


def _places(words: NDArray[np.uint32], header: memoryview, first: int, count: int) -> NDArray[np.int64]:
    """The words at which a block's frames begin: where all are equally long, without looking at each by itself."""
    step = header[first] // 4
    last = first + (count - 1) * step
    if step and last < len(words) and not np.count_nonzero(words[first:last:step] != step * 4):
        return np.arange(first, last + 1, step)
    found, place = [first], first
    for _ in range(count - 1):
        place += header[place] // 4
        found.append(place)
    return np.array(found, np.int64)


def _columns(slab: Bytes) -> _Columns:
    place = places(slab)
    first = place // 4
    words, halves = slab.view(np.uint32), slab.view(np.uint16)
    captured = words[first + _CAPTURED].astype(np.int64)
    tag = np.zeros(len(place), np.uint32)
    tagged = np.flatnonzero(words[first + _STATUS] & _VLAN_VALID)
    tagged = tagged[captured[tagged] >= _TAG_AT]
    if len(tagged):
        with_type = words[first[tagged] + _STATUS] & _VLAN_TPID_VALID != 0
        kind = np.where(with_type, halves[2 * first[tagged] + _VLAN_TYPE], 0x8100).astype(np.uint32)
        tag[tagged] = kind << 16 | words[first[tagged] + _VLAN]
    length = words[first + _LENGTH].astype(np.int32)
    length[tagged] += _TAG
    return _Columns(
        slab,
        words[first + _SECONDS].astype(np.int64) * 1_000_000_000 + words[first + _NANOSECONDS],
        words[first + _INTERFACE].astype(np.int32),
        slab[place + _KIND],
        length,
        (words[first + _STATUS] & (UNFINISHED | VOUCHED)).astype(np.uint8),
        captured,
        place + halves[2 * first + _DATA],
        tag,
    )


def _columns_of(frames: Listed) -> _Columns:
    """Those of a listed block: all of each frame was captured, but for a tag beside it."""
    captured = frames.length.astype(np.int64)
    tag = np.where(captured >= _TAG_AT, frames.tag, np.uint32(0))
    length = frames.length + np.int32(_TAG) * (tag != 0)
    told = (frames.time_ns, frames.interface, frames.kind, length, frames.status)
    return _Columns(frames.data, *told, captured, frames.start.astype(np.int64), tag)


def _without(part: _Columns, strings: Sequence[bytes], at: int) -> _Columns:
    """All frames but those with one of these strings, all of one length, at `at`."""
    if not strings or not len(part.start):
        return part
    size = len(strings[0])
    maybe = np.flatnonzero(part.captured >= at + size)
    for place in (0, 1):  # few frames are left to be looked at whole
        there = part.slab[part.start[maybe] + at + place]
        maybe = maybe[np.logical_or.reduce([there == octet for octet in {string[place] for string in strings}])]
    if not len(maybe):
        return part
    there = sliding_window_view(part.slab, size)[part.start[maybe] + at]
    keep = np.ones(len(part.start), bool)
    for string in strings:
        keep[maybe[(there == np.frombuffer(string, np.uint8)).all(axis=1)]] = False
    if keep.all():
        return part
    told = (part.time_ns, part.interface, part.kind, part.length, part.status)
    columns = (*told, part.captured, part.start, part.tag)
    return _Columns(part.slab, *(column[keep] for column in columns))  # type: ignore[arg-type]


def copy_rows(source: Bytes, start: NDArray[np.int64], data: Bytes, offset: NDArray[np.int64], size: int) -> None:
    """Copy rows of `size` bytes that begin at `start` in `source` to `offset` in `data`."""
    if size:
        _windows(data, size)[offset] = _windows(source, size)[start]


def _windows(data: Bytes, size: int) -> NDArray[np.uint8]:
    """Every stretch of `size` bytes, as rows that share the bytes."""
    return as_strided(data, (len(data) - size + 1, size), (1, 1))
