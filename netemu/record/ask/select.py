"""Which sightings and journeys of a record are asked for: words onto columns of truth values, all rows at once.

A journey is chosen when one of its sightings fits all that is asked of a sighting (with `at`, at that point), and it
fits all that is asked of a journey.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING, Any, TypedDict, get_args

import numpy as np

from netemu.errors import UsageError
from netemu.netfilter.conntrack import Direction, State
from netemu.netfilter.messages import PROTOCOLS
from netemu.record.ask.at import points_at
from netemu.record.ask.expression import FLAGS, Term, complain, evaluate
from netemu.record.ask.given import number, one_of, true_or_false, within
from netemu.record.decode.rows import Column
from netemu.record.join.changes import rewritten, with_before
from netemu.record.join.ends import ENDS
from netemu.record.join.rewrites import Cause
from netemu.topology.naming import hint
from netemu.topology.points import Point
from netemu.topology.values import Endpoint

if TYPE_CHECKING:
    from netemu.record.journeys import Journeys

_NUMBERS = {name: number for number, name in PROTOCOLS.items()}
_LAST_PORT = 0xFFFF
_LOW = (1 << 64) - 1


class Words(TypedDict, total=False):
    """What can be asked, joined by 'and'.

    Of a sighting: `at` (a point, an interface or a host of the lab), `proto`, `src`, `dst` and `host` (an address, a
    network, `ADDRESS:PORT` or `*:PORT`; `host` is either side), `port` (either side), `sport`, `dport`, `ct`
    (conntrack's state, or `none`), `by` (what rewrote it there), `walked` (whether a nat chain was walked to there;
    without `at`, False means nowhere on the journey). Of a journey: `flow`, `direction`, `nth`, `first`, `traffic`
    (an exchange's name), `end` (how it ended), `since_ns` and `until_ns` (when it began, both included).
    """

    at: str | Point
    proto: str
    src: str
    dst: str
    host: str
    port: int
    sport: int
    dport: int
    ct: str
    by: str
    walked: bool
    flow: int
    direction: str
    nth: int
    first: bool
    traffic: str
    end: str
    since_ns: int
    until_ns: int


KNOWN = tuple(Words.__annotations__)


def positions_where(journeys: Journeys, text: str, words: Mapping[str, Any]) -> Column:
    """The places in `laid.rows` of the sightings that are asked for, in order. Raises UsageError on unknown words."""
    laid = journeys.laid
    asked = _Asked(journeys, text, words)
    fits = asked.rows[laid.rows] if asked.rows is not None else np.ones(len(laid.rows), np.bool_)
    if asked.journeys is not None:
        fits = fits & np.repeat(asked.journeys, np.diff(laid.offset))
    return np.flatnonzero(fits)


def journeys_where(journeys: Journeys, text: str, words: Mapping[str, Any]) -> Column:
    """The places of the journeys that are asked for, in order. Raises UsageError on unknown words."""
    laid = journeys.laid
    asked = _Asked(journeys, text, words, whole=True)
    fits = np.ones(len(laid), np.bool_)
    if asked.rows is not None and len(laid):
        fits = np.logical_or.reduceat(asked.rows[laid.rows], laid.offset[:-1])
    if asked.journeys is not None:
        fits = fits & asked.journeys
    return np.flatnonzero(fits)


class _Asked:
    """What is asked: `rows` for each sighting's row, `journeys` for each journey; None where nothing is."""

    def __init__(self, journeys: Journeys, text: str, words: Mapping[str, Any], *, whole: bool = False) -> None:
        if not isinstance(text, str):
            raise UsageError(f"what is asked for first is a text in pcap's manner, such as 'tcp port 80', not {text!r}")
        self.of = Rows(journeys)
        self.rows: Column | None = None
        self.journeys: Column | None = None
        if text.strip():
            self.rows = evaluate(text, partial(self.of.term, text))
        for word, value in words.items():
            if word not in KNOWN:
                raise UsageError(f"nothing can be asked by '{word}'{hint(word, KNOWN)}")
            if whole and word == "walked" and value is False and "at" not in words:
                self._narrow_journeys(~self._somewhere(self.of.walked(True)))
            elif (column := getattr(self.of, f"of_{word}", None)) is not None:
                self._narrow_journeys(column(value))
            else:
                found = getattr(self.of, word)(value)
                self.rows = found if self.rows is None else self.rows & found

    def _narrow_journeys(self, found: Column) -> None:
        self.journeys = found if self.journeys is None else self.journeys & found

    def _somewhere(self, rows: Column) -> Column:
        laid = self.of.journeys.laid
        return np.logical_or.reduceat(rows[laid.rows], laid.offset[:-1]) if len(laid) else np.empty(0, np.bool_)


class Rows:
    """Truth values for all rows of a record's sightings, a method a word; `of_…` for all of its journeys."""

    def __init__(self, journeys: Journeys) -> None:
        self.journeys = journeys
        self.seen = journeys.seen
        self.packets = journeys.seen.packets

    def term(self, text: str, term: Term) -> Column:
        """One term of a text."""
        kind, side, value, place = term
        try:
            if kind == "flag":
                return (self.packets.flags & np.uint8(FLAGS[value])) != 0
            if kind in ("greater", "less"):
                return self._lengths(kind, number(value, kind))
            return getattr(self, f"_{kind}")(side, value)
        except UsageError as error:
            raise complain(text, place, str(error)) from error

    def at(self, value: str | Point) -> Column:
        """Seen at a point, on an interface either way, or anywhere at a host."""
        fits = points_at(value, self.seen.hosts, self.seen.interfaces)
        return np.array([fits(point) for point in self.seen.points], np.bool_)[self.seen.point]

    def _at(self, _: str, value: str) -> Column:
        return self.at(value)

    def proto(self, value: str) -> Column:
        """A protocol by its name or number; `ip` and `ip6` are the versions."""
        if value in ("ip", "ip6"):
            return self.packets.version == (4 if value == "ip" else 6)
        known = _NUMBERS.get(str(value))
        if known is None:
            if not str(value).isdigit():
                raise UsageError(f"there is no protocol '{value}'{hint(str(value), (*_NUMBERS, 'ip', 'ip6'))}")
            known = within(number(value, "protocol"), "protocol", 0, 255)
        return self.packets.proto == known

    def _proto(self, _: str, value: str) -> Column:
        return self.proto(value)

    def src(self, value: str) -> Column:
        """From an address, a network or an endpoint."""
        return self._endpoint("src", value)

    def dst(self, value: str) -> Column:
        """To an address, a network or an endpoint."""
        return self._endpoint("dst", value)

    def host(self, value: str) -> Column:
        """From or to an address, a network or an endpoint."""
        return self.src(value) | self.dst(value)

    def _host(self, side: str, value: str) -> Column:
        return self._sided(self._endpoint, side, value)

    def _net(self, side: str, value: str) -> Column:
        return self._sided(self._endpoint, side, value)

    def port(self, value: int) -> Column:
        """A port on either side."""
        return self._sided(self._one_port, "", value)

    def sport(self, value: int) -> Column:
        """The source's port."""
        return self._one_port("src", value)

    def dport(self, value: int) -> Column:
        """The destination's port."""
        return self._one_port("dst", value)

    def _port(self, side: str, value: str) -> Column:
        return self._sided(self._one_port, side, value)

    def _portrange(self, side: str, value: str) -> Column:
        low, _, high = value.partition("-")
        first, last = (within(number(each, "port"), "port", 0, _LAST_PORT) for each in (low, high))

        def between(side: str, _: str) -> Column:
            ports = self._ports(side)
            return (ports >= first) & (ports <= last)

        return self._sided(between, side, value)

    def _sided(self, ask: Callable[[str, Any], Column], side: str, value: Any) -> Column:
        return ask(side, value) if side else ask("src", value) | ask("dst", value)

    def _ports(self, side: str) -> Column:
        return self.packets.sport if side == "src" else self.packets.dport

    def _one_port(self, side: str, value: int | str) -> Column:
        return self._ports(side) == within(number(value, "port"), "port", 0, _LAST_PORT)

    def _endpoint(self, side: str, value: str) -> Column:
        network, port = self._parsed(str(value))
        fits = np.ones(len(self.seen), np.bool_) if port is None else self._one_port(side, port)
        if network is None:
            return fits
        address, mask = int(network.network_address), int(network.netmask)
        high, low = getattr(self.packets, f"{side}_high"), getattr(self.packets, f"{side}_low")
        fits = fits & (self.packets.version == network.version)
        if mask & _LOW:
            fits &= (low & np.uint64(mask & _LOW)) == np.uint64(address & _LOW)
        if mask >> 64:
            fits &= (high & np.uint64(mask >> 64)) == np.uint64(address >> 64)
        return fits

    def _parsed(self, value: str) -> tuple[IPv4Network | IPv6Network | None, int | None]:
        """An address or network, and a port; None for what is not asked."""
        try:
            return ip_network(value), None
        except ValueError as error:
            wrong = error
        try:
            asked = Endpoint.parse(value)
            return (ip_network(asked.address) if asked.address is not None else None), asked.port
        except ValueError:
            if value in self.seen.hosts:
                raise UsageError(f"'{value}' is a host of the lab, no address: ask with at='{value}'") from None
            raise UsageError(f"'{value}' is no address, network or ADDRESS:PORT: {wrong}") from wrong

    def _vlan(self, _: str, value: str) -> Column:
        tag = self.packets.vlan
        if not value:
            return tag >= 0
        return (tag >= 0) & ((tag & 0xFFF) == within(number(value, "vlan"), "vlan", 0, 0xFFF))

    def _lengths(self, kind: str, value: int) -> Column:
        """By a frame's length on its wire; a hook sees no frame."""
        fits = np.zeros(len(self.seen), np.bool_)
        lengths = self.seen.lengths()
        fits[: self.seen.wires] = lengths >= value if kind == "greater" else lengths <= value
        return fits

    def ct(self, value: str) -> Column:
        """conntrack's state of the packet at a hook; `none` where it has none there."""
        known = (*get_args(State), "none")
        one_of("conntrack state", value, known)
        wanted = np.array([state.state == value for state in self.seen.states] + [value == "none"], np.bool_)
        fits = np.zeros(len(self.seen), np.bool_)
        fits[self.seen.wires :] = wanted[self.seen.ct]  # -1, for none, is the last one
        return fits

    def walked(self, value: bool) -> Column:
        """At a .nat point, and a nat chain was walked to there or not."""
        true_or_false("walked", value)
        seen = self.seen
        nat = np.array([turn.nat for turn in seen.met], np.bool_)[seen.turns]
        often = np.concatenate([[0], np.cumsum(nat)])
        walked = often[seen.turns_first + seen.turns_count] > often[seen.turns_first]
        fits = np.zeros(len(seen), np.bool_)
        fits[seen.wires :] = walked == bool(value)
        return fits & np.array([point.is_nat for point in seen.points], np.bool_)[seen.point]

    def by(self, value: str) -> Column:
        """An address or port that was rewritten there (for `route`, a TTL), and by what."""
        one_of("cause of a rewrite", value, get_args(Cause))
        fits = np.zeros(len(self.seen), np.bool_)
        if value == "route":
            rows, before = with_before(self.journeys.laid)
            fits[rows] = self.packets.ttl[rows] != self.packets.ttl[before]
            return fits
        rows, kind_of, kinds = rewritten(self.seen, self.journeys.laid)
        fits[rows] = np.array([value in {each.by for each in kind} for kind in kinds] + [value == "unknown"])[kind_of]
        return fits

    def of_flow(self, value: int) -> Column:
        """Of one flow, by its id."""
        count = int(self.journeys.flow.max(initial=0))
        asked = number(value, "flow")
        if not 1 <= asked <= count:
            there = f"there are 1 to {count}" if count else "there is none"
            raise UsageError(f"the record has no flow {asked}: {there}")
        return self.journeys.flow == asked

    def of_direction(self, value: str) -> Column:
        """Of one direction."""
        one_of("direction", value, get_args(Direction))
        return self.journeys.reply == (value == "reply")

    def of_nth(self, value: int) -> Column:
        """The n-th of its flow and direction; 0 is no packet of it, but an ICMP error that quotes one."""
        asked = number(value, "nth")
        if asked < 0:
            raise UsageError(f"there is no nth {asked}: packets are counted from 1")
        return self.journeys.nth == asked

    def of_first(self, value: bool) -> Column:
        """The first of its flow and direction, or none such."""
        true_or_false("first", value)
        return (self.journeys.nth == 1) == bool(value)

    def of_traffic(self, value: str) -> Column:
        """Of an exchange's flows."""
        return np.isin(self.journeys.flow, self.journeys.flows_named(value))

    def of_end(self, value: str) -> Column:
        """Ended so, once at least: a broadcast ends more than once."""
        one_of("end", value, ENDS)
        laid = self.journeys.laid
        ended = laid.end == ENDS.index(value)
        return np.logical_or.reduceat(ended, laid.ends_offset[:-1]) if len(laid) else ended

    def of_since_ns(self, value: int) -> Column:
        """Began then or later."""
        return self.journeys.laid.since_ns >= number(value, "since_ns")

    def of_until_ns(self, value: int) -> Column:
        """Began then or earlier."""
        return self.journeys.laid.since_ns <= number(value, "until_ns")
