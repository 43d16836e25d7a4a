"""The flows and journeys of joined sides as objects, made on demand for those that somebody looks at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from netemu.netfilter.conntrack import Direction, Tuple
from netemu.record.decode.checksums import WORDS as CHECKSUM_WORDS
from netemu.record.decode.headers import Headers
from netemu.record.decode.rows import Column
from netemu.record.sides.clock import Clock
from netemu.record.sides.joined import JoinedSides
from netemu.record.sides.mapping import MappingNote, mapping_notes
from netemu.record.sides.missing import WORDS, Missing, missing


@dataclass(frozen=True, slots=True)
class SideSighting:
    """One packet on one side: the packet's number in its file, its time, its headers.

    `time_ns` is told by the first file's clock if `corrected`, else by that of the side's own file. `ip_checksum` and
    `checksum` are as in Sighting; one that the capturing host left to its device is `unfinished`.
    """

    side: str
    number: int
    time_ns: int
    headers: Headers
    corrected: bool = True
    ip_checksum: str | None = None
    checksum: str | None = None

    @property
    def wrong_checksums(self) -> tuple[str, ...]:
        """The protocols whose checksums are wrong in it: `ip`, and the transport's name."""
        said = (("ip", self.ip_checksum), (self.headers.proto, self.checksum))
        return tuple(name for name, known in said if known == "wrong")


@dataclass(frozen=True, slots=True)
class Change:
    """An address and port, or a TTL, that is another on the next side that saw the packet. Nobody saw who did it."""

    before_side: str
    at_side: str
    field: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class SideJourney:
    """One packet on its way. `missing` says of sides that saw its flow and not this packet what is known of that.

    `by_order` tells that other packets were alike, and that it was joined to its like by their order alone.
    """

    id: int
    flow: int
    direction: Direction
    nth: int
    sightings: tuple[SideSighting, ...]
    missing: tuple[tuple[str, str], ...]
    by_order: bool

    @property
    def changes(self) -> list[Change]:
        """What changed from side to side."""
        found = []
        for before, after in pairwise(self.sightings):
            was, now = before.headers, after.headers
            for name, old, new in (
                ("dst", _end(was.tuple, "destination"), _end(now.tuple, "destination")),
                ("src", _end(was.tuple, "source"), _end(now.tuple, "source")),
                ("ttl", str(was.ttl), str(now.ttl)),
            ):
                if old != new:
                    found.append(Change(before.side, after.side, name, old, new))
        return found


@dataclass(frozen=True, slots=True)
class Hop:
    """Between two neighbouring sides of a flow, in order of the files: packets seen on both, and lost, each way.

    `delay_ns` are medians after correction, None where no packet was seen on both or the clocks can't be compared.
    """

    one: str
    other: str
    packets: dict[Direction, int]
    lost: dict[Direction, int]
    delay_ns: dict[Direction, int | None]


@dataclass(frozen=True, slots=True)
class SideFlow:
    """One connection: its original tuple on each side that saw it, in order of the files.

    `weak` tells that little speaks for the join, `unclear` that other flows could be its own on another side,
    `assumed` that no TTL tells which way its packets went, and its client is taken to be at the first file.
    """

    id: int
    tuples: dict[str, Tuple]
    packets: dict[Direction, int]
    hops: tuple[Hop, ...]
    missing: dict[str, int]
    by_order: int
    weak: bool
    unclear: bool
    assumed: bool
    onward: bool

    @property
    def joined(self) -> bool:
        """Whether it was seen on more than one side."""
        return len(self.tuples) > 1

    @property
    def changes(self) -> list[Change]:
        """What NAT did to its original direction, side by side, the way it went."""
        sides = list(self.tuples.items())
        if not self.onward:
            sides.reverse()
        return [
            Change(one, other, field, _end(before, name), _end(after, name))
            for (one, before), (other, after) in pairwise(sides)
            for field, name in (("dst", "destination"), ("src", "source"))
            if _end(before, name) != _end(after, name)
        ]


class Sides:
    """Captures of two or more sides of a NAT, joined: their flows, each packet's journey, their clocks.

    `notes` says of each file, by its place, what of it could not be taken.
    """

    def __init__(self, joined: JoinedSides, files: Sequence[str], notes: Sequence[Sequence[str]]) -> None:
        self.joined = joined
        self.files = tuple(files)
        self.notes = tuple(tuple(each) for each in notes)

    @property
    def clocks(self) -> tuple[Clock, ...]:
        """Each file's clock as against the first's."""
        return self.joined.clocks

    @property
    def names(self) -> list[str]:
        """The sides' names, in order of the files."""
        return [side.name for side in self.joined.sides]

    @cached_property
    def joined_flows(self) -> list[int]:
        """The ids of the flows that were seen on more than one side, in order of time."""
        return [int(each) + 1 for each in self.joined.joined]

    @property
    def flow_count(self) -> int:
        """How many flows there are, joined or not; their ids count from 1."""
        return len(self.joined.flows)

    @cached_property
    def missing(self) -> Column:
        """What is known of each journey (row) and side (column) that did not see it."""
        return missing(self.joined)

    @cached_property
    def mapping(self) -> list[MappingNote]:
        """How NATs between neighbouring sides map, as far as the flows tell (RFC 4787, 4)."""
        return mapping_notes(self.joined)

    def flow(self, id: int) -> SideFlow:
        """One flow. Raises IndexError for an id that is not there."""
        if not 1 <= id <= self.flow_count:
            raise IndexError(id)
        joined, number = self.joined, id - 1
        part = joined.journeys_of(number)
        reply = joined.reply[part]
        states = self.missing[part]
        here = np.flatnonzero(joined.flows[number] >= 0).tolist()
        words = {word: int((states == state).sum()) for state, word in WORDS.items()}
        return SideFlow(
            id,
            {joined.sides[place].name: joined.tuple_at(number, place) for place in here},
            {"original": int((~reply).sum()), "reply": int(reply.sum())},
            tuple(self._hop(part, one, other) for one, other in pairwise(here)),
            {word: count for word, count in words.items() if count},
            int(joined.by_order[part].sum()),
            bool(joined.weak[number]),
            any(bool(joined.unclear_flows[place][joined.flows[number, place]]) for place in here),
            bool(joined.assumed[number]),
            bool(joined.forward[number]),
        )

    def _hop(self, part: slice, one: int, other: int) -> Hop:
        joined = self.joined
        rows, reply = joined.rows[part], joined.reply[part]
        onward = bool(joined.forward[joined.flow[part.start]])
        both = (rows[:, one] >= 0) & (rows[:, other] >= 0)
        comparable = all(joined.clocks[joined.sides[place].file].offset_ns is not None for place in (one, other))
        packets, lost, delay = {}, {}, {}
        directions: tuple[Direction, Direction] = ("original", "reply")
        for direction in directions:
            mine = reply == (direction == "reply")
            near, far = (one, other) if onward == (direction == "original") else (other, one)
            some = rows[both & mine]
            packets[direction] = len(some)
            gone = (rows[:, near] >= 0) & (self.missing[part][:, far] == Missing.LOST) & mine
            lost[direction] = int(gone.sum())
            took = joined.time_ns[far][some[:, far]] - joined.time_ns[near][some[:, near]]
            delay[direction] = round(float(np.median(took))) if len(took) and comparable else None
        return Hop(joined.sides[one].name, joined.sides[other].name, packets, lost, delay)

    def journeys(self, flow: int | None = None) -> Iterator[SideJourney]:
        """The journeys of one flow, or of all, flow by flow and in order of time."""
        part = slice(0, len(self.joined.rows)) if flow is None else self.joined.journeys_of(flow - 1)
        for number in range(part.start, part.stop):
            yield self.journey(number)

    def journey(self, number: int) -> SideJourney:
        """One journey by its place, from 0."""
        joined = self.joined
        flow, reply = int(joined.flow[number]), bool(joined.reply[number])
        onward = bool(joined.forward[flow]) ^ reply
        places = range(len(joined.sides)) if onward else reversed(range(len(joined.sides)))
        found, absent = [], []
        for place in places:
            row = int(joined.rows[number, place])
            if row >= 0:
                side = joined.sides[place]
                headers = side.packets.headers(row)
                assert headers is not None
                corrected = joined.clocks[side.file].offset_ns is not None
                time_ns = int(joined.time_ns[place][row])
                known = (CHECKSUM_WORDS[int(column[row])] for column in side.checksums)
                found.append(SideSighting(side.name, int(side.number[row]), time_ns, headers, corrected, *known))
            elif (state := Missing(self.missing[number, place])) in WORDS:
                absent.append((joined.sides[place].name, WORDS[state]))
        found.sort(key=lambda seen: -seen.headers.ttl)
        direction: Direction = "reply" if reply else "original"
        by_order = bool(joined.by_order[number])
        nth = int(joined.nth[number])
        return SideJourney(number + 1, flow + 1, direction, nth, tuple(found), tuple(absent), by_order)


def _end(directed: Tuple, name: str) -> str:
    return directed.source if name == "source" else directed.destination
