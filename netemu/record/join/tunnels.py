"""Packets in VXLAN tunnels and the datagrams that carry them: which journey carried which (RFC 7348).

A frame that leaves by a tunnel's end is the payload, byte for byte, of a datagram that leaves the same host after it.
That is how they are told: by the bytes, the n-th frame in the n-th datagram, in order of time. Where their numbers
differ (a tap or a rule took one of several that are alike), nothing is told of any of them; one frame alone may go in
several datagrams, one for each remote. Whether both came to the other end, each journey tells of itself.

A datagram is a tunnel's if it goes to one of `ports`, or if its header has the number of a tunnel that the topology
gives this host, whatever its port. Its frame then left by an end of that tunnel; where the topology knows no tunnel of
that number there, by an interface that it does not know either. ARP is on no journey: what carries it carries None.

Frames that were cut are compared as far as the datagrams were captured, and by their length on the wire.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from netemu.record.capture import OUTGOING
from netemu.record.decode.packets import VXLAN_HEADER, VXLAN_PORT, locate
from netemu.record.decode.rows import Column, mix, numbered, stable_order, whole_digest, windows
from netemu.record.join.forest import Laid
from netemu.record.join.sightings import Sightings
from netemu.record.join.wires import Member
from netemu.topology.segments import tunnel_number

_UDP, _UDP_HEADER, _ETHERNET = 17, 8, 14
_HAS_NUMBER = 8
"""The header's flag I (RFC 7348, 5)."""
_NONE, _UNKNOWN = -1, 1 << 24
"""Instead of a tunnel's number: no tunnel's end; an interface that may be one, of a tunnel that nobody named."""
_ENOUGH = 42
"""Bytes of a frame that was cut: Ethernet, IPv4 and ports. Fewer tell nothing."""


@dataclass(frozen=True, slots=True)
class TunnelHop:
    """Where a packet went into a tunnel: the `place` of its sighting there, and the journey of what carried it.

    `carrier` is that journey's id; None where no datagram was seen (`among` 0), or it can't be told which of `among`.
    """

    place: int
    carrier: int | None
    among: int = 1


@dataclass(frozen=True, slots=True)
class Tunnels:
    """A row a hop, in order of `journey`, of the packet inside; and a row a datagram, in order of `outer`, its own.

    Journeys are told by their places. A hop has the `position` in `Laid.rows` of the sighting at the tunnel's end, the
    `carrier` (-1: not told), and `among` how many that is told; a datagram has the journey of what it `carries`
    (-1: not told), and `carries_among` how many.
    """

    journey: Column
    position: Column
    carrier: Column
    among: Column
    outer: Column
    carries: Column
    carries_among: Column

    def hops(self, number: int, start: int) -> tuple[TunnelHop, ...]:
        """A journey's hops; its sightings are those of `Laid.rows` from `start` on."""
        first, last = (int(np.searchsorted(self.journey, number, side)) for side in ("left", "right"))
        return tuple(
            TunnelHop(int(position) - start, int(carrier) + 1 if carrier >= 0 else None, int(among))
            for position, carrier, among in zip(
                self.position[first:last], self.carrier[first:last], self.among[first:last], strict=True
            )
        )

    def carried(self, number: int) -> tuple[int | None, int]:
        """The id of the journey of the packet that a datagram carries (None: not told), and how many that may be."""
        at = int(np.searchsorted(self.outer, number))
        if at == len(self.outer) or self.outer[at] != number:
            return None, 0
        return int(self.carries[at]) + 1 if self.carries[at] >= 0 else None, int(self.carries_among[at])


def read_tunnels(
    laid: Laid, seen: Sightings, segment_of: Mapping[Member, str], ports: Sequence[int] = (VXLAN_PORT,)
) -> Tunnels:
    """Join what went into tunnels to what carried it, over all hosts."""
    tunnel = _tunnel_of_points(seen, segment_of)
    out = np.flatnonzero(seen.kind == OUTGOING)
    inner = out[tunnel[seen.point[out]] >= 0]
    host_of = seen.host_of_points()
    ended = (tunnel >= 0) & (tunnel < _UNKNOWN)
    known = np.unique(host_of[ended] << 32 | tunnel[ended])
    suspects = out[_may_carry(seen, out, np.isin(host_of, known >> 32), ports)]
    frames, datagrams = [_Side.none()], [_Side.none()]
    concerned = np.concatenate([inner[ended[seen.point[inner]]], suspects[: len(suspects) if len(inner) else 0]])
    for host in np.unique(host_of[seen.point[concerned]]).tolist():
        mine, theirs = (rows[host_of[seen.point[rows]] == host] for rows in (inner, suspects))
        left, sent = _on_host(seen, host, mine, theirs, tunnel, known, ports)
        frames.append(left)
        datagrams.append(sent)
    return _joined(laid, seen, _Side.all(frames, seen), _Side.all(datagrams, seen))


@dataclass(frozen=True, slots=True)
class _Side:
    """Frames that left by tunnels' ends, or datagrams; `code` is equal for a frame and what may carry it.

    `known` is whether the topology knows the tunnel.
    """

    row: Column
    code: Column
    known: Column

    @classmethod
    def none(cls) -> _Side:
        return cls(np.empty(0, np.int64), np.empty(0, np.uint64), np.empty(0, np.bool_))

    @classmethod
    def all(cls, sides: Sequence[_Side], seen: Sightings) -> _Side:
        """All hosts' in order of time."""
        row = np.concatenate([side.row for side in sides])
        order = np.argsort(seen.time_ns[row], kind="stable")
        code, known = (np.concatenate([getattr(side, name) for side in sides])[order] for name in ("code", "known"))
        return cls(row[order], code, known)


def _tunnel_of_points(seen: Sightings, segment_of: Mapping[Member, str]) -> Column:
    """The number of the tunnel that each point is an end of."""
    found = []
    for point in seen.points:
        segment = segment_of.get((point.host, str(point.interface)))
        number = tunnel_number(segment) if segment is not None else None
        unknown = segment is None and point.interface not in (None, "lo")
        found.append(number if number is not None else _UNKNOWN if unknown else _NONE)
    return np.array(found, np.int64)


def _may_carry(seen: Sightings, out: Column, has_tunnels: Column, ports: Sequence[int]) -> Column:
    """Which frames are worth a look: UDP, long enough, to one of the ports or from a host with tunnels of its own."""
    packets = seen.packets
    fits = (packets.proto[out] == _UDP) & (packets.dport[out] >= 0)
    fits &= packets.length[out] >= VXLAN_HEADER + _ETHERNET
    return fits & (np.isin(packets.dport[out], list(ports)) | has_tunnels[seen.point[out]])


def _on_host(
    seen: Sightings, host: int, inner: Column, suspects: Column, tunnel: Column, known: Column, ports: Sequence[int]
) -> tuple[_Side, _Side]:
    """One host's frames that left by tunnels' ends, and its datagrams that carry frames."""
    frames = seen.captures[host].frames
    at = seen.frame[suspects]
    places = locate(frames.data, frames.offset[at], frames.offset[at + 1])
    start, length = places.transport + _UDP_HEADER, np.maximum(places.transport_length - _UDP_HEADER, 0)
    head = windows(frames.data, start, length, VXLAN_HEADER).astype(np.int64)
    number = head[:, 4] << 16 | head[:, 5] << 8 | head[:, 6]
    own = np.isin(host << 32 | number, known)
    fits = (head[:, 0] & _HAS_NUMBER != 0) & (own | np.isin(seen.packets.dport[suspects], list(ports)))
    captured = frames.offset[at + 1] - frames.offset[at]
    fits &= (length == seen.packets.length[suspects]) | (captured < frames.length[at])
    kept = np.flatnonzero(fits)
    suspects, number, own = suspects[kept], np.where(own, number, _UNKNOWN)[kept], own[kept]
    start, length = start[kept] + VXLAN_HEADER, np.maximum(length[kept] - VXLAN_HEADER, 0)
    sent = seen.packets.length[suspects].astype(np.int64) - VXLAN_HEADER
    at, whose = seen.frame[inner], tunnel[seen.point[inner]]
    first, size, digest = frames.offset[at], frames.offset[at + 1] - frames.offset[at], seen.digest[inner]
    cut = length < sent
    if cut.any():
        enough = int(length[cut].min())
        if enough < _ENOUGH:
            return _Side.none(), _Side.none()
        length = np.minimum(length, enough)
        digest = whole_digest(frames.data, first, np.minimum(size, enough))
    payload = whole_digest(frames.data, start, length)
    return (
        _Side(inner, _code(digest, host, whose, frames.length[at].astype(np.int64)), whose < _UNKNOWN),
        _Side(suspects, _code(payload, host, number, sent), own),
    )


def _code(digest: Column, host: int, number: Column, length: Column) -> Column:
    about = mix(mix((host << 32 | number).astype(np.uint64), 5) ^ length.astype(np.uint64), 6)
    return mix(digest ^ about, 7)


def _joined(laid: Laid, seen: Sightings, inner: _Side, outer: _Side) -> Tunnels:
    if not len(inner.row) and not len(outer.row):
        return Tunnels(*(np.empty(0, np.int64),) * 7)
    position = np.full(len(seen), -1, np.int64)
    position[laid.rows] = np.arange(len(laid.rows))
    journey = np.append(np.repeat(np.arange(len(laid)), np.diff(laid.offset)), -1)
    group = numbered(np.concatenate([inner.code, outer.code]))
    of_inner, of_outer = group[: len(inner.row)], group[len(inner.row) :]
    groups = int(group.max(initial=-1)) + 1
    frames, datagrams = (np.bincount(each, minlength=groups) for each in (of_inner, of_outer))
    one, other = _paired(seen, inner, outer, of_inner, of_outer, groups)
    carried = journey[position[outer.row]]
    first, last = np.full(groups, np.iinfo(np.int64).max), np.full(groups, -1)
    np.minimum.at(first, of_inner, seen.time_ns[inner.row])
    np.maximum.at(last, of_outer, seen.time_ns[outer.row])
    alike = np.where(first <= last, np.maximum(frames, datagrams), 0)  # 0: nothing that could be it
    alone = np.ones(len(inner.row), np.bool_)
    alone[one] = False
    alone &= inner.known | (alike[of_inner] > 0)
    hop = np.concatenate([one, np.flatnonzero(alone)])
    carrier = np.concatenate([carried[other], np.full(int(alone.sum()), -1)])
    alike[of_inner[one[frames[of_inner[one]] == 1]]] = 1  # one frame, in a datagram to each end
    at = position[inner.row[hop]]
    order = np.lexsort((carrier, at))
    order = order[at[order] >= 0]
    inside = np.full(len(outer.row), -1, np.int64)
    inside[other] = journey[position[inner.row[one]]]
    whose = np.lexsort((-inside, carried))
    whose = whose[carried[whose] >= 0]
    whose = whose[np.diff(carried[whose], prepend=-1) != 0]
    return Tunnels(
        journey[at[order]],
        at[order],
        carrier[order],
        alike[of_inner[hop[order]]],
        carried[whose],
        inside[whose],
        alike[of_outer[whose]],
    )


def _paired(
    seen: Sightings, inner: _Side, outer: _Side, of_inner: Column, of_outer: Column, groups: int
) -> tuple[Column, Column]:
    """Which frame each datagram carries, both by their places, where that can be told."""
    frames, datagrams = (np.bincount(each, minlength=groups) for each in (of_inner, of_outer))
    one, other = stable_order(of_inner), stable_order(of_outer)
    as_many = frames == datagrams
    to_each = (frames == 1) & (datagrams > 1)
    to_each &= _to_several(seen, outer.row[to_each[of_outer]], of_outer[to_each[of_outer]], datagrams)
    told = as_many | to_each
    one, other = one[told[of_inner[one]]], other[told[of_outer[other]]]
    one = np.repeat(one, np.where(to_each, datagrams, 1)[of_inner[one]])
    late = seen.time_ns[outer.row[other]] < seen.time_ns[inner.row[one]]
    told[of_inner[one[late]]] = False  # nothing is carried before it left: one of each was not seen
    kept = told[of_inner[one]]
    return one[kept], other[kept]


def _to_several(seen: Sightings, row: Column, group: Column, datagrams: Column) -> Column:
    """Whether all datagrams of a group go to different addresses: a frame to all ends of a tunnel."""
    high, low = (getattr(seen.packets, f"dst_{half}")[row].astype(np.uint64) for half in ("high", "low"))
    both = np.unique(np.stack([group.astype(np.uint64), high, low]), axis=1)[0].astype(np.int64)
    return np.bincount(both, minlength=len(datagrams)) == datagrams
