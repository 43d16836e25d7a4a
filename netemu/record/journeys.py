"""One packet's sightings joined across hosts and rewrites: values made on demand, of the columns that hold them all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import SupportsIndex, Unpack, overload

import numpy as np

from netemu.errors import UsageError
from netemu.netfilter.conntrack import Direction, Tuple
from netemu.record.ask.askable import Askable
from netemu.record.ask.select import Words, journeys_where
from netemu.record.capture import HostCapture
from netemu.record.decode.rows import Column, ranges, stable_order
from netemu.record.join.ends import ENDS, End, damaged, why_ended
from netemu.record.join.forest import Laid, lay_out
from netemu.record.join.order import Order, order, retransmissions
from netemu.record.join.passes import read_passes
from netemu.record.join.quotes import Quote, Quotes, read_quotes
from netemu.record.join.rewrites import Rewrite, matched, rewrites, walked
from netemu.record.join.ties import Ties, tie
from netemu.record.join.tunnels import TunnelHop, Tunnels, read_tunnels
from netemu.record.join.turn import RuleTurn
from netemu.record.join.wires import Member
from netemu.record.sighting import Sighting
from netemu.topology.points import Point


@dataclass(slots=True)
class Journey:
    """One packet's sightings, in order. `nth` counts from 1 in its flow and direction; flows.py sets both.

    `since_ns` is when it began, as near as can be told: a packet that no wire saw comes after the one before it.
    `ends` are all its ends in order, one for each receiver of a broadcast; `end` is the first. An ICMP error `quotes`
    the journey of that id (`error` is what it says), belongs to that packet's flow, and is no nth packet of it (0);
    `errors` are those that quote this one.

    `alike` packets, this one included, were told from each other by their order alone; `certain` is false where order
    can't decide, since their numbers differ on the two sides of a join. `duplicates` is the id of the journey whose
    frame came a second time to begin this one, `retransmits` that of the earlier packet of the same flow and direction
    whose TCP sequence range this one repeats.

    `tunnels` are its hops through VXLAN tunnels, in order; `carried_by` the ids of the journeys of the datagrams that
    carried it there, where they are known. A datagram of a tunnel `carries` the journey of that id; `carries_among`
    is how many packets that may be: with `carries` None, more than 0 means that it can't be told which (tunnels.py).

    `about` is told of an ICMP error that comes later than its packet was told (live/): the tuple that it quotes.
    """

    sightings: tuple[Sighting, ...]
    turns: tuple[tuple[RuleTurn, ...], ...]
    rest: tuple[RuleTurn, ...]
    rewrites: tuple[Rewrite, ...]
    end: End
    complete: bool
    since_ns: int = 0
    id: int = 0
    flow: int = 0
    direction: Direction = "original"
    nth: int = 0
    ends: tuple[End, ...] = ()
    error: Quote | None = None
    quotes: int | None = None
    errors: tuple[Quote, ...] = ()
    alike: int = 1
    certain: bool = True
    duplicates: int | None = None
    retransmits: int | None = None
    tunnels: tuple[TunnelHop, ...] = ()
    carries: int | None = None
    carries_among: int = 0
    about: Tuple | None = None

    @property
    def carried_by(self) -> tuple[int, ...]:
        """The ids of the journeys of the datagrams that carried this packet through tunnels, hop by hop."""
        return tuple(hop.carrier for hop in self.tunnels if hop.carrier is not None)

    @property
    def first(self) -> Sighting:
        """The first sighting."""
        return self.sightings[0]

    @property
    def rules(self) -> list[RuleTurn]:
        """The rules and policies that the packet met, in order, on all hosts."""
        return [turn for turns in (*self.turns, self.rest) for turn in turns]

    @property
    def walked(self) -> frozenset[Point]:
        """The .nat points that were reached by walking a nat chain."""
        return frozenset(seen.point for place, seen in enumerate(self.sightings) if self.walked_at(place))

    def walked_at(self, place: int) -> bool:
        """Whether the sighting `place` is at a .nat point and was reached by walking a nat chain."""
        return self.sightings[place].point.is_nat and walked(self.turns[place])

    def matched_at(self, place: int) -> RuleTurn | None:
        """The nat rule that was matched just before the .nat point of the sighting `place`, or None."""
        return matched(self.turns[place]) if self.sightings[place].point.is_nat else None

    def visits(self, point: Point) -> list[int]:
        """The places of the sightings at a point: a packet may come there more than once, or never."""
        return [place for place, seen in enumerate(self.sightings) if seen.point == point]

    @property
    def start_ns(self) -> int | None:
        """The time of the first sighting that has one."""
        return next((seen.time_ns for seen in self.sightings if seen.time_ns is not None), None)

    def at(self, point: Point) -> Sighting | None:
        """The first sighting at a point, or None."""
        return next((seen for seen in self.sightings if seen.point == point), None)


_KEPT = 4096
"""How many journeys are kept once they were made."""


class Journeys(Askable[Journey]):
    """All journeys of a record, in order of time. Each is made when it is asked for, and the last few are kept.

    `flow`, `reply` and `nth` are columns that flows.py fills in; `flows_named` tells the ids of a traffic item's flows.
    """

    def __init__(self, ties: Ties, laid: Laid, quotes: Quotes, segment_of: Mapping[Member, str]) -> None:
        self.laid = laid
        self.seen = ties.sightings
        self.passes = ties.passes
        self._ties = ties
        self._segment_of = segment_of
        self.flow = np.zeros(len(laid), np.int32)
        self.reply = np.zeros(len(laid), np.bool_)
        self.nth = np.zeros(len(laid), np.int64)
        self.quotes = quotes
        self.numbered = False
        self.flows_named: Callable[[str], Sequence[int]] = _nothing_sent
        self._made: dict[int, Journey] = {}

    def __call__(self, text: str = "", **words: Unpack[Words]) -> Chosen:
        """Those that a text in pcap's manner and all words fit: of a journey at one of its sightings.

        select.py tells which words there are. Raises UsageError on a word, host, point or value that there is not.
        """
        return Chosen(self, journeys_where(self, text, words))

    def __len__(self) -> int:
        return len(self.laid)

    @overload
    def __getitem__(self, place: SupportsIndex) -> Journey: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Journey]: ...
    def __getitem__(self, place: SupportsIndex | slice) -> Journey | Sequence[Journey]:
        if isinstance(place, slice):
            return Chosen(self, np.arange(len(self))[place])
        number = range(len(self))[place]
        journey = self._made.get(number)
        if journey is None:
            if len(self._made) >= _KEPT:
                self._made.clear()
            journey = self._made[number] = self._make(number)
        return journey

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(_equal, self, other))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{len(self)} journeys>"

    @cached_property
    def point_at(self) -> Column:
        """The number of the point of each sighting in `laid.rows`, in as few bytes as it takes."""
        return self.seen.point.astype(np.min_scalar_type(len(self.seen.points)))[self.laid.rows]

    @cached_property
    def row_before(self) -> Column:
        """The row of the sighting before each one in `laid.rows`; its own where it is its journey's first."""
        return self.laid.all_rows_before()

    @cached_property
    def order(self) -> Order:
        """Which journeys were told from each other by their order alone; worked out when it is first asked for."""
        return order(self._ties, self.laid, self._segment_of)

    @cached_property
    def retransmits(self) -> Column:
        """The place of the journey that each repeats, -1 for none; to be asked for once flows are joined."""
        found = retransmissions(self._ties, self.laid, self.flow, self.reply)
        found[self.order.duplicates >= 0] = -1  # the network's doing, not the sender's
        return found

    @cached_property
    def tunnels(self) -> Tunnels:
        """Which journeys' packets went through tunnels, in which datagrams; worked out when it is first asked for."""
        return read_tunnels(self.laid, self.seen, self._segment_of)

    def first_host(self, place: int) -> str:
        """The host that one of them was first seen at."""
        return self.seen.points[self.seen.point[self.laid.rows[self.laid.offset[place]]]].host

    def first_time(self, place: int) -> int | None:
        """When a wire first saw one of them; None if none did."""
        rows = self.laid.rows[self.laid.offset[place] : self.laid.offset[place + 1]]
        wires = rows[rows < self.seen.wires]
        return int(self.seen.time_ns[wires[0]]) if len(wires) else None

    def met(self) -> Iterable[tuple[RuleTurn, int]]:
        """Each rule and policy that packets met, and how often: also packets that began after the record's end."""
        seen, passes = self.seen, self.passes
        turns = [ranges(seen.turns_first, seen.turns_count), ranges(passes.rest_first, passes.rest_count)]
        counts = np.bincount(seen.turns[np.concatenate(turns)], minlength=len(seen.met))
        return ((turn, count) for turn, count in zip(seen.met, counts.tolist(), strict=True) if count)

    def _make(self, number: int) -> Journey:
        laid, seen = self.laid, self.seen
        start, end = int(laid.offset[number]), int(laid.offset[number + 1])
        rows = laid.rows[start:end].tolist()
        sightings = tuple(seen.sighting(row) for row in rows)
        turns = tuple(seen.turns_before(row) for row in rows)
        changes: list[Rewrite] = []
        for place in range(1, len(rows)):
            before = laid.before_place(start + place, start) - start
            if before >= 0:
                changes += rewrites(sightings[before], sightings[place], turns[place], place)
        passes = laid.passes[laid.passes_offset[number] : laid.passes_offset[number + 1]]
        rest = zip(self.passes.rest_first[passes], self.passes.rest_count[passes], strict=True)
        errors = self.quotes.errors_of(number)
        ends = self._ends(number, rows, errors)
        quoted = self.quotes.quoted_by(number)
        return Journey(
            sightings,
            turns,
            tuple(turn for first, count in rest for turn in seen.turns_between(first, count)),
            tuple(changes),
            ends[0],
            bool(laid.complete[number]),
            int(laid.since_ns[number]),
            number + 1 if self.numbered else 0,
            int(self.flow[number]),
            "reply" if self.reply[number] else "original",
            int(self.nth[number]),
            ends,
            self.quotes.error(number),
            quoted + 1 if quoted is not None else None,
            errors,
            int(self.order.alike[number]),
            not self.order.rivals[number],
            _id(self.order.duplicates[number]),
            _id(self.retransmits[number]) if self.numbered else None,
            self.tunnels.hops(number, start),
            *self.tunnels.carried(number),
        )

    def _ends(self, number: int, rows: list[int], errors: tuple[Quote, ...]) -> tuple[End, ...]:
        laid, seen = self.laid, self.seen
        start = int(laid.offset[number])
        found = []
        for leaf in range(laid.ends_offset[number], laid.ends_offset[number + 1]):
            at, kind = seen.points[seen.point[laid.rows[laid.end_at[leaf]]]], ENDS[laid.end[leaf]]
            turn = seen.met[laid.end_turn[leaf]] if laid.end_turn[leaf] >= 0 else None
            why, error = why_ended(kind, turn, [error for error in errors if error.host == at.host])
            place = int(laid.end_at[leaf]) - start
            why = why or ("checksum" if damaged(seen, rows, place, kind) else None)
            found.append(End(kind, at, turn, place, why, error))
        return tuple(found)


def _nothing_sent(name: str) -> Sequence[int]:
    raise UsageError(f"no traffic item '{name}' was sent while this was recorded")


class Chosen(Sequence[Journey]):
    """Some of a record's journeys, by their places in it."""

    def __init__(self, journeys: Journeys, places: Column) -> None:
        self.journeys = journeys
        self.places = places

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, place: SupportsIndex) -> Journey: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Journey]: ...
    def __getitem__(self, place: SupportsIndex | slice) -> Journey | Sequence[Journey]:
        if isinstance(place, slice):
            return Chosen(self.journeys, self.places[place])
        return self.journeys[self.places[place]]

    @classmethod
    def of(cls, some: Sequence[Sequence[Journey]]) -> Chosen | None:
        """Several choices of the same record's journeys as one, in their order; None if they are no such choices."""
        chosen = [each for each in some if isinstance(each, cls)]
        if not chosen or len(chosen) < len(some):
            return None
        return cls(chosen[0].journeys, np.concatenate([each.places for each in chosen]))

    @cached_property
    def arranged(self) -> Column | None:
        """Their order by their places; None where they are in that order."""
        return None if (self.places[1:] > self.places[:-1]).all() else stable_order(self.places)

    def counting(self, low: int, high: int | None) -> Chosen:
        """Those whose nth lies between two numbers, both included; without an upper one, from `low` on."""
        nth = self.journeys.nth[self.places]
        return Chosen(self.journeys, self.places[(nth >= low) & (nth <= (high or nth))])

    @cached_property
    def hosts(self) -> frozenset[str]:
        """The hosts that these packets were seen at."""
        laid, seen = self.journeys.laid, self.journeys.seen
        there, points = np.zeros(len(seen.points), np.bool_), self.journeys.point_at
        if len(self) < len(laid):
            begins = laid.offset[:-1][self.places]
            points = points[ranges(begins, laid.offset[1:][self.places] - begins)]
        there[points] = True
        return frozenset(point.host for point, been in zip(seen.points, there.tolist(), strict=True) if been)

    @cached_property
    def _ids(self) -> tuple[int, ...]:
        first, end = (int(self.places[0]), int(self.places[-1]) + 1) if len(self) else (0, 0)
        if self.arranged is None and end - first == len(self):
            return tuple(range(first + 1, end + 1))
        return tuple((self.places + 1).tolist())

    def ids(self) -> tuple[int, ...]:
        """Their ids."""
        return self._ids

    def going(self, direction: Direction) -> Chosen:
        """Those of one direction."""
        return Chosen(self.journeys, self.places[self.journeys.reply[self.places] == (direction == "reply")])

    def __iter__(self) -> Iterator[Journey]:
        return (self.journeys[place] for place in self.places.tolist())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(_equal, self, other))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{len(self)} journeys>"


def _id(place: int) -> int | None:
    return int(place) + 1 if place >= 0 else None


def _equal(one: object, other: object) -> bool:
    return one == other


def journeys(captures: Sequence[HostCapture], segment_of: Mapping[Member, str]) -> Journeys:
    """Join all captures' sightings; `segment_of` tells which segment a (host, interface) is on."""
    ties = tie(captures, [read_passes(capture) for capture in captures], segment_of)
    return joined_journeys(captures, ties, segment_of)


def joined_journeys(captures: Sequence[HostCapture], ties: Ties, segment_of: Mapping[Member, str]) -> Journeys:
    """The same, of sightings that are tied already."""
    laid = lay_out(ties, min((capture.until_ns for capture in captures if capture.until_ns), default=0))
    return Journeys(ties, laid, read_quotes(captures, laid, ties.sightings), segment_of)
