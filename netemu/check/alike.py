"""Which packets an expectation can't tell apart: one of them is judged for all.

A million packets that one expectation selects are of a few kinds, as far as it looks: what it asks of addresses is
asked here of all at once, and what else it may look at (the states, turns and changes at its point) is counted as a
kind. So each packet of a kind gets the verdict of any other.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import numpy as np

from netemu.record.decode.packets import Packets
from netemu.record.decode.rows import AT_ONCE, Column, is_constant, mix, ranges, spread
from netemu.record.join.fragments import is_later
from netemu.record.journeys import Chosen, Journeys
from netemu.topology.expectation import PacketExpectation
from netemu.topology.points import Point
from netemu.topology.values import Endpoint

_NOTHING = np.zeros(1, np.uint64)
"""The sum of no values."""


def kinds(expectation: PacketExpectation, selected: Chosen) -> Column:
    """A number for each selected packet; those with equal numbers are alike to this expectation."""
    journeys, arranged = selected.journeys, selected.arranged
    places = selected.places if arranged is None else selected.places[arranged]
    if expectation.path is None:
        wanted = Point.parse(str(expectation.at))
        asked = np.array([point == wanted for point in journeys.seen.points], np.bool_)
    else:
        asked = np.array([point.stage is None for point in journeys.seen.points], np.bool_)
    usual: dict[int, Any] = {}
    found = np.empty(len(places), np.uint64)
    for begin in range(0, len(places), AT_ONCE):
        some = slice(begin, begin + AT_ONCE)
        found[some] = _kinds(expectation, journeys, asked, places[some], usual)
    if arranged is None:
        return found
    in_order = np.empty_like(found)
    in_order[arranged] = found
    return in_order


def _kinds(
    expectation: PacketExpectation, journeys: Journeys, asked: Column, places: Column, usual: dict[int, Any]
) -> Column:
    """The same of some packets, in order; of each point, whether it is `asked` about."""
    laid, seen, points = journeys.laid, journeys.seen, journeys.point_at
    begins = laid.offset[:-1][places]
    count = laid.offset[1:][places] - begins
    if places[-1] - places[0] + 1 == len(places):
        here = points[begins[0] : begins[-1] + count[-1]]
        only = np.flatnonzero(asked)
        there = np.flatnonzero(here == only[0] if len(only) == 1 else asked[here])
        position = there + begins[0]
    else:
        position = ranges(begins, count)
        there = np.flatnonzero(asked[points[position]])
        position = position[there]
    packet = _whose(there, np.cumsum(count) - count, count)
    row = laid.rows[position]
    if expectation.path is not None:
        told = [points[position], is_later(seen.packets.fragment[row])]
    else:
        told = _told(expectation, journeys, position, row, position == begins[packet])
    return _summed(_mixed(told, len(row), usual), packet, len(places))


def _whose(place: Column, begins: Column, count: Column) -> Column:
    """Which of several things, that begin there and are so long, each place is of."""
    if len(place) == len(begins) and (place >= begins).all() and (place < begins + count).all():
        return np.arange(len(place), dtype=np.int32)  # one of each
    return spread(count)[place]


def _told(
    expectation: PacketExpectation, journeys: Journeys, position: Column, row: Column, first: Column
) -> list[Column]:
    """What an expectation looks at, of each sighting at its point; `first` are those that begin their journeys."""
    laid, seen = journeys.laid, journeys.seen
    before = journeys.row_before[position]
    told = [first, seen.packets.ttl[row], is_later(seen.packets.fragment[row]), _changed(seen.packets, row, before)]
    if len(seen) > seen.wires:
        last = laid.rows[np.where(first, position, position - 1)]
        told += [seen.states_of(row), seen.states_of(last), seen.states_of(before)]
        told.append(_turns(seen.turns, *seen.turns_of(row)))
    for side in ("src", "dst"):
        asked = getattr(expectation, side)
        if asked is not None:
            told.append(_fits(Endpoint.parse(asked), seen.packets, side, row))
    return told


def _mixed(told: list[Column], rows: int, usual: dict[int, Any]) -> Column:
    """A number for each row, of all columns; a column's `usual` value, its first one ever, adds nothing to it."""
    number = np.zeros(rows, np.uint64)
    for place, column in enumerate(told):
        if rows and (other := column != usual.setdefault(place, column[0])).any():
            number = np.where(other, mix(number ^ column.astype(np.uint64), place), number)
    return number


def _summed(values: Column, packet: Column, packets: int) -> Column:
    """A number for each packet, of its values in their order, or of none; `packet` does not fall."""
    values = mix(values, 1)
    if len(values) == packets and (packet[1:] > packet[:-1]).all():
        return mix(mix(values)) + np.uint64(1)  # one each: what the sum would give
    begins = np.searchsorted(packet, np.arange(packets, dtype=packet.dtype))
    place = np.arange(len(values)) - begins[packet] if len(packet) else packet
    total = np.concatenate([_NOTHING, np.cumsum(mix(values + place.astype(np.uint64)))])
    ends = np.append(begins[1:], len(values))
    return mix(total[ends] - total[begins]) + (ends - begins).astype(np.uint64)


def _changed(packets: Packets, row: Column, before: Column) -> Column:
    """Which of source, destination and TTL are not what they were at the sighting before, as bits."""
    found = np.zeros(len(row), np.uint8)
    moved = np.flatnonzero(row != before)
    if len(moved):
        row, before = (each if len(moved) == len(found) else each[moved] for each in (row, before))
        bits = _differs(packets.ttl, row, before) | _differs(packets.version, row, before) << 1
        for bit, side, port in ((2, "src", "sport"), (3, "dst", "dport")):
            for name in (f"{side}_high", f"{side}_low", port):
                bits |= _differs(getattr(packets, name), row, before) << bit
        found[moved] = bits
    return found


def _differs(column: Column, row: Column, before: Column) -> Column:
    if is_constant(column):
        return np.zeros(len(row), np.uint8)
    return (column[row] != column[before]).astype(np.uint8)


def _turns(turns: Column, first: Column, count: Column) -> Column:
    """A number for the turns before each sighting."""
    if not count.any():
        return np.broadcast_to(mix(_NOTHING), len(count))
    whose = np.repeat(np.arange(len(first)), count)
    return _summed(turns[ranges(first, count)].astype(np.uint64), whose, len(first))


def _fits(asked: Endpoint, packets: Packets, side: str, row: Column) -> Column:
    """Whether each packet's source or destination is what is asked."""
    fits = np.ones(len(row), np.bool_)
    if asked.port is not None:
        fits &= getattr(packets, "sport" if side == "src" else "dport")[row] == asked.port
    if asked.address is not None:
        address = ip_address(asked.address)  # Endpoint.parse wrote it as it is written
        fits &= packets.version[row] == address.version
        fits &= getattr(packets, f"{side}_low")[row] == np.uint64(int(address) & 0xFFFFFFFFFFFFFFFF)
        if address.version == 6:
            fits &= getattr(packets, f"{side}_high")[row] == np.uint64(int(address) >> 64)
    return fits
