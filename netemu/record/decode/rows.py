"""Many byte strings at once: one flat buffer, a row a string, and the numbers in them as columns."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

Column = np.ndarray[Any, np.dtype[Any]]
"""One value a row."""

AT_ONCE = 1 << 15
"""Rows that are worked on together: their bytes should stay in the processor's cache."""

_ODD = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F], np.uint64)
_SHIFTS = np.array([29, 32], np.uint64)
_STEP = 0x165667B19E3779F9
"""Odd constants of well-known 64-bit mixers (splitmix64, xxHash)."""


def windows(data: Column, starts: Column, lengths: Column, width: int) -> Column:
    """The first `width` bytes of each row as a matrix, zeros behind a row's end. Rows lie within `data`."""
    least = int(lengths.min(initial=width))
    if least >= width:
        return _taken(data, starts, width)
    if least > 0 and least == int(lengths.max()):
        found = _taken(data, starts, width)
        _cut(found, least)
        return found
    found = _taken(data, np.where(lengths > 0, starts, 0), width)
    kept = np.tri(width + 1, width, -1, dtype=np.uint8)
    kept *= 255
    found &= kept[np.minimum(lengths, width)]
    return found


def _cut(matrix: Column, length: int) -> None:
    """Zeros behind the first bytes of each row: eight at once, where they are words."""
    if matrix.shape[1] % 8:
        matrix[:, length:] = 0
        return
    words, (whole, part) = matrix.view(np.uint64), divmod(length, 8)
    words[:, whole] &= np.frombuffer(b"\xff" * part + bytes(8 - part), np.uint64)[0]
    words[:, whole + 1 :] = 0


def _taken(data: Column, starts: Column, width: int) -> Column:
    """`width` bytes from each start on; zeros behind the buffer's end."""
    last = len(data) - width
    if not len(starts) or int(starts.max()) <= last:
        return _copied(data, starts, width)
    near_end = starts > last
    tail_from = max(last + 1, 0)
    tail = np.concatenate([data[tail_from:], np.zeros(width, np.uint8)])
    found = np.empty((len(starts), width), np.uint8)
    found[near_end] = _copied(tail, starts[near_end] - tail_from, width)
    if last >= 0:
        inside = ~near_end
        found[inside] = _copied(data, starts[inside], width)
    return found


def _copied(data: Column, starts: Column, width: int) -> Column:
    """The bytes from each start on, which are all there: numpy copies them fastest as one thing each."""
    if not len(starts):
        return np.empty((0, width), np.uint8)
    flat = np.ascontiguousarray(data)
    things = np.ndarray((len(flat) - width + 1,), f"V{width}", flat, 0, (1,))
    return things[starts].view(np.uint8).reshape(len(starts), width)


def big_endian(matrix: Column, place: int, size: int) -> Column:
    """The unsigned number of 2, 4 or 8 bytes in network byte order at one place of each row."""
    if place % size or matrix.shape[1] % size or not matrix.flags.c_contiguous:
        matrix, place = np.ascontiguousarray(matrix[:, place : place + size]), 0
    return matrix.view(f">u{size}")[:, place // size].astype(f"u{size}")


def digest(matrix: Column, seed: int = 0) -> Column:
    """A 64-bit number for each row: equal rows have equal ones, and others hardly ever (2**-64 each pair).

    Whoever joins by it compares the rows themselves afterwards: an equal number alone proves nothing.
    """
    spare = -matrix.shape[1] % 8
    if spare:
        matrix = np.pad(matrix, ((0, 0), (0, spare)))
    return digest_of(np.ascontiguousarray(matrix).view(np.uint64).T, seed)


def digest_of(words: Column, seed: int | Column = 0) -> Column:
    """The same of rows that stand in columns of 64-bit words; of a `seed` in columns there are one or as many."""
    count = words.shape[1]
    total = np.full(min(count, 1), seed, np.uint64) if isinstance(seed, int) else seed.astype(np.uint64)
    room = np.empty_like(total)
    for word in words if count else ():
        if len(total) < count and not same(word):  # up to there all rows are the same
            total, room = np.repeat(total, count), np.empty(count, np.uint64)
        total ^= word if len(total) == count else word[:1]
        _scatter(total, room)
    return total if len(total) == count else np.repeat(total, count)


def mix(numbers: Column, place: int = 0) -> Column:
    """Each 64-bit number scattered over all 64 bits, differently for each `place`; no two become the same."""
    if len(numbers) <= AT_ONCE:
        return _mixed(numbers, place)
    found = np.empty(len(numbers), np.uint64)
    for begin in range(0, len(numbers), AT_ONCE):
        found[begin : begin + AT_ONCE] = _mixed(numbers[begin : begin + AT_ONCE], place)
    return found


def _mixed(numbers: Column, place: int) -> Column:
    mixed = numbers + np.uint64((place + 1) * _STEP % 2**64)
    _scatter(mixed, np.empty_like(mixed))
    return mixed


def _scatter(numbers: Column, room: Column) -> None:
    """Scatter each number over all 64 bits, where it stands; 0 stays 0. There is `room` for as many."""
    for odd, bits in zip(_ODD, _SHIFTS, strict=True):
        numbers *= odd
        np.right_shift(numbers, bits, out=room)
        numbers ^= room


def whole_digest(data: Column, starts: Column, lengths: Column) -> Column:
    """`digest` of rows of any length."""
    found = np.zeros(len(starts), np.uint64)
    if not len(starts):
        return found
    alike = same(lengths)
    order = lengths[:0] if alike else stable_order((lengths + 7) >> 3)
    edges = [0, len(lengths)] if alike else np.flatnonzero(np.diff((lengths[order] + 7) >> 3, prepend=-1, append=-1))
    for begin, end in pairwise(map(int, edges)):
        width = (int(lengths[begin if alike else order[begin]]) + 7) // 8 * 8
        step = max(AT_ONCE * 32 // (width + 8), 1)
        for some in range(begin, end, step):
            part = slice(some, min(some + step, end))
            rows = part if alike else order[part]
            matrix, size = windows(data, starts[rows], lengths[rows], width), lengths[rows]
            seed = mix((size[:1] if same(size) else size).astype(np.uint64), 99)
            found[rows] = digest_of(matrix.view(np.uint64).T, seed)
    return found


def ranges(starts: Column, counts: Column) -> Column:
    """Each row's `counts` successive numbers from its start on, all in one column."""
    if (counts == 1).all():
        return starts.astype(np.int64)
    total = int(counts.sum())
    ends = np.cumsum(counts)
    return np.arange(total) - np.repeat(ends - counts - starts, counts)


def begins_run(values: Column) -> Column:
    """Whether each is another than the one before it; the first one is."""
    begins = np.ones(len(values), np.bool_)
    begins[1:] = values[1:] != values[:-1]
    return begins


def ranks(codes: Column) -> Column:
    """How many rows of the same code stand before each row."""
    order, ordered = arranged(codes)
    first = np.flatnonzero(begins_run(ordered))
    found = np.empty(len(codes), np.int64)
    found[order] = np.arange(len(codes)) - np.repeat(first, np.diff(first, append=len(codes)))
    return found


def found_in(codes: Column, known: Column) -> Column:
    """Whether each code is among `known`; np.isin, only that many are compared in the order of both."""
    known = np.sort(known)
    found = np.zeros(len(codes), np.bool_)
    if len(known):
        order, ordered = arranged(codes)
        place = np.minimum(np.searchsorted(known, ordered), len(known) - 1)
        found[order] = known[place] == ordered
    return found


def numbered(codes: Column) -> Column:
    """Equal codes get equal numbers, counted from 0."""
    order, ordered = arranged(codes)
    found = np.empty(len(codes), np.int64)
    found[order] = np.cumsum(begins_run(ordered)) - 1
    return found


def constant(value: Any, kind: type[np.generic], count: int) -> Column:
    """A column that has the same value in each row: it takes no memory, and is read-only."""
    found: Column = np.ndarray((count,), kind, np.array([value], kind), 0, (0,))
    found.flags.writeable = False
    return found


def row_kind(rows: int) -> type[np.signedinteger[Any]]:
    """In which numbers so many rows are counted, and -1 for none: in as few bytes as it takes."""
    return np.int32 if rows < 1 << 31 else np.int64


def same(column: Column) -> bool:
    """Whether all of its values are the same; it has one at least."""
    return bool(column[0] == column[-1]) and bool((column == column[0]).all())


def is_constant(column: Column) -> bool:
    """Whether a column is one that `constant` made."""
    return column.strides == (0,)


def chosen(column: Column, rows: Column) -> Column:
    """A column at some rows: constant where it was."""
    if is_constant(column) and rows.dtype != np.bool_:
        return constant(column[0], column.dtype.type, len(rows)) if len(rows) else column[:0]
    return column[rows]


def concatenated(parts: Sequence[Column], kind: type[np.generic]) -> Column:
    """All parts' values, one part after the other; constant where all parts are, and alike."""
    some = [part for part in parts if len(part)]
    if some and all(is_constant(part) and part[0] == some[0][0] for part in some):
        return constant(some[0][0], kind, sum(map(len, some)))
    return np.concatenate([np.empty(0, kind), *some], dtype=kind, casting="unsafe")


def spread(lengths: Column) -> Column:
    """For as many things of these lengths as there are, one after the other: whose each place is."""
    return np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)


def rising(numbers: Column) -> bool:
    """Whether none is less than the one before it."""
    return bool((numbers[1:] >= numbers[:-1]).all())


def distinct(codes: Column) -> tuple[Column, Column]:
    """The first row of each code, and for each row which of these it is like."""
    if not len(codes) or same(codes):
        return np.zeros(min(len(codes), 1), np.int64), np.zeros(len(codes), np.int64)
    order, ordered = arranged(codes)
    begins = begins_run(ordered)
    number = np.empty(len(codes), np.int64)
    number[order] = np.cumsum(begins) - 1
    return order[begins], number


def stable_order(codes: Column) -> Column:
    """The rows by their code, those of equal codes in their order; codes are not negative."""
    return arranged(codes)[0]


def arranged(codes: Column) -> tuple[Column, Column]:
    """The rows by their code, those of equal codes in their order, and the codes in that order.

    numpy sorts numbers ten times faster than it finds their order, so each number is sorted with its row in its lower
    bits. Where a code has no room for that, rows that are alike in its upper bits alone are put right afterwards.
    """
    codes = codes.astype(np.uint64, copy=False)
    bits = np.uint64(len(codes).bit_length())
    row = np.uint64((1 << int(bits)) - 1)
    fits = not len(codes) or int(codes.max()) < 1 << 64 - int(bits)
    packed = codes << bits if fits else codes & ~row
    packed |= np.arange(len(codes), dtype=np.uint64)
    packed.sort()
    order = (packed & row).view(np.int64)
    if fits:
        packed >>= bits
        return order, packed
    ordered = codes[order]
    packed &= ~row
    alike = packed[1:] == packed[:-1]
    alike &= ordered[1:] != ordered[:-1]
    if alike.any():
        upper = packed[1:][alike]
        mixed = np.flatnonzero(found_in(packed, upper))
        order[mixed] = order[mixed][np.lexsort((order[mixed], ordered[mixed]))]
        ordered[mixed] = codes[order[mixed]]
    return order, ordered


def nth_to_nth(have: Column, want: Column) -> Column:
    """For each wanted code the place of one that is equal, the n-th for the n-th; -1 for none."""
    have, want = (mix(codes ^ mix(ranks(codes).astype(np.uint64), 1), 2) for codes in (have, want))
    order = stable_order(have)
    place = np.append(order, -1)[np.searchsorted(have[order], want)]
    return np.where(np.append(have, np.uint64(0))[place] == want, place, -1)
