"""IPv4's fragments (RFC 791, 3.2): frames that one pass left as, and frames that were put together again.

A packet that is too long for its link leaves its host as several frames, in order: those that bear its addresses,
protocol and id, from its own offset on. A host that tracks, or that the packet is for, puts them together: the pass of
the last one to come goes on with the whole packet, those of the others end there.
"""

from __future__ import annotations

import numpy as np

from netemu.record.capture import OUTGOING
from netemu.record.decode.headers import MORE, OFFSET
from netemu.record.decode.packets import Packets
from netemu.record.decode.rows import Column, mix, stable_order
from netemu.record.join.sightings import Sightings


def is_fragment(fragment: Column) -> Column:
    """Whether each is a part of a packet."""
    return (fragment & (MORE | OFFSET)) != 0


def is_later(fragment: Column) -> Column:
    """Whether each is a part that does not begin with the transport's header."""
    return (fragment & OFFSET) != 0


def _is_part(packets: Packets, rows: Column | slice) -> Column:
    """Whether each is a fragment that is followed: IPv4's. IPv6's are packets of their own (docs/how-it-works.md)."""
    return is_fragment(packets.fragment[rows]) & (packets.version[rows] == 4)


def left_in_parts(seen: Sightings, last: Column, point: Column, claimed: Column) -> tuple[Column, Column]:
    """Which frames passes left as: pairs of a place in `last` and a frame's row, pass by pass, in order.

    `last` are the rows of passes' last sightings that no frame was found for, in order, `point` where they went out
    (-1: not known), `claimed` the frames that are others'. Of packets with the same id the n-th left as the n-th parts.
    """
    packets = seen.packets
    frames = np.flatnonzero((seen.kind == OUTGOING) & _is_part(packets, slice(seen.wires)) & ~claimed)
    mine = np.flatnonzero(point >= 0)
    if not len(frames) or not len(mine):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    frames = frames[np.argsort(seen.time_ns[frames], kind="stable")]
    waiting: dict[int, list[int]] = {}
    for row, code in zip(frames.tolist(), _at(packets, frames, seen.point[frames]).tolist(), strict=True):
        waiting.setdefault(code, []).append(row)
    found: list[tuple[int, int]] = []
    offset, more = packets.fragment & OFFSET, (packets.fragment & MORE) != 0
    for place, code in zip(mine.tolist(), _at(packets, last[mine], point[mine]).tolist(), strict=True):
        if (rows := waiting.get(code)) is not None:
            run = _run(rows, int(offset[last[place]]), bool(more[last[place]]), offset, more)
            if run and not more[last[place]] and more[run[0]] and packets.length[run[0]] >= packets.length[last[place]]:
                continue  # as much as the whole packet, and yet more to follow: a damaged frame, and no part of it
            found += [(place, row) for row in run]
    pairs = np.array(found, np.int64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def _run(rows: list[int], first: int, part: bool, offset: Column, more: Column) -> list[int]:
    """Take a packet's parts off the front of those that wait: from its own offset on, as long as they go on."""
    begin = next((place for place, row in enumerate(rows) if offset[row] == first), None)
    if begin is None:
        return []
    end = begin + 1
    while end < len(rows) and offset[rows[end]] > offset[rows[end - 1]] and (part or more[rows[end - 1]]):
        end += 1
    run = rows[begin:end]
    del rows[begin:end]
    return run


def put_together(seen: Sightings, host: Column, came: Column, last: Column) -> Column:
    """Whether each pass is of a part that its host put together with others, in another's pass: no end of the packet.

    `host`, the frame that each pass `came` from and the row of its `last` sighting (-1 for none) are the passes'.
    """
    packets = seen.packets
    if not len(seen):
        return np.zeros(len(came), np.bool_)
    fragment = np.append(packets.fragment, 0)
    part = (came >= 0) & _is_part(packets, came)
    whole = part & (last >= 0) & ~is_fragment(fragment[last])
    stays = np.flatnonzero(part & ((last < 0) | is_fragment(fragment[last])))
    goes_on = np.flatnonzero(whole)
    found = np.zeros(len(came), np.bool_)
    if not len(stays) or not len(goes_on):
        return found
    codes = _at(packets, came[goes_on], host[goes_on])
    order = stable_order(codes)
    codes, times = codes[order], seen.time_ns[came[goes_on]][order]
    latest = np.maximum.reduceat(times, np.flatnonzero(np.diff(codes, prepend=~codes[:1])))
    known = np.unique(codes)
    mine = _at(packets, came[stays], host[stays])
    place = np.minimum(np.searchsorted(known, mine), len(known) - 1)
    found[stays] = (known[place] == mine) & (seen.time_ns[came[stays]] <= latest[place])
    return found


def _at(packets: Packets, rows: Column, where: Column) -> Column:
    """A digest of what a packet's parts share (RFC 791: addresses, protocol, id), and of where they are."""
    total = mix(packets.src_low[rows] << np.uint64(32) | packets.dst_low[rows])
    total = mix(total ^ (packets.proto[rows].astype(np.uint64) << np.uint64(16) | packets.ip_id[rows]), 1)
    return mix(total ^ where.astype(np.uint64), 2)
