"""Fragments (RFC 791, 3.2; RFC 8200, 4.5): frames that one pass left as, and frames that were put together again.

A packet that is too long for its link leaves its host as several frames, in order: those that bear its addresses and
id, from its own offset on. IPv6 gives the id on the way out, behind the last hook: there the first frame has the
packet's transport header, and all of them together its length. Who puts them together: reassembly.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from netemu.record.capture import OUTGOING
from netemu.record.decode.headers import MORE, OFFSET, TRANSPORT_SEEN
from netemu.record.decode.packets import Packets, locate
from netemu.record.decode.rows import (
    Column,
    big_endian,
    constant,
    digest,
    is_constant,
    mix,
    nth_to_nth,
    numbered,
    stable_order,
    windows,
)
from netemu.record.join.sightings import Sightings

_CHECKSUM = {6: 16, 17: 6, 58: 2}
_ATTRIBUTE = 4
"""Bytes of a netlink attribute's head, with its length in the machine's own order."""
_FURTHER = 1 << 17
"""More than any offset or length in bytes."""


def is_fragment(fragment: Column) -> Column:
    """Whether each is a part of a packet."""
    return _any_of(fragment, MORE | OFFSET)


def is_later(fragment: Column) -> Column:
    """Whether each is a part that does not begin with the transport's header."""
    return _any_of(fragment, OFFSET)


def _any_of(fragment: Column, bits: int) -> Column:
    if is_constant(fragment) and len(fragment):
        return constant(fragment[0] & bits != 0, np.bool_, len(fragment))
    return (fragment & bits) != 0


@dataclass(frozen=True, slots=True)
class Told:
    """Sightings (`rows`) of packets that only their order told from others where they were cut up.

    As order.py has it: `alike`, how many they are; `rivals`, 0 or a number that they share where order can't tell.
    """

    rows: Column
    alike: Column
    rivals: Column

    @classmethod
    def nothing(cls) -> Told:
        """No such packets."""
        return cls(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.uint64))


@dataclass(frozen=True, slots=True)
class Left:
    """Pairs of a pass (its place among those asked for) and a frame's row that it left as, pass by pass, in order."""

    place: Column
    row: Column
    told: Told


def left_in_parts(seen: Sightings, last: Column, point: Column, claimed: Column) -> Left:
    """Which frames passes left as.

    `last` are the rows of passes' last sightings that no frame was found for, in order, `point` where they went out
    (-1: not known), `claimed` the frames that are others'. Of packets with the same id (of IPv6: with equal headers)
    the n-th left as the n-th frames.
    """
    packets, nothing = seen.packets, np.empty(0, np.int64)
    mine = np.flatnonzero(point >= 0)
    if not len(mine):
        return Left(nothing, nothing, Told.nothing())
    rows = np.flatnonzero((seen.kind == OUTGOING) & is_fragment(packets.fragment[: seen.wires]) & ~claimed)
    if not len(rows):
        return Left(nothing, nothing, Told.nothing())
    cut = _Cut.of(seen, rows)
    six = packets.version[last[mine]] == 6
    whole = ~is_fragment(packets.fragment[last[mine]])
    both = [
        found
        for found in (
            _by_id(seen, cut, last, point, mine[~six]),
            _by_headers(seen, cut, last, point, mine[six & whole]),
        )
        if found is not None
    ]
    place, row, rows, alike, rivals = (
        (np.concatenate([nothing, *parts]) for parts in zip(*both, strict=True)) if both else [nothing] * 5
    )
    order = np.lexsort((row, seen.time_ns[row], place))
    return Left(place[order], row[order], Told(rows.astype(np.int64), alike.astype(np.int64), rivals.astype(np.uint64)))


_Found = tuple[Column, Column, Column, Column, Column]


@dataclass(frozen=True, slots=True)
class _Cut:
    """Frames that are fragments and went out, by what they share and in order of time; runs of them that go on.

    `run` numbers them over all; `code` is what the frames of a run share, `start` and `end` where in the packet each
    lies, in bytes.
    """

    rows: Column
    code: Column
    start: Column
    end: Column
    run: Column

    @classmethod
    def of(cls, seen: Sightings, rows: Column) -> _Cut:
        packets = seen.packets
        rows = rows[np.argsort(seen.time_ns[rows], kind="stable")]
        code = at(packets, rows, seen.point[rows])
        order = stable_order(code)
        rows, code = rows[order], code[order]
        same = np.append(False, code[1:] == code[:-1])
        twice = same & np.append(False, seen.digest[rows][1:] == seen.digest[rows][:-1])  # by the network
        rows, code = rows[~twice], code[~twice]
        start = starts(packets, rows)
        begins = np.append(True, (code[1:] != code[:-1]) | (start[1:] <= start[:-1]))
        return cls(rows, code, start, start + sizes(seen, rows), np.cumsum(begins) - 1)


def _by_id(seen: Sightings, cut: _Cut, last: Column, point: Column, mine: Column) -> _Found | None:
    """IPv4's: the frames that have the packet's addresses, protocol and id, and lie within it."""
    packets = seen.packets
    if not len(mine):
        return None
    code = at(packets, last[mine], point[mine])
    order = stable_order(code)
    mine, code = mine[order], code[order]
    start = starts(packets, last[mine])
    end = start + sizes(seen, last[mine])
    run = np.cumsum(np.append(True, (code[1:] != code[:-1]) | (start[1:] <= start[:-1]))) - 1
    key = numbered(np.concatenate([_nth(code, run), _nth(cut.code, cut.run)])) * _FURTHER
    mine_at, frame_at = key[: len(mine)] + start, key[len(mine) :] + cut.start
    sort = np.argsort(mine_at, kind="stable")
    place = sort[np.maximum(np.searchsorted(mine_at[sort], frame_at, "right") - 1, 0)]
    fits = (mine_at[place] // _FURTHER == frame_at // _FURTHER) & (mine_at[place] <= frame_at)
    more = (packets.fragment[cut.rows] & MORE) != 0
    goes_on = (packets.fragment[last[mine]] & MORE) != 0
    ends = cut.end + (more & ~goes_on[place])  # of a whole packet, one that has more to follow ends before its end
    fits &= (cut.start < end[place]) & (ends <= end[place])
    place = place[fits]
    # how often an id comes again on either side, and whether each packet's frames are as long together as it is
    length = np.bincount(place, (cut.end - cut.start)[fits], len(mine))
    number = numbered(np.concatenate([code, cut.code]))
    of_mine, of_frame = number[: len(mine)], number[len(mine) :]
    count = np.stack([_runs(of_mine, run, number), _runs(of_frame, cut.run, number)])
    whole = np.ones(len(count[0]), np.bool_)
    whole[of_mine[length != end - start]] = False
    unsure = (count.min(axis=0) > 0) & (count.max(axis=0) > 1) & ((count[0] != count[1]) | ~whole)
    alike = np.where(count.min(axis=0) > 0, count.max(axis=0), 1)
    told = np.concatenate([last[mine], cut.rows[fits]])
    of = np.concatenate([of_mine, of_frame[fits]])
    shared = np.concatenate([code, cut.code[fits]])
    some = alike[of] > 1
    rivals = np.where(unsure[of], shared | np.uint64(1), np.uint64(0))
    return mine[place], cut.rows[fits], told[some], alike[of][some], rivals[some]


def _by_headers(seen: Sightings, cut: _Cut, last: Column, point: Column, mine: Column) -> _Found | None:
    """IPv6's: the frames the first of which has the packet's headers, and that are as long together as it is.

    Then those of which some are missing behind the first, as if they were of a packet that is left.
    """
    first = np.flatnonzero(np.diff(cut.run, prepend=-1))
    final = np.append(first[1:], len(cut.rows)) - 1
    packets = seen.packets
    six = packets.version[cut.rows[first]] == 6
    run = np.flatnonzero(six & (cut.start[first] == 0))
    run = run[np.argsort(seen.time_ns[cut.rows[first[run]]], kind="stable")]
    if not len(mine) or not len(run):
        return None
    rows = cut.rows[first[run]]
    total = np.bincount(cut.run, cut.end - cut.start).astype(np.int64)[run]
    ends = (packets.fragment[cut.rows[final[run]]] & MORE) == 0
    whole = ends & (total == cut.end[final[run]])
    have, want = _headers_at(seen, rows, seen.point[rows]), _headers_at(seen, last[mine], point[mine])
    size = sizes(seen, last[mine])
    longer, known = (mix(codes ^ length.astype(np.uint64)) for codes, length in ((want, size), (have, total)))
    taken = np.full(len(run), -1, np.int64)
    alike, unsure = np.ones(len(mine), np.int64), np.zeros(len(mine), np.bool_)
    left = np.ones(len(mine), np.bool_)
    for wanted, codes, runs in ((longer, known, np.flatnonzero(whole)), (want, have, np.flatnonzero(~whole))):
        rest = np.flatnonzero(left)
        found = nth_to_nth(wanted[rest], codes[runs])
        taken[runs] = np.where(found >= 0, np.append(rest, -1)[found], -1)
        left[taken[runs][found >= 0]] = False
        number = numbered(np.concatenate([wanted[rest], codes[runs]]))
        passes, cuts = (np.bincount(of, minlength=len(number)) for of in (number[: len(rest)], number[len(rest) :]))
        mine_of = number[: len(rest)]
        told = cuts[mine_of] > 0
        rest, passes, cuts = rest[told], passes[mine_of[told]], cuts[mine_of[told]]
        alike[rest] = np.maximum(alike[rest], np.maximum(passes, cuts))
        unsure[rest] |= passes != cuts
    tied = taken >= 0
    place_of_run = np.full(int(cut.run[-1]) + 1, -1, np.int64)
    place_of_run[run[tied]] = taken[tied]
    place = place_of_run[cut.run]
    fits = place >= 0
    place = place[fits]
    rivals = np.where(unsure, want | np.uint64(1), np.uint64(0))
    some = alike > 1
    frames = some[place]
    return (
        mine[place],
        cut.rows[fits],
        np.concatenate([last[mine[some]], cut.rows[fits][frames]]),
        np.concatenate([alike[some], alike[place[frames]]]),
        np.concatenate([rivals[some], rivals[place[frames]]]),
    )


def _nth(code: Column, run: Column) -> Column:
    """A number for each run: of equal codes the n-th runs have the same. Rows stand code by code, run by run."""
    first = np.searchsorted(numbered(code), numbered(code))  # of its code
    return mix(code ^ mix((run - run[first]).astype(np.uint64), 5))


def _runs(of: Column, run: Column, number: Column) -> Column:
    """How many runs each of the numbers has."""
    begins = np.diff(run, prepend=-1) > 0
    return np.bincount(of[begins], minlength=int(number.max()) + 1)


def at(packets: Packets, rows: Column, where: Column) -> Column:
    """A digest of what a packet's parts share, and of where they are: addresses and id, of IPv4 its protocol too."""
    total = mix(packets.src_low[rows] ^ mix(packets.dst_low[rows], 3))
    total = mix(total ^ packets.src_high[rows] ^ mix(packets.dst_high[rows], 4))
    proto = np.where(packets.version[rows] == 4, packets.proto[rows], 256).astype(np.uint64)
    total = mix(total ^ (proto << np.uint64(32) | packets.ip_id[rows].astype(np.uint64)), 1)
    return mix(total ^ where.astype(np.uint64), 2)


def starts(packets: Packets, rows: Column) -> Column:
    """Where in its packet's payload each part lies, in bytes."""
    return (packets.fragment[rows] & OFFSET).astype(np.int64) * 8


def sizes(seen: Sightings, rows: Column) -> Column:
    """How many bytes there are behind each IP header, and behind an IPv6 fragment header, as the headers have it."""
    payload, extensions, _ = _headers_of(seen, rows)
    return payload - extensions


def payloads(seen: Sightings, rows: Column) -> Column:
    """How many bytes there are behind each IP header, extension headers included, as the header has it."""
    return _headers_of(seen, rows)[0]


def _headers_of(seen: Sightings, rows: Column) -> tuple[Column, Column, Column]:
    """How many bytes there are behind each IP header, how many of those are extension headers', the transport's 20.

    Of extension headers at hooks the trace tells nothing.
    """
    payload, extensions = np.zeros((2, len(rows)), np.int64)
    transport = np.zeros((len(rows), TRANSPORT_SEEN), np.uint8)
    host = seen.host_of_points()[seen.point[rows]]
    for place, capture in enumerate(seen.captures):
        mine = np.flatnonzero((host == place) & (rows < seen.wires))
        if len(mine):
            frames, frame = capture.frames, seen.frame[rows[mine]]
            found = locate(frames.data, frames.offset[:-1][frame], frames.offset[1:][frame])
            head = windows(frames.data, found.network, found.network_length, 20)
            extensions[mine] = np.where(head[:, 0] >> 4 == 6, found.transport - found.network - 40, 0)
            payload[mine] = _payload(head)
            transport[mine] = windows(frames.data, found.transport, found.transport_length, TRANSPORT_SEEN)
        mine = np.flatnonzero((host == place) & (rows >= seen.wires))
        if len(mine):
            hook, data = rows[mine] - seen.wires, capture.trace.data
            begins = seen.network[hook]
            payload[mine] = _payload(windows(data, begins, np.full(len(mine), 20), 20))
            behind = seen.transport[hook].astype(np.int64)
            head = windows(data, np.maximum(begins + behind - _ATTRIBUTE, 0), np.full(len(mine), 2), 2)
            length = np.where(behind > 0, head.view(np.uint16)[:, 0].astype(np.int64) - _ATTRIBUTE, 0)
            transport[mine] = windows(data, begins + behind, length, TRANSPORT_SEEN)
    return payload, extensions, transport


def _payload(head: Column) -> Column:
    """What IP headers say of the bytes behind them."""
    words = (head[:, 0] & 0xF).astype(np.int64) * 4
    total, payload = (big_endian(head, place, 2).astype(np.int64) for place in (2, 4))
    return np.where(head[:, 0] >> 4 == 4, total - words, payload)


def _headers_at(seen: Sightings, rows: Column, where: Column) -> Column:
    """A digest of an IPv6 packet's headers, without what its fragments have otherwise, and of where it is."""
    packets = seen.packets
    *_, transport = _headers_of(seen, rows)
    for protocol, place in _CHECKSUM.items():
        transport[packets.proto[rows] == protocol, place : place + 2] = 0
    total = mix(digest(transport, 7) ^ packets.src_low[rows] ^ mix(packets.dst_low[rows], 3))
    total = mix(total ^ packets.src_high[rows] ^ mix(packets.dst_high[rows], 4))
    few = packets.proto[rows].astype(np.uint64) << np.uint64(8) | packets.ttl[rows].astype(np.uint64)
    return mix(total ^ few ^ mix(where.astype(np.uint64), 8), 2)
