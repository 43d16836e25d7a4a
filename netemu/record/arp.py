"""Who asked for whose MAC address, and who answered: ARP as it was seen on the wires (RFC 826)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from ipaddress import IPv4Network, ip_network
from typing import Any, SupportsIndex, overload

import numpy as np

from netemu.errors import UsageError
from netemu.record.ask.at import points_at
from netemu.record.decode.link import ARP_REPLY, ARP_REQUEST, LinkColumns, mac_text, wire_points
from netemu.record.decode.packets import WHOLE, address_text
from netemu.record.decode.points import PointNumbers
from netemu.record.decode.rows import Column
from netemu.topology.naming import hint
from netemu.topology.points import Point

_WORDS = ("at", "op", "sender", "target")
_OPS = {ARP_REQUEST: "request", ARP_REPLY: "reply"}


@dataclass(frozen=True, slots=True)
class ArpSighting:
    """One ARP message of Ethernet and IPv4, seen at one wire point at kernel time `time_ns`.

    `op` is `request` or `reply`, or the operation's number as text. A request's `target_mac` means nothing. Who tells
    its own address (gratuitous ARP) is sender and target; who only asks whether an address is in use (a probe, RFC
    5227) has the sender 0.0.0.0.
    """

    point: Point
    time_ns: int
    op: str
    sender_mac: str
    sender: str
    target_mac: str
    target: str


@dataclass(frozen=True, slots=True)
class ArpExchange:
    """Who asked for whom at a point, and who answered.

    `requests` are those that went out of the asker's interface until an answer came, one or more (Linux asks three
    times, a second apart, before it gives up); `replies` those that came in there before it asked again. `hosts` are
    the names of those that sent them: none where no tap saw that. Of an asker without taps both are as another host
    saw them.
    """

    point: Point
    sender: str
    target: str
    requests: tuple[ArpSighting, ...]
    replies: tuple[ArpSighting, ...]
    hosts: tuple[str, ...]

    @property
    def answered(self) -> bool:
        """Whether an answer came."""
        return bool(self.replies)

    @property
    def mac(self) -> str | None:
        """The MAC address that the first answer told."""
        return self.replies[0].sender_mac if self.replies else None


class ArpSightings(Sequence[ArpSighting]):
    """All ARP messages in order of time; called, those that are asked for. Read when first asked for.

    What is damaged, or ARP of something else than Ethernet and IPv4, is not among them: `frames_table` has it.
    """

    def __init__(self, link: LinkColumns | None = None, found: _Messages | None = None) -> None:
        self._link = link if link is not None else LinkColumns()
        self._found = found
        self._exchanged: list[ArpExchange] | None = None

    def __call__(self, **words: Any) -> ArpSightings:
        """Those that all words fit: `at` (a wire point, an interface or a host), `op`, `sender` and `target`.

        The latter two are an IPv4 address or network. Raises UsageError on a word, host, interface or value that there
        is not.
        """
        for word in words:
            if word not in _WORDS:
                raise UsageError(f"nothing can be asked of ARP by '{word}'{hint(word, _WORDS)}")
        found = self._all()
        fits = np.ones(len(found.time_ns), np.bool_)
        if "at" in words:
            at = self._at(words["at"])
            fits &= np.array([at(point) for point in found.points], np.bool_)[found.point]
        if "op" in words:
            fits &= found.op == _op(words["op"])
        for side in ("sender", "target"):
            if side in words:
                network = _network(words[side])
                addresses = getattr(found, side)
                fits &= (addresses & int(network.netmask)) == int(network.network_address)
        return ArpSightings(self._link, found.select(np.flatnonzero(fits)))

    def exchanges(self, *, answered: bool | None = None, **words: Any) -> list[ArpExchange]:
        """Requests with their answers, in order of time: all, or those `answered` or not.

        Other words are asked of the requests: `at`, where they were sent (seen, of an asker without taps), `sender`,
        `target`. Who tells its own address asks nobody, and is not among them. Raises UsageError as a call does.
        """
        asked = self(**words)
        mine = {(seen.point, seen.time_ns) for seen in asked} if words else None
        return [
            each
            for each in self._every_exchange()
            if answered in (None, each.answered)
            and (mine is None or any((seen.point, seen.time_ns) in mine for seen in each.requests))
        ]

    def _every_exchange(self) -> list[ArpExchange]:
        if self._exchanged is None:
            self._exchanged = _exchanges(self)
        return self._exchanged

    def _at(self, value: Any) -> Any:
        if "@" in str(value):
            raise UsageError(f"ARP is seen on wires alone, not at a hook: '{value}'")
        captures = self._link.captures
        return points_at(value, list(captures), lambda host: list(captures[host].interfaces.values()))

    def _all(self) -> _Messages:
        if self._found is None:
            self._found = _read(self._link)
        return self._found

    def __len__(self) -> int:
        return len(self._all().time_ns)

    @overload
    def __getitem__(self, place: SupportsIndex) -> ArpSighting: ...
    @overload
    def __getitem__(self, place: slice) -> ArpSightings: ...
    def __getitem__(self, place: SupportsIndex | slice) -> ArpSighting | ArpSightings:
        found = self._all()
        if isinstance(place, slice):
            return ArpSightings(self._link, found.select(np.arange(len(self))[place]))
        return found.sighting(range(len(self))[place])

    def __iter__(self) -> Iterator[ArpSighting]:
        return map(self._all().sighting, range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or len(self) != len(other):
            return False
        return all(one == another for one, another in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{len(self)} ARP sightings>"


@dataclass(frozen=True, slots=True)
class _Messages:
    """One row a message; `point` numbers `points`."""

    points: tuple[Point, ...]
    point: Column
    time_ns: Column
    op: Column
    sender_mac: Column
    sender: Column
    target_mac: Column
    target: Column

    def select(self, rows: Column) -> _Messages:
        """These rows alone, in the order given."""
        return _Messages(self.points, *(getattr(self, each.name)[rows] for each in fields(self)[1:]))

    def sighting(self, row: int) -> ArpSighting:
        """One of them as a value of its own."""
        op = int(self.op[row])
        return ArpSighting(
            self.points[self.point[row]],
            int(self.time_ns[row]),
            _OPS.get(op, str(op)),
            mac_text(int(self.sender_mac[row])),
            address_text(4, 0, int(self.sender[row])),
            mac_text(int(self.target_mac[row])),
            address_text(4, 0, int(self.target[row])),
        )


def _read(link: LinkColumns) -> _Messages:
    """All hosts' messages in order of time; those of one moment host by host."""
    numbers = PointNumbers()
    columns: list[tuple[Column, ...]] = [tuple(np.empty(0, np.int64) for _ in fields(_Messages)[1:])]
    for host, capture in link.captures.items():
        links = link(host)
        rows = np.flatnonzero((links.arp_op >= 0) & (links.mark == WHOLE))
        told = (links.arp_op, links.sender_mac, links.sender, links.target_mac, links.target)
        every = (wire_points(capture, numbers), capture.frames.time_ns, *told)
        columns.append(tuple(column[rows].astype(np.int64) for column in every))
    joined = [np.concatenate(parts) for parts in zip(*columns, strict=True)]
    found = _Messages(tuple(numbers.points), *joined)
    return found.select(np.argsort(found.time_ns, kind="stable"))


def _exchanges(sightings: ArpSightings) -> list[ArpExchange]:
    """Of requests at the interface that they left by; of those that left none, where they came in."""
    requests = [seen for seen in sightings if seen.op == "request" and seen.sender != seen.target]
    replies = [seen for seen in sightings if seen.op == "reply"]
    sent = {(seen.sender_mac, seen.sender, seen.target) for seen in requests if seen.point.way == "out"}
    asked: dict[tuple[Any, ...], list[ArpSighting]] = defaultdict(list)
    for seen in requests:
        if seen.point.way == "out" or (seen.sender_mac, seen.sender, seen.target) not in sent:
            asked[seen.point, seen.sender_mac, seen.sender, seen.target].append(seen)
    answers: dict[tuple[Any, ...], list[ArpSighting]] = defaultdict(list)
    for seen in replies:
        answers[seen.point, seen.target_mac, seen.target, seen.sender].append(seen)
    found = []
    for (point, mac, sender, target), mine in asked.items():
        back = replace(point, way="in" if point.way == "out" else "out")
        waiting: list[ArpSighting] = []
        came = answers.get((back, mac, sender, target), [])
        for seen, following in zip(mine, [*mine[1:], None], strict=True):
            waiting.append(seen)
            until = following.time_ns if following is not None else None
            got = [each for each in came if seen.time_ns <= each.time_ns and (until is None or each.time_ns < until)]
            if got or following is None:
                hosts = _senders(replies, waiting[0], got[-1]) if got else ()
                found.append(ArpExchange(point, sender, target, tuple(waiting), tuple(got), hosts))
                waiting = []
    return sorted(found, key=lambda each: each.requests[0].time_ns)


def _senders(replies: Sequence[ArpSighting], asked: ArpSighting, last: ArpSighting) -> tuple[str, ...]:
    """The hosts that sent answers meanwhile, and got none that they might have passed on."""
    mine = [
        seen
        for seen in replies
        if asked.time_ns <= seen.time_ns <= last.time_ns
        and (seen.target_mac, seen.target, seen.sender) == (asked.sender_mac, asked.sender, asked.target)
    ]
    got = {(seen.point.host, seen.sender_mac) for seen in mine if seen.point.way == "in"}
    sent = [seen for seen in mine if seen.point.way == "out" and (seen.point.host, seen.sender_mac) not in got]
    return tuple(dict.fromkeys(seen.point.host for seen in sent))


def _op(value: Any) -> int:
    for number, name in _OPS.items():
        if value == name:
            return number
    if str(value).isdecimal() and str(value).isascii():
        return int(value)
    raise UsageError(f"there is no ARP operation '{value}'{hint(str(value), list(_OPS.values()))}")


def _network(value: Any) -> IPv4Network:
    try:
        network = ip_network(value)
    except ValueError as error:
        raise UsageError(f"'{value}' is no IPv4 address or network: {error}") from error
    if not isinstance(network, IPv4Network):
        raise UsageError(f"'{value}' is no IPv4 address or network: ARP is IPv4's, IPv6 asks by ICMPv6")
    return network
