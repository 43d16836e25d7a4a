"""ICMP errors joined to the packets that they quote: which packet each one is about, and what it says of it.

An error carries the head of the packet that caused it, or of one of its fragments (quoting.py says what is read of it).
That is compared with what was seen, at the host that sent the error: as the packet came in there, before or after that
host's own rewrites, whichever the kernel quotes. TTL and checksums differ, and are left out. Where several packets fit
(they share all that is quoted), errors and packets are told by their order if there are as many of the one as of the
other; if not, the last one before the error is taken. How many fitted is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from netemu.netfilter.conntrack import Tuple
from netemu.record.capture import OUTGOING, HostCapture
from netemu.record.decode.headers import split_frame
from netemu.record.decode.packets import locate
from netemu.record.decode.rows import Column, big_endian, mix, ranks, stable_order, windows
from netemu.record.join.forest import Laid
from netemu.record.join.quoting import QUOTED, is_error, quoted, quoted_as, tuple_in
from netemu.record.join.sightings import Sightings

KINDS: dict[tuple[str, int, int], str] = {
    ("icmp", 3, 0): "net-unreachable",
    ("icmp", 3, 1): "host-unreachable",
    ("icmp", 3, 2): "protocol-unreachable",
    ("icmp", 3, 3): "port-unreachable",
    ("icmp", 3, 4): "fragmentation-needed",
    ("icmp", 3, 5): "source-route-failed",
    ("icmp", 3, 6): "net-unknown",
    ("icmp", 3, 7): "host-unknown",
    ("icmp", 3, 8): "source-host-isolated",
    ("icmp", 3, 9): "net-prohibited",
    ("icmp", 3, 10): "host-prohibited",
    ("icmp", 3, 11): "net-unreachable-for-tos",
    ("icmp", 3, 12): "host-unreachable-for-tos",
    ("icmp", 3, 13): "admin-prohibited",
    ("icmp", 3, 14): "host-precedence-violation",
    ("icmp", 3, 15): "precedence-cutoff",
    ("icmp", 11, 0): "time-exceeded",
    ("icmp", 11, 1): "reassembly-time-exceeded",
    ("icmp6", 1, 0): "no-route",
    ("icmp6", 1, 1): "admin-prohibited",
    ("icmp6", 1, 2): "beyond-scope",
    ("icmp6", 1, 3): "address-unreachable",
    ("icmp6", 1, 4): "port-unreachable",
    ("icmp6", 1, 5): "policy-failed",
    ("icmp6", 1, 6): "reject-route",
    ("icmp6", 3, 0): "time-exceeded",
    ("icmp6", 3, 1): "reassembly-time-exceeded",
}
"""RFC 792, RFC 1122 (3.2.2.1), RFC 1812 (5.2.7.1), RFC 4443 (3)."""
_OF_TYPE = {
    ("icmp", 3): "destination-unreachable",
    ("icmp", 4): "source-quench",
    ("icmp", 5): "redirect",
    ("icmp", 11): "time-exceeded",
    ("icmp", 12): "parameter-problem",
    ("icmp6", 1): "destination-unreachable",
    ("icmp6", 2): "packet-too-big",
    ("icmp6", 3): "time-exceeded",
    ("icmp6", 4): "parameter-problem",
}


def kind_of(proto: str, type_: int, code: int) -> str:
    """An error's name as the RFCs have it; a code that they do not name goes by its type."""
    return KINDS.get((proto, type_, code)) or _OF_TYPE.get((proto, type_), f"{proto} {type_}/{code}")


@dataclass(frozen=True, slots=True)
class Quote:
    """What an ICMP error says of the packet that it quotes: the error's own journey's id, its words, who sent it.

    `host` is None where the lab did not see it being sent. `mtu` is the next link's, where the error tells it.
    `among` is how many packets fit what it quotes.
    """

    journey: int
    kind: str
    type: int
    code: int
    host: str | None
    mtu: int | None = None
    among: int = 1


@dataclass(frozen=True, slots=True)
class Quotes:
    """One row an error that quotes a packet of the record, in order of the errors' journeys.

    `journey` and `of` are places of journeys: the error's and that of the packet it quotes. `icmp` is type * 256 +
    code; `mtu` is 0, and `host` (which numbers the record's hosts) -1, where the error does not tell.
    """

    journey: Column
    of: Column
    among: Column
    icmp: Column
    six: Column
    mtu: Column
    host: Column
    hosts: tuple[str, ...]
    by_quoted: Column
    """The rows in order of the journeys that they quote."""

    def quoted_by(self, journey: int) -> int | None:
        """The place of the journey that an error quotes; None where this is no error, or quotes none."""
        at = self._at(journey)
        return int(self.of[at]) if at is not None else None

    def errors_of(self, journey: int) -> tuple[Quote, ...]:
        """The errors that quote a journey, in order."""
        first, last = (np.searchsorted(self.of[self.by_quoted], journey, side) for side in ("left", "right"))
        return tuple(self._error(at) for at in self.by_quoted[first:last].tolist())

    def error(self, journey: int) -> Quote | None:
        """What the journey that is an error says; None where it is none, or quotes none."""
        at = self._at(journey)
        return self._error(at) if at is not None else None

    def _at(self, journey: int) -> int | None:
        at = int(np.searchsorted(self.journey, journey))
        return at if at < len(self.journey) and self.journey[at] == journey else None

    def _error(self, at: int) -> Quote:
        type_, code = divmod(int(self.icmp[at]), 256)
        host = int(self.host[at])
        return Quote(
            int(self.journey[at]) + 1,
            kind_of("icmp6" if self.six[at] else "icmp", type_, code),
            type_,
            code,
            self.hosts[host] if host >= 0 else None,
            int(self.mtu[at]) or None,
            int(self.among[at]),
        )


def read_quotes(captures: Sequence[HostCapture], laid: Laid, seen: Sightings) -> Quotes:
    """Every ICMP error's quote, decoded from its first frame and joined to the packet that it is about."""
    of_point = seen.host_of_points()
    rows = laid.rows
    if not (seen.packets.icmp >= 0).any():
        return _none(seen)
    journey, row = _errors(laid, seen)
    if not len(row):
        return _none(seen)
    head, key, told, mtu = _decode(captures, seen, row, of_point[seen.point[row]])
    begins = rows[laid.offset[journey]]
    sent = (begins >= seen.wires) | (np.append(seen.kind, OUTGOING)[np.minimum(begins, seen.wires)] == OUTGOING)
    host = np.where(sent, of_point[seen.point[begins]], -1)
    of, among = _joined(laid, seen, of_point, _Errors(journey, host, key, told, head))
    found = np.flatnonzero(of >= 0)
    return Quotes(
        journey[found],
        of[found],
        among[found],
        seen.packets.icmp[row[found]].astype(np.int64),
        seen.packets.version[row[found]] == 6,
        mtu[found],
        host[found],
        seen.hosts,
        stable_order(of[found]),
    )


@dataclass(frozen=True, slots=True)
class Lone:
    """An error that quotes no packet of the record: its journey's place, what it says, digest and tuple of that."""

    journey: int
    says: Quote
    key: int
    about: Tuple


def lone_errors(captures: Sequence[HostCapture], laid: Laid, seen: Sightings, quotes: Quotes) -> list[Lone]:
    """The errors that `quotes` has not: their packets were not seen, or are told of already (live/)."""
    journey, row = _errors(laid, seen)
    alone = ~np.isin(journey, quotes.journey)
    journey, row = journey[alone], row[alone]
    if not len(row):
        return []
    of_point = seen.host_of_points()
    _, keys, told, mtus = _decode(captures, seen, row, of_point[seen.point[row]])
    found = []
    for place in np.flatnonzero(told).tolist():
        start, packet = laid.rows[laid.offset[journey[place]]], split_frame(seen.bytes_of(int(row[place])))
        about = tuple_in(packet.transport[8:]) if packet is not None else None
        if about is not None:
            type_, code = divmod(int(seen.packets.icmp[row[place]]), 256)
            kind = kind_of("icmp6" if seen.packets.version[row[place]] == 6 else "icmp", type_, code)
            sent = start >= seen.wires or seen.kind[start] == OUTGOING
            host = seen.hosts[of_point[seen.point[start]]] if sent else None
            says = Quote(0, kind, type_, code, host, int(mtus[place]) or None, 0)
            found.append(Lone(int(journey[place]), says, int(keys[place]), about))
    return found


def _errors(laid: Laid, seen: Sightings) -> tuple[Column, Column]:
    """The journeys that are ICMP errors, and the first frame of each."""
    position = np.flatnonzero((laid.rows < seen.wires) & is_error(seen.packets)[laid.rows])
    journey = np.searchsorted(laid.offset, position, "right") - 1
    _, first = np.unique(journey, return_index=True)
    return journey[first], laid.rows[position[first]]


def _none(seen: Sightings) -> Quotes:
    empty = np.empty(0, np.int64)
    return Quotes(empty, empty, empty, empty, empty.astype(np.bool_), empty, empty, seen.hosts, empty)


@dataclass(frozen=True, slots=True)
class _Errors:
    """Errors' journeys, the hosts that sent them, the digests of what they quote, whether that could be read."""

    journey: Column
    host: Column
    key: Column
    told: Column
    dst_low: Column


def _decode(
    captures: Sequence[HostCapture], seen: Sightings, row: Column, host: Column
) -> tuple[Column, Column, Column, Column]:
    """What each error's frame quotes: the destination's lower half, a digest of it all, whether it is there; an MTU."""
    dst, key, mtu = (np.zeros(len(row), kind) for kind in (np.uint64, np.uint64, np.int64))
    told = np.zeros(len(row), np.bool_)
    for number in np.unique(host).tolist():
        mine = np.flatnonzero(host == number)
        frames = captures[number].frames
        frame = seen.frame[row[mine]]
        places = locate(frames.data, frames.offset[:-1][frame], frames.offset[1:][frame])
        there = np.minimum(places.transport_length, 8 + QUOTED)
        message = windows(frames.data, places.transport, there, 8 + QUOTED)
        inner, size = message[:, 8:], there - 8
        dst[mine], key[mine], told[mine] = quoted(inner, size)
        icmp, six = seen.packets.icmp[row[mine]], seen.packets.version[row[mine]] == 6
        needed = np.where(icmp == 0x0304, big_endian(message, 6, 2), np.int64(0))
        mtu[mine] = np.where(six & (icmp >> 8 == 2), big_endian(message, 4, 4), needed)
    return dst, key, told, mtu


def _joined(laid: Laid, seen: Sightings, of_point: Column, errors: _Errors) -> tuple[Column, Column]:
    """The journey that each error quotes (-1: none that was seen) and how many fit."""
    rows = laid.rows
    candidate = np.isin(seen.packets.dst_low, np.unique(errors.dst_low)) & ~is_error(seen.packets)
    position = np.flatnonzero(candidate[rows])
    journey = np.searchsorted(laid.offset, position, "right") - 1
    row = rows[position]
    key, host = quoted_as(seen.packets, row), of_point[seen.point[row]]
    ended = np.repeat(np.arange(len(laid)), np.diff(laid.ends_offset))
    ended_at = of_point[seen.point[rows[laid.end_at]]]
    ends = np.isin(journey * len(seen.hosts) + host, ended * len(seen.hosts) + ended_at)
    at_host, wanted = _at(key, host), _at(errors.key, errors.host)
    of, among = np.full(len(errors.journey), -1, np.int64), np.zeros(len(errors.journey), np.int64)
    for have, want, some in (
        (at_host, wanted, ends),  # at the host that sent the error, where the packet went no further
        (at_host, wanted, ~ends),
        (key, errors.key, np.ones(len(key), np.bool_)),  # the host's own taps did not see it
    ):
        open_ = np.flatnonzero(errors.told & (of < 0))
        of[open_], among[open_] = _among(have[some], journey[some], want[open_], errors.journey[open_])
    return of, among


def _at(key: Column, host: Column) -> Column:
    return mix(key ^ mix(host.astype(np.uint64)))


def _among(have: Column, journey: Column, want: Column, error: Column) -> tuple[Column, Column]:
    """For each wanted code a journey before the error, of those that have it, and how many do."""
    pairs = np.unique(np.stack([have, journey.astype(np.uint64)]), axis=1) if len(have) else np.empty((2, 0), np.uint64)
    codes, places = pairs[0], pairs[1].astype(np.int64)
    order = np.lexsort((places, codes))
    codes, places = codes[order], places[order]
    first, last = (np.searchsorted(codes, want, side) for side in ("left", "right"))
    asked = stable_order(want)
    low, high = (np.searchsorted(want[asked], want, side) for side in ("left", "right"))
    times = high - low
    by_order = first + ranks(want)
    span = int(max(places.max(initial=0), error.max(initial=0))) + 1
    number = np.cumsum(np.diff(codes, prepend=codes[:1]) != 0)
    wanted = np.append(number, 0)[first]
    latest = np.searchsorted(number * span + places, wanted * span + error) - 1
    as_many = times == last - first
    in_order = as_many & (np.append(places, 0)[np.where(as_many, by_order, len(places))] < error)
    chosen = np.where(in_order, by_order, latest)
    fits = (chosen >= first) & (last > first)
    found = np.where(fits, np.append(places, -1)[np.where(fits, chosen, len(places))], -1)
    return found, np.where(fits, np.where(in_order, times, latest - first + 1), 0)
