"""A record: all that was seen between two moments, decoded and joined."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import IO, TYPE_CHECKING, Any, Unpack

import numpy as np

from netemu.errors import MachineError, UsageError
from netemu.netfilter.ruleset import Rule
from netemu.record.arp import ArpSightings
from netemu.record.ask.askable import Askable, ByHand
from netemu.record.ask.latency import Latency, latency
from netemu.record.ask.seen import Seen
from netemu.record.ask.select import Words, journeys_where
from netemu.record.capture import HostCapture, TapHealth
from netemu.record.decode.link import LinkColumns
from netemu.record.decode.packets import VXLAN_PORT
from netemu.record.exchange import Exchange
from netemu.record.files.saved import Raw, read, write
from netemu.record.files.table import NEEDS_POLARS, table
from netemu.record.flows import Flow, Flows, entries_of, join_flows
from netemu.record.join.legacy import settle
from netemu.record.join.passes import HostPasses, read_passes
from netemu.record.join.ties import tie
from netemu.record.join.turn import RuleTurn
from netemu.record.join.wires import Member
from netemu.record.journeys import Journey, Journeys, joined_journeys
from netemu.record.sighting import Sighting
from netemu.record.tracked import ConntrackEvents
from netemu.topology.naming import hint

if TYPE_CHECKING:
    import polars as pl


@dataclass(slots=True, repr=False)
class Record:
    """Journeys and flows in order of time, and how far they can be believed.

    `counters` are what each host's rules counted meanwhile, by the rule's key; `uncertain` how many traced matches lie
    so near the record's edges that the counters may hold them or not. `untraced` are the hosts with rules besides
    that no trace shows (iptables-legacy); `matchable` is how many packets could have matched such a rule of a nat
    table. `captured` counts every frame and every hook sighting, also of packets that are not followed, such as ARP.

    `journeys`, `flows`, `sightings`, `conntrack` and `arp` are sequences of all; called, they give what is asked for:
    `record.journeys("tcp and not port 22", at="B@forward")`. `link` has the link headers of all frames in columns.
    """

    journeys: Askable[Journey] = field(default_factory=ByHand)
    flows: Flows = field(default_factory=Flows)
    exchanges: list[Exchange] = field(default_factory=list)
    health: list[TapHealth] = field(default_factory=list)
    rules: dict[str, tuple[Rule, ...]] = field(default_factory=dict)
    counters: dict[str, dict[tuple[str, str, str, int], int]] = field(default_factory=dict)
    uncertain: dict[str, dict[tuple[str, str, str, int], int]] = field(default_factory=dict)
    untraced: frozenset[str] = frozenset()
    matchable: dict[str, dict[tuple[str, str, str, int], int]] = field(default_factory=dict)
    captured: int = 0
    raw: Raw = field(default_factory=Raw, compare=False)
    conntrack: ConntrackEvents = field(default_factory=ConntrackEvents, compare=False)
    link: LinkColumns = field(default_factory=LinkColumns, compare=False)
    arp: ArpSightings = field(default_factory=ArpSightings, compare=False)

    @property
    def sightings(self) -> Askable[Sighting]:
        """The sightings of all packets that were followed, journey by journey; made on demand."""
        if isinstance(self.journeys, Journeys):
            return Seen(self.journeys)
        return ByHand(seen for journey in self.journeys for seen in journey.sightings)

    def latency(self, one: str, other: str, text: str = "", /, **words: Unpack[Words]) -> Latency:
        """How long the packets that are asked for took from one wire point to another, as in `B:eth0 in`.

        UsageError for a hook, which has no times, and for a point or word that there is not.
        """
        if not isinstance(self.journeys, Journeys):
            raise UsageError("a record that was put together by hand has no times")
        return latency(self.journeys, one, other, journeys_where(self.journeys, text, words))

    def write_parquet(self, file: str) -> None:
        """Write `frame` as a Parquet file. Raises UsageError as `frame` does, and where it can't be written."""
        try:
            self.frame.write_parquet(file)
        except OSError as error:
            raise _unwritable(file, error) from error

    def save(self, file: str) -> None:
        """Write what the taps handed over to a file: `Record.load` gives an equal record back.

        Raises UsageError for a place where it can't be written.
        """
        try:
            with open(file, "wb") as opened:
                self.write(opened)
        except OSError as error:
            raise _unwritable(file, error) from error

    def write(self, opened: IO[bytes]) -> None:
        """The same to a file that is open already. Raises what that raises, OSError as a rule."""
        write(opened, replace(self.raw, exchanges=tuple(self.exchanges)))

    @classmethod
    def load(cls, file: str) -> Record:
        """Read a saved record. Raises CaptureError for a file that is none, UsageError for one that can't be read."""
        try:
            with open(file, "rb") as opened:
                raw = read(opened, file)
        except OSError as error:
            raise UsageError(f"{file} can't be read: {error.strerror or error}") from error
        return build_record(raw.captures, raw.segment_of, raw.exchanges, raw.lab, raw.topology)

    def pcapng(self) -> Iterator[bytes]:
        """The record as a capture file for Wireshark, piece by piece: one interface a point."""
        from netemu.record.files.export import pcapng

        return pcapng(self.raw.captures, self.journeys)

    @property
    def lost(self) -> int:
        """How many frames and events the taps lost, all together."""
        return sum(tap.lost for tap in self.health)

    @property
    def frame(self) -> pl.DataFrame:
        """Every sighting of every journey as a Polars data frame (table.py names its columns).

        MachineError where polars is not installed, UsageError where the journeys are no columns.
        """
        if not isinstance(self.journeys, Journeys):
            raise UsageError("a record that was put together by hand has no data frame")
        try:
            return table(self.journeys, entries_of(self.raw.captures))
        except ImportError as error:
            raise MachineError(NEEDS_POLARS) from error

    def frames_table(self, vxlan_ports: Iterable[int] = (VXLAN_PORT,)) -> pl.DataFrame:
        """Every frame of every wire, IP or not, as a Polars data frame (frames_table.py names its columns).

        What VXLAN carries to these UDP ports is told beside the frame that carries it. MachineError where polars is
        not installed, UsageError for what is no port.
        """
        from netemu.record.files.frames_table import frames_table

        try:
            return frames_table(self.link, vxlan_ports)
        except ImportError as error:
            raise MachineError(NEEDS_POLARS) from error

    def unsound(self, hosts: set[str]) -> list[TapHealth]:
        """The taps of these hosts that lost something or did not show themselves alive."""
        return [tap for tap in self.health if tap.host in hosts and not tap.sound]

    def __repr__(self) -> str:
        return f"<Record of {len(self.exchanges)} exchanges, {len(self.journeys)} journeys, {self.lost} lost>"

    def exchange(self, name: str) -> Exchange | None:
        """The last exchange of a traffic item, or None if it was not sent."""
        return next((item for item in reversed(self.exchanges) if item.name == name), None)

    def flows_named(self, name: str) -> list[int]:
        """The ids of the flows that a traffic item began, each time it was sent. UsageError for one that was not."""
        sent = [item for item in self.exchanges if item.name == name]
        if not sent:
            names = list(dict.fromkeys(item.name for item in self.exchanges))
            raise UsageError(f"no traffic item '{name}' was sent while this was recorded{hint(name, names)}")
        return [flow.id for item in sent for flow in self.flows_of(item)]

    def flows_of(self, exchange: Exchange | None) -> list[Flow]:
        """The flows that an exchange began; none for an item that was not sent."""
        if exchange is None:
            return []
        if exchange.sockets:
            mine = [flow for flow in self.flows if flow.original in exchange.sockets]
            return [flow for flow in mine if _began_in(flow, exchange)]
        return [flow for flow in self.flows if flow.begins_at == exchange.host and _began_in(flow, exchange)]

    def matches(self, host: str) -> dict[tuple[str, str, str, int], int]:
        """How often each rule of a host was seen to match, by the rule's key."""
        counts: Counter[tuple[str, str, str, int]] = Counter()
        for turn, times in self._met():
            if turn.host == host and turn.rule is not None:
                counts[turn.rule.key] += times
        return dict(counts)

    def _met(self) -> Iterable[tuple[RuleTurn, int]]:
        if isinstance(self.journeys, Journeys):
            return self.journeys.met()
        return ((turn, 1) for journey in self.journeys for turn in journey.rules)


def _unwritable(file: str, error: OSError) -> UsageError:
    return UsageError(f"{file} can't be written: {error.strerror or error}")


def build_record(
    captures: Sequence[HostCapture],
    segment_of: Mapping[Member, str],
    exchanges: Sequence[Exchange] = (),
    lab: str = "",
    topology: Mapping[str, Any] | None = None,
) -> Record:
    """Decode and join what the taps of all hosts handed over.

    `lab` is the lab's name, `topology` what was built (`topology.built`), for who reads it later.
    """
    settled = [settle(capture, read_passes(capture)) for capture in captures]
    uncertain = {each.host: _uncertain(capture, each) for capture, (each, _) in zip(captures, settled, strict=True)}
    could_match = {each.host: matchable for each, matchable in settled if matchable}
    ties = tie(captures, [each for each, _ in settled], segment_of, topology)
    del settled  # a large record's passes go before journeys and flows take as much memory
    found = joined_journeys(captures, ties, segment_of)
    flows = join_flows(found, entries_of(captures))
    found.numbered = True
    link = LinkColumns(captures)
    record = Record(
        found,
        Flows(flows, found),
        list(exchanges),
        [tap for capture in captures for tap in capture.health],
        {capture.host: capture.rules_after.rules for capture in captures},
        {capture.host: capture.rules_after.packets_since(capture.rules_before) for capture in captures},
        uncertain,
        frozenset(capture.host for capture in captures if capture.rules_before.legacy or capture.rules_after.legacy),
        could_match,
        sum(len(capture.frames) for capture in captures) + int((found.laid.rows >= found.seen.wires).sum()),
        Raw(tuple(captures), segment_of, tuple(exchanges), lab, topology),
        ConntrackEvents.of(captures),
        link,
        ArpSightings(link),
    )
    found.flows_named = record.flows_named
    return record


def _uncertain(capture: HostCapture, passes: HostPasses) -> dict[tuple[str, str, str, int], int]:
    """How often each rule matched outside the stretch for which the counters were surely read."""
    if capture.counted is None:
        return {}
    start, end = capture.counted
    rules = capture.rules_before.by_handle() | capture.rules_after.by_handle()
    events = passes.events
    outside = (events.datagram < start) | (events.datagram >= end)
    often = np.bincount(events.said[outside], minlength=len(events.sayings)).tolist()
    counts: Counter[tuple[str, str, str, int]] = Counter()
    for said, times in zip(events.sayings, often, strict=True):
        rule = rules.get((said.family, said.table, said.chain, said.handle or 0))
        if said.kind == "rule" and rule is not None and times:
            counts[rule.key] += times
    return dict(counts)


def _began_in(flow: Flow, exchange: Exchange) -> bool:
    """Whether a flow began in an exchange's time; what no wire saw: in its stretch of the trace, if that is known."""
    began = flow.start_ns
    if began is None:
        place = flow.journeys[0].first.place_in_trace
        if exchange.events is not None and place is not None and flow.begins_at == exchange.host:
            return exchange.events[0] <= place < exchange.events[1]
        if exchange.sockets:
            return True
        began = flow.since_ns
    return exchange.start_ns <= began <= exchange.end_ns
