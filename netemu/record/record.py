"""A record: all that was seen between two moments, decoded and joined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from netemu.netfilter.conntrack import Entry, Tuple
from netemu.netfilter.ruleset import Rule
from netemu.record.capture import HostCapture, TapHealth
from netemu.record.flows import EntryKey, Flow, join_flows, read_entries
from netemu.record.journeys import Journey, Member, journeys


@dataclass(frozen=True, slots=True)
class Exchange:
    """One traffic item as it went: when, from which host, over which sockets, and how it ended.

    `sockets` are the directed tuples of the connections it opened itself; empty for a command, whose flows are those
    that its host began in its time. `fault` is None where the answer came.
    """

    name: str
    host: str
    what: str
    start_ns: int
    end_ns: int
    sockets: tuple[Tuple, ...] = ()
    result: str = ""
    fault: str | None = None


@dataclass(slots=True)
class Record:
    """Journeys and flows in order of time, and how far they can be believed."""

    journeys: list[Journey] = field(default_factory=list)
    flows: list[Flow] = field(default_factory=list)
    exchanges: list[Exchange] = field(default_factory=list)
    health: list[TapHealth] = field(default_factory=list)
    rules: dict[str, tuple[Rule, ...]] = field(default_factory=dict)
    counters: dict[str, dict[tuple[str, str, str, int], int]] = field(default_factory=dict)
    sightings: int = 0

    @property
    def lost(self) -> int:
        """How many frames and events the taps lost, all together."""
        return sum(tap.lost for tap in self.health)

    def unsound(self, hosts: set[str]) -> list[TapHealth]:
        """The taps of these hosts that lost something or did not show themselves alive."""
        return [tap for tap in self.health if tap.host in hosts and not tap.sound]

    def exchange(self, name: str) -> Exchange | None:
        """The last exchange of a traffic item, or None if it was not sent."""
        return next((item for item in reversed(self.exchanges) if item.name == name), None)

    def flows_of(self, exchange: Exchange) -> list[Flow]:
        """The flows that an exchange began."""
        if exchange.sockets:
            return [flow for flow in self.flows if flow.original in exchange.sockets and _within(flow, exchange)]
        return [
            flow
            for flow in self.flows
            if flow.journeys[0].first.point.host == exchange.host and _within(flow, exchange)
        ]

    def matches(self, host: str) -> dict[tuple[str, str, str, int], int]:
        """How often each rule of a host was seen to match, by the rule's key."""
        counts: dict[tuple[str, str, str, int], int] = {}
        for journey in self.journeys:
            for turn in journey.rules:
                if turn.host == host and turn.rule is not None:
                    counts[turn.rule.key] = counts.get(turn.rule.key, 0) + 1
        return counts


def build_record(
    captures: Sequence[HostCapture], segment_of: Mapping[Member, str], exchanges: Sequence[Exchange] = ()
) -> Record:
    """Decode and join what the taps of all hosts handed over."""
    found = journeys(captures, segment_of)
    entries: dict[EntryKey, Entry] = {}
    for capture in captures:
        for id, entry in read_entries([*capture.conntrack, *capture.entries]).items():
            entries[capture.host, id] = entry
    flows = join_flows(found, entries)
    for number, journey in enumerate(found, 1):
        journey.id = number
    return Record(
        found,
        flows,
        list(exchanges),
        [tap for capture in captures for tap in capture.health],
        {capture.host: capture.rules_after.rules for capture in captures},
        {capture.host: capture.rules_after.packets_since(capture.rules_before) for capture in captures},
        sum(len(capture.frames) for capture in captures)
        + sum(seen.point.stage is not None for journey in found for seen in journey.sightings),
    )


def _within(flow: Flow, exchange: Exchange) -> bool:
    start = flow.journeys[0].start_ns
    return start is None or exchange.start_ns <= start <= exchange.end_ns
