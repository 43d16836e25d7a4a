"""Which packets an expectation can't tell apart: one of them is judged for all.

A million packets that one expectation selects are of a few kinds, as far as it looks: what it asks of addresses is
asked here of all at once, and what else it may look at (the states, turns and changes at its point) is counted as a
kind. So each packet of a kind gets the verdict of any other. Where several expectations look at the same packets at
the same point, they differ in the addresses alone: all else is counted once.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

import numpy as np

from netemu.record.decode.packets import Packets
from netemu.record.decode.rows import AT_ONCE, Column, concatenated, constant, is_constant, mix, ranges, same, spread
from netemu.record.join.forest import Laid
from netemu.record.join.fragments import is_later
from netemu.record.journeys import Chosen, Journeys
from netemu.topology.expectation import PacketExpectation
from netemu.topology.points import Point
from netemu.topology.values import Endpoint

_NOTHING = np.zeros(1, np.uint64)
"""The sum of no values."""
_POINTS_KEPT = 4
"""How many points' visits are kept: expectations of one point tend to stand together."""


@dataclass(frozen=True, slots=True)
class _Visits:
    """The visits of packets to a point, in order: their rows, which packet each is of; then each packet's kind.

    Those to all wires are not kept: what a path asks is of no address.
    """

    row: Column
    packet: Column
    kind: Column


class Alike:
    """Some packets, and what was looked at of them for one expectation after the other."""

    def __init__(self, selected: Chosen) -> None:
        self._journeys = selected.journeys
        self._arranged = selected.arranged
        self._places = selected.places if self._arranged is None else selected.places[self._arranged]
        self._kept: dict[Point | None, _Visits] = {}

    def kinds(self, expectation: PacketExpectation) -> Column:
        """A number for each selected packet; those with equal numbers are alike to this expectation."""
        visits = self._visits(None if expectation.path is not None else Point.parse(str(expectation.at)))
        found, packets = visits.kind, self._journeys.seen.packets
        for place, side in enumerate(("src", "dst")):
            asked = getattr(expectation, side)
            if asked is not None and not (fits := _fits(Endpoint.parse(asked), packets, side, visits.row)).all():
                found = mix(found ^ _summed(fits.astype(np.uint64), visits.packet, len(found)), place)
        if self._arranged is None or is_constant(found):
            return found
        in_order = np.empty_like(found)
        in_order[self._arranged] = found
        return in_order

    def _visits(self, point: Point | None) -> _Visits:
        """Those to a point, or to all wires."""
        if point not in self._kept:
            if len(self._kept) >= _POINTS_KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[point] = _visits(self._journeys, self._places, point)
        return self._kept[point]


def _visits(journeys: Journeys, places: Column, point: Point | None) -> _Visits:
    """The visits of some packets, in order, to a point or to all wires."""
    points = journeys.seen.points
    asked = np.array([each.stage is None if point is None else each == point for each in points], np.bool_)
    usual: dict[int, Any] = {}
    nothing = np.empty(0, np.int32)
    rows, packets, kinds = [nothing], [nothing], [np.empty(0, np.uint64)]
    for begin in range(0, len(places), AT_ONCE):
        row, packet, kind = _looked_at(journeys, asked, places[begin : begin + AT_ONCE], usual, point is None)
        kinds.append(kind)
        if point is not None:
            rows.append(row)
            packets.append(packet + begin)
    return _Visits(np.concatenate(rows), np.concatenate(packets), concatenated(kinds, np.uint64))


def _looked_at(
    journeys: Journeys, asked: Column, places: Column, usual: dict[int, Any], path: bool
) -> tuple[Column, Column, Column]:
    """Some packets' visits to the points that are `asked` about, which packet each is of, and each packet's kind."""
    laid, seen = journeys.laid, journeys.seen
    position: Column | slice
    if places[-1] - places[0] + 1 == len(places):
        edges = laid.offset[places[0] : places[-1] + 2]
        begins, count, position = edges[:-1], edges[1:] - edges[:-1], slice(int(edges[0]), int(edges[-1]))
    else:
        begins = laid.offset[:-1][places]
        count = laid.offset[1:][places] - begins
        position = ranges(begins, count)
    here = journeys.point_at[position]
    one_way = _one_way(here, count)
    if path and one_way is not None and is_constant(seen.packets.fragment):
        told = [one_way[asked[one_way]], is_later(seen.packets.fragment[:1])]
        number = _summed(_mixed(told, len(told[0]), usual), np.zeros(len(told[0]), np.int32), 1)
        return here[:0], here[:0], constant(number[0], np.uint64, len(places))
    visited = np.flatnonzero(asked[one_way]) if one_way is not None else here[:0]
    if len(visited) == 1:  # each packet was there once, at the same place of its journey
        place = int(visited[0])
        packet, first = np.arange(len(places), dtype=np.int32), constant(place == 0, np.bool_, len(places))
        if isinstance(position, slice):
            position = slice(position.start + place, position.stop, int(count[0]))
        else:
            position = begins + place
    else:
        there = np.flatnonzero(asked[here])
        packet = spread(count)[there]
        position = there + position.start if isinstance(position, slice) else position[there]
        first = position == begins[packet]
    row = laid.rows[position]
    if path:
        told = [journeys.point_at[position], is_later(_at(seen.packets.fragment, row))]
    else:
        told = _told(journeys, position, row, first)
    return row, packet, _summed(_mixed(told, len(row), usual), packet, len(places))


def _one_way(here: Column, count: Column) -> Column | None:
    """The points that each of several packets came to, one after the other, where they are the same for all.

    `here` are all of their points, of which each packet has `count`.
    """
    each = int(count[0])
    if not each or not same(count) or not (here.reshape(-1, each) == here[:each]).all():
        return None
    return here[:each]


def _told(journeys: Journeys, position: Column | slice, row: Column, first: Column) -> list[Column]:
    """What any expectation may look at, of each sighting at its point; `first` are those that begin their journeys."""
    laid, seen = journeys.laid, journeys.seen
    before = journeys.row_before[position]
    told = [first, _at(seen.packets.ttl, row), is_later(_at(seen.packets.fragment, row))]
    told.append(_changed(seen.packets, row, before))
    if len(seen) > seen.wires:
        told += [seen.states_of(row), seen.states_of(_last(laid, position, row, first)), seen.states_of(before)]
        told.append(_turns(seen.turns, *seen.turns_of(row)))
    return told


def _last(laid: Laid, position: Column | slice, row: Column, first: Column) -> Column:
    """The row that stands before each in its journey, whether it led there or not; its own where it is the `first`."""
    if isinstance(position, slice):
        return row if first.all() else laid.rows[position.start - 1 : position.stop : position.step]
    return laid.rows[np.where(first, position, position - 1)]


def _at(column: Column, row: Column) -> Column:
    """A column at some rows; of what is the same in all of them that alone, which tells no row from another."""
    return column[:1] if is_constant(column) and len(row) else column[row]


def _mixed(told: list[Column], rows: int, usual: dict[int, Any]) -> Column:
    """A number for each row, of all columns; a column's `usual` value, its first one ever, adds nothing to it."""
    number = constant(0, np.uint64, rows)
    for place, column in enumerate(told):
        if rows and (other := column != usual.setdefault(place, column[0])).any():
            number = np.where(other, mix(number ^ column.astype(np.uint64), place), number)
    return number


def _summed(values: Column, packet: Column, packets: int) -> Column:
    """A number for each packet, of its values in their order, or of none; `packet` does not fall."""
    if len(values) == packets and (packet[1:] > packet[:-1]).all():  # one each: what the sum would give
        if is_constant(values) and packets:
            return constant((mix(mix(mix(values[:1], 1))) + np.uint64(1))[0], np.uint64, packets)
        return mix(mix(mix(values, 1))) + np.uint64(1)
    values = mix(values, 1)
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
        fits &= _at(getattr(packets, "sport" if side == "src" else "dport"), row) == asked.port
    if asked.address is not None:
        address = ip_address(asked.address)  # Endpoint.parse wrote it as it is written
        fits &= _at(packets.version, row) == address.version
        fits &= _at(getattr(packets, f"{side}_low"), row) == np.uint64(int(address) & 0xFFFFFFFFFFFFFFFF)
        if address.version == 6:
            fits &= _at(getattr(packets, f"{side}_high"), row) == np.uint64(int(address) >> 64)
    return fits
