"""Which packets an expectation can't tell apart: one of them is judged for all.

A million packets that one expectation selects are of a few kinds, as far as it looks: what it asks of addresses is
asked here of all at once, and what else it may look at (the states, turns and changes at its point) is counted as a
kind. So each packet of a kind gets the verdict of any other.
"""

from __future__ import annotations

import numpy as np

from netemu.record.decode.packets import Packets, address_text
from netemu.record.decode.rows import Column, mix, ranges
from netemu.record.journeys import Chosen
from netemu.topology.expectation import PacketExpectation
from netemu.topology.points import Point
from netemu.topology.values import Endpoint


def kinds(expectation: PacketExpectation, selected: Chosen) -> Column:
    """A number for each selected packet; those with equal numbers are alike to this expectation."""
    journeys = selected.journeys
    laid, seen = journeys.laid, journeys.seen
    count = np.diff(laid.offset)[selected.places]
    position = ranges(laid.offset[:-1][selected.places], count)
    packet = np.repeat(np.arange(len(selected)), count)
    row = laid.rows[position]
    if expectation.path is not None:
        wires = row < seen.wires
        return _summed(mix(seen.point[row[wires]].astype(np.uint64)), packet[wires], len(selected))
    wanted = Point.parse(str(expectation.at))
    there = np.array([point == wanted for point in seen.points], np.bool_)[seen.point[row]]
    position, packet, row = position[there], packet[there], row[there]
    first = position == laid.offset[selected.places][packet]
    last = laid.rows[np.where(first, position, position - 1)]
    before = laid.rows_before(position, first)
    told = [first, seen.states_of(row), seen.states_of(last), seen.states_of(before), seen.packets.ttl[row]]
    told += [_changed(seen.packets, row, before), _turns(seen.turns, *seen.turns_of(row))]
    for side in ("src", "dst"):
        asked = getattr(expectation, side)
        if asked is not None:
            told.append(_fits(Endpoint.parse(asked), seen.packets, side, row))
    number = np.zeros(len(row), np.uint64)
    for place, column in enumerate(told):
        number = mix(number ^ column.astype(np.uint64), place)
    return _summed(number, packet, len(selected))


def _summed(values: Column, packet: Column, packets: int) -> Column:
    """A number for each packet, of its values in their order."""
    begins = np.searchsorted(packet, np.arange(packets))
    place = np.arange(len(values)) - begins[packet] if len(packet) else packet
    total = np.concatenate([np.zeros(1, np.uint64), np.cumsum(mix(values + place.astype(np.uint64)))])
    ends = np.append(begins[1:], len(values))
    return mix(total[ends] - total[begins]) + (ends - begins).astype(np.uint64)


def _changed(packets: Packets, row: Column, before: Column) -> Column:
    """Which of source, destination and TTL are not what they were at the sighting before, as bits."""
    found = (packets.ttl[row] != packets.ttl[before]).astype(np.int64)
    for side, port in (("src", "sport"), ("dst", "dport")):
        columns = (getattr(packets, name) for name in (f"{side}_high", f"{side}_low", port, "version"))
        found = found * 2 + np.any([column[row] != column[before] for column in columns], axis=0)
    return found


def _turns(turns: Column, first: Column, count: Column) -> Column:
    """A number for the turns before each sighting."""
    whose = np.repeat(np.arange(len(first)), count)
    return _summed(turns[ranges(first, count)].astype(np.uint64), whose, len(first))


def _fits(asked: Endpoint, packets: Packets, side: str, row: Column) -> Column:
    """Whether each packet's source or destination is what is asked."""
    fits = np.ones(len(row), np.bool_)
    if asked.port is not None:
        fits &= getattr(packets, "sport" if side == "src" else "dport")[row] == asked.port
    if asked.address is not None:
        high, low, version = (
            getattr(packets, f"{side}_high")[row],
            getattr(packets, f"{side}_low")[row],
            packets.version[row],
        )
        whole = mix(mix(high) + low) ^ version.astype(np.uint64)
        _, place, inverse = np.unique(whole, return_index=True, return_inverse=True)
        each = zip(version[place].tolist(), high[place].tolist(), low[place].tolist(), strict=True)
        fits &= np.array([address_text(*address) == asked.address for address in each], np.bool_)[inverse]
    return fits
