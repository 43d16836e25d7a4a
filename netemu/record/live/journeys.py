"""Journeys as they complete: captured bytes go in piece by piece, each journey comes out once. Time is an argument.

What is not told yet is joined anew with each piece, by the same steps as a whole record; what was told is forgotten.
A journey is told when its end was seen and nothing came to it for a while (`linger`: taps hand over at different
times), or when nothing came to it for as long as a packet may be under way (`settle`). One that shares a tuple with an
earlier one which is not told yet waits for it, so that flows and nth are as in the whole. An ICMP error and the packet
that it quotes wait for each other, as a packet in a tunnel and the datagram that carries it do. One that comes later
names a packet that was told, if it is still known (quoted.py); if not, it says what it quotes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from netemu.record.capture import HostCapture
from netemu.record.decode.packets import decode_frames
from netemu.record.decode.rows import Column
from netemu.record.decode.tuples import digests
from netemu.record.frames import Datagrams, Frames
from netemu.record.join.forest import UNSEEN, Laid, lay_out
from netemu.record.join.legacy import settle
from netemu.record.join.passes import HostPasses, passes_and_events
from netemu.record.join.quotes import Lone, Quote, lone_errors, read_quotes
from netemu.record.join.ties import Ties, tie
from netemu.record.join.tunnels import TunnelHop
from netemu.record.join.wires import Member
from netemu.record.journeys import Journey, Journeys
from netemu.record.live.flows import LiveFlows
from netemu.record.live.quoted import ToldPackets, keys_of

LINGER_NS, SETTLE_NS = 50_000_000, 1_000_000_000
MOST = 200_000
"""Frames and trace messages that are kept; where more are not told yet, all are told as they are."""


@dataclass(frozen=True, slots=True)
class Completed:
    """A journey that is told, and its packets' bytes: of each wire the frame; what the first hook saw, if no wire did.

    `headers` are from the IP header on, of at most 20 bytes behind it.
    """

    journey: Journey
    frames: tuple[bytes, ...] = ()
    headers: bytes = b""


def _nothing() -> Column:
    return np.empty(0, np.int64)


@dataclass(slots=True)
class _Held:
    """What is not told yet of a host; `*_at` are when each frame and trace message was handed in."""

    about: HostCapture
    frames: Frames = field(default_factory=Frames.of)
    frames_at: Column = field(default_factory=_nothing)
    trace: Datagrams = field(default_factory=Datagrams.of)
    trace_at: Column = field(default_factory=_nothing)

    def add(self, piece: HostCapture, now_ns: int) -> None:
        """Take a piece: of the frames, those that hold IP."""
        offset = piece.frames.offset
        frames = piece.frames.select(decode_frames(piece.frames.data, offset[:-1], offset[1:]).version > 0)
        self.about = replace(piece, frames=Frames.of(), trace=Datagrams.of(), conntrack=Datagrams.of(), entries=[])
        self.frames = Frames.concat([self.frames, frames])
        self.frames_at = np.append(self.frames_at, np.full(len(frames), now_ns))
        self.trace = Datagrams.concat([self.trace, piece.trace])
        self.trace_at = np.append(self.trace_at, np.full(len(piece.trace), now_ns))

    def keep(self, frames: Column, trace: Column) -> None:
        """Forget all else."""
        self.frames, self.frames_at = self.frames.select(frames), self.frames_at[frames]
        self.trace, self.trace_at = self.trace.select(trace), self.trace_at[trace]


@dataclass(frozen=True, slots=True)
class _Joined:
    """All that is not told yet, joined: of each host's trace messages the pass they are of (-1: none)."""

    ties: Ties
    laid: Laid
    journeys: Journeys
    found: Sequence[HostPasses]
    pass_of: Sequence[Column]
    lone: Mapping[int, Lone]

    @property
    def passes_before(self) -> Column:
        """How many passes the hosts before each have."""
        return np.cumsum([0, *(len(each.start) for each in self.found)])


class Live:
    """`feed` it pieces, in the order in which they came; `finish` tells what is left."""

    def __init__(
        self, segment_of: Mapping[Member, str], settle_ns: int = SETTLE_NS, linger_ns: int = LINGER_NS
    ) -> None:
        self.segment_of = segment_of
        self.settle_ns = settle_ns
        self.linger_ns = linger_ns
        self.flows = LiveFlows()
        self.packets = ToldPackets()
        self._held: dict[str, _Held] = {}
        self._told = 0

    @property
    def pending(self) -> int:
        """How many frames and trace messages are kept."""
        return sum(len(held.frames) + len(held.trace) for held in self._held.values())

    def feed(self, pieces: Sequence[HostCapture], now_ns: int) -> list[Completed]:
        """Take what the taps handed over since the last call, host by host; the journeys that are complete now."""
        for piece in pieces:
            self._held.setdefault(piece.host, _Held(piece)).add(piece, now_ns)
            self.flows.learn(piece.host, [*piece.conntrack, *piece.entries])
        return self._tell(now_ns, everything=self.pending > MOST)

    def finish(self, now_ns: int = 0) -> list[Completed]:
        """Tell all journeys that are left, as far as they were seen."""
        return self._tell(now_ns, everything=True)

    def _tell(self, now_ns: int, *, everything: bool) -> list[Completed]:
        if not self.pending:
            return []
        hosts = list(self._held.values())
        joined = self._join(hosts)
        last = _last_added(hosts, joined)
        age = now_ns - last
        ended = (
            np.logical_and.reduceat(joined.laid.end != UNSEEN, joined.laid.ends_offset[:-1]) if len(last) else last > 0
        )
        ready = (age >= self.settle_ns) | (ended & (age >= self.linger_ns)) | everything
        told = self._together(joined, ready)
        ids = {number: self._told + place for place, number in enumerate(told.tolist(), 1)}
        completed: dict[int, Completed] = {}
        keys = keys_of(joined.laid, joined.ties.sightings, told)
        for number in ids:
            each = self._complete(joined, number, ids, completed)
            if each.journey.error is None:
                self.packets.keep(each.journey, keys[number])
            completed[each.journey.id] = each
        self._forget(hosts, joined, told, now_ns, everything=everything)
        return list(completed.values())

    def _join(self, hosts: list[_Held]) -> _Joined:
        captures = [replace(held.about, frames=held.frames, trace=held.trace) for held in hosts]
        both = [passes_and_events(capture) for capture in captures]
        found = [settle(capture, passes)[0] for capture, (passes, _) in zip(captures, both, strict=True)]
        pass_of = []
        for held, passes, (_, of_event) in zip(hosts, found, both, strict=True):
            of_message = np.full(len(held.trace), -1, np.int64)
            of_message[passes.events.datagram] = of_event
            pass_of.append(of_message)
        ties = tie(captures, found, self.segment_of)
        laid = lay_out(ties)
        quotes = read_quotes(captures, laid, ties.sightings)
        lone = {each.journey: each for each in lone_errors(captures, laid, ties.sightings, quotes)}
        return _Joined(ties, laid, Journeys(ties, laid, quotes, self.segment_of), found, pass_of, lone)

    def _together(self, joined: _Joined, ready: Column) -> Column:
        """Those that are told now: a packet in a tunnel together with its carrier, an error with what it quotes."""
        tunnels, quotes = joined.journeys.tunnels, joined.journeys.quotes
        pairs = np.stack([tunnels.journey, tunnels.carrier])[:, tunnels.carrier >= 0]
        pairs = np.hstack([pairs, np.stack([quotes.journey, quotes.of])])
        while True:
            told = self._unheld(joined, ready)
            ready = np.zeros(len(ready), np.bool_)
            ready[told] = True
            apart = ready[pairs].any(axis=0) & ~ready[pairs].all(axis=0)
            if not apart.any():
                return told
            ready[pairs[:, apart]] = False

    def _unheld(self, joined: _Joined, ready: Column) -> Column:
        """Those that are ready, but for those that share a tuple with an earlier one that is not told now."""
        if ready.all():
            return np.arange(len(ready))
        laid = joined.laid
        both = np.stack(digests(joined.ties.sightings.packets))
        held: set[int] = set()
        told = []
        for number, is_ready in enumerate(ready.tolist()):
            rows = laid.rows[laid.offset[number] : laid.offset[number + 1]]
            mine = set(both[:, rows].ravel().tolist())
            if is_ready and not mine & held:
                told.append(number)
            else:
                held |= mine
        return np.array(told, np.int64)

    def _complete(
        self, joined: _Joined, number: int, ids: Mapping[int, int], told: Mapping[int, Completed]
    ) -> Completed:
        journey = _renumbered(joined.journeys[number], ids)
        self._told += 1
        journey.id = self._told
        quoted = told.get(journey.quotes or 0)
        if number in joined.lone:
            self.flows.take(journey, self.packets.name(journey, joined.lone[number]))
        else:
            self.flows.take(journey, quoted.journey if quoted is not None else None)
        laid, seen = joined.laid, joined.ties.sightings
        rows = laid.rows[laid.offset[number] : laid.offset[number + 1]]
        wires = rows[rows < seen.wires].tolist()
        if wires:
            return Completed(journey, tuple(self._frame(row) for row in wires))
        return Completed(journey, (), _headers(joined, int(rows[0]) - seen.wires) if len(rows) else b"")

    def _frame(self, row: int) -> bytes:
        for held in self._held.values():
            if row < len(held.frames):
                offset = held.frames.offset
                return bytes(held.frames.data[offset[row] : offset[row + 1]])
            row -= len(held.frames)
        raise IndexError(row)

    def _forget(self, hosts: list[_Held], joined: _Joined, told: Column, now_ns: int, *, everything: bool) -> None:
        """Let go of what was told, and of what is on no journey and too old to come on one."""
        laid, seen = joined.laid, joined.ties.sightings
        owner = np.full(len(seen), -1, np.int64)
        owner[laid.rows] = np.repeat(np.arange(len(laid)), np.diff(laid.offset))
        pass_owner = np.full(len(joined.ties.passes), -1, np.int64)
        pass_owner[laid.passes] = np.repeat(np.arange(len(laid)), np.diff(laid.passes_offset))
        gone = np.zeros(len(laid) + 1, np.bool_)
        gone[told] = True
        row, before = 0, joined.passes_before
        for place, held in enumerate(hosts):
            mine = owner[row : row + len(held.frames)]
            row += len(held.frames)
            passes = np.append(pass_owner[before[place] : before[place + 1]], -1)
            whose = passes[joined.pass_of[place]]
            old = now_ns - self.settle_ns
            frames = np.where(mine >= 0, gone[mine], held.frames_at <= old)
            trace = np.where(whose >= 0, gone[whose], held.trace_at <= old)
            if everything:
                frames, trace = np.ones_like(frames), np.ones_like(trace)
            if frames.any() or trace.any():
                held.keep(~frames, ~trace)


def _renumbered(journey: Journey, ids: Mapping[int, int]) -> Journey:
    """With others that are told together named by the ids that they are told by; others are forgotten, or to come."""

    def named(id: int | None) -> int | None:
        return ids.get(id - 1) if id is not None else None

    def told(errors: Sequence[Quote]) -> tuple[Quote, ...]:
        return tuple(replace(error, journey=ids[error.journey - 1]) for error in errors if error.journey - 1 in ids)

    def with_id(error: Quote | None) -> Quote | None:
        return next(iter(told([error])), None) if error is not None else None

    def through(hop: TunnelHop) -> TunnelHop | None:
        carrier = named(hop.carrier)
        return replace(hop, carrier=carrier) if hop.carrier is None or carrier is not None else None

    journey = replace(
        journey,
        ends=tuple(replace(end, error=with_id(end.error)) for end in journey.ends),
        error=with_id(journey.error),
        quotes=named(journey.quotes),
        errors=told(journey.errors),
        duplicates=named(journey.duplicates),
        retransmits=named(journey.retransmits),
        tunnels=tuple(hop for hop in map(through, journey.tunnels) if hop is not None),
        carries=named(journey.carries),
        carries_among=journey.carries_among if journey.carries is None or named(journey.carries) else 0,
    )
    journey.end = journey.ends[0]
    return journey


def _last_added(hosts: list[_Held], joined: _Joined) -> Column:
    """When something was added to each journey the last time."""
    laid, seen = joined.laid, joined.ties.sightings
    last = np.zeros(len(laid), np.int64)
    row_at = np.concatenate([_nothing(), *(held.frames_at for held in hosts)])
    wires = laid.rows < seen.wires
    journey = np.repeat(np.arange(len(laid)), np.diff(laid.offset))
    np.maximum.at(last, journey[wires], row_at[laid.rows[wires]])
    pass_at = np.zeros(len(joined.ties.passes), np.int64)
    for held, of, before in zip(hosts, joined.pass_of, joined.passes_before, strict=False):
        np.maximum.at(pass_at, of[of >= 0] + before, held.trace_at[of >= 0])
    np.maximum.at(last, np.repeat(np.arange(len(laid)), np.diff(laid.passes_offset)), pass_at[laid.passes])
    return last


def _headers(joined: _Joined, hook: int) -> bytes:
    """What a hook saw of a packet."""
    for passes in joined.found:
        if hook < len(passes.stage):
            events, event = passes.events, int(passes.event[hook])
            network = events.bytes_at(int(events.network[event]), int(events.network_length[event]))
            return network + events.bytes_at(int(events.transport[event]), int(events.transport_length[event]))
        hook -= len(passes.stage)
    raise IndexError(hook)
