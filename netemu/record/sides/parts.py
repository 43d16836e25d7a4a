"""What the fragments of a datagram share (RFC 791, 3.2; RFC 8200, 4.5), as a number, and how long each one is."""

from __future__ import annotations

import numpy as np

from netemu.record.decode.headers import MORE, OFFSET
from netemu.record.decode.packets import Packets, Places
from netemu.record.decode.rows import Column, big_endian, mix, windows


def parts_of(data: Column, packets: Packets, places: Places) -> tuple[Column, Column]:
    """For each packet a number that its datagram's fragments share (0: it is none), and how many bytes each has.

    The bytes are those behind the IP header, and behind IPv6's fragment header, as the header has them.
    """
    part, size = np.zeros(len(packets), np.uint64), np.zeros(len(packets), np.int64)
    rows = np.flatnonzero((packets.fragment & (MORE | OFFSET)) != 0)
    if len(rows):
        halves = tuple(getattr(packets, name)[rows] for name in ("src_high", "src_low", "dst_high", "dst_low"))
        proto = np.where(packets.version[rows] == 6, 0, packets.proto[rows])
        part[rows] = part_number(packets.version[rows], proto, packets.ip_id[rows], halves)
        size[rows] = payload_size(data, places, rows)
    return part, size


def payload_size(data: Column, places: Places, rows: Column) -> Column:
    """How many bytes the IP headers of these rows say that there are behind them and their extension headers."""
    head = windows(data, places.network[rows], places.network_length[rows], 6)
    total, payload = (big_endian(head, place, 2).astype(np.int64) for place in (2, 4))
    before = places.transport[rows] - places.network[rows]
    found: Column = np.where(head[:, 0] >> 4 == 6, payload + 40, total) - before
    return found


def part_number(version: Column, proto: Column, ident: Column, halves: tuple[Column, ...]) -> Column:
    """A number for what a datagram's fragments share, never 0: each address comes in two halves, the source first."""
    total = mix(version.astype(np.uint64) << np.uint64(40) | proto.astype(np.uint64) << np.uint64(32) | ident)
    for place, half in enumerate(halves):
        total = mix(total ^ half, place)
    return total | np.uint64(1)
