"""What conntrack told of each host's entries: new, updated and destroyed as events, and its table at the end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any, Literal, SupportsIndex, get_args, overload

from netemu.errors import UsageError
from netemu.netfilter.conntrack import STATUS_BITS, TCP_STATES, Entry, Tuple
from netemu.netfilter.messages import (
    MSG_CONNTRACK_DELETE,
    MSG_CONNTRACK_NEW,
    NLM_F_CREATE,
    PROTOCOLS,
    SUBSYS_CONNTRACK,
    conntrack_entry,
    messages,
)
from netemu.record.ask.given import number, one_of, within
from netemu.record.capture import HostCapture
from netemu.topology.naming import hint
from netemu.topology.values import Endpoint

Kind = Literal["new", "update", "destroy", "dump"]
_WORDS = (
    "at",
    "kind",
    "id",
    "proto",
    "src",
    "dst",
    "host",
    "port",
    "sport",
    "dport",
    "mark",
    "zone",
    "status",
    "state",
)
_NAMES = {"kind": get_args(Kind), "state": TCP_STATES, "status": tuple(STATUS_BITS)}
_MOST = {"id": 0xFFFFFFFF, "mark": 0xFFFFFFFF, "zone": 0xFFFF, "port": 0xFFFF, "sport": 0xFFFF, "dport": 0xFFFF}
"""The values of words: names, or numbers from 0 on."""


@dataclass(frozen=True, slots=True)
class ConntrackEvent:
    """One thing that a host's conntrack told: an entry `new`, `update`d or `destroy`ed, or in the `dump` at the end.

    The entry is what this message alone says: what a message leaves out is None there (status: 0).
    """

    host: str
    kind: Kind
    entry: Entry


class ConntrackEvents(Sequence[ConntrackEvent]):
    """What conntrack told, host by host: its events in order, then its dump. Read when first asked for.

    The kernel puts no time on events. Those of different hosts have no order among each other.
    """

    def __init__(self, captures: Iterable[HostCapture] = ()) -> None:
        self._captures = tuple(captures)
        self._events: tuple[ConntrackEvent, ...] | None = None

    @classmethod
    def of(cls, captures: Iterable[HostCapture]) -> ConntrackEvents:
        """What the taps of these hosts heard."""
        return cls(captures)

    def __call__(self, **words: Any) -> list[ConntrackEvent]:
        """Those that all words fit: `at` (a host of the lab), `kind`, `id`, `mark`, `zone`, `status` (a bit's name).

        `state` is TCP's. `proto`, `src`, `dst`, `host`, `port`, `sport` and `dport` are asked of the original tuple
        and of the reply tuple: one of them fits all. Raises UsageError on a word, host or value that there is not.
        """
        for word in words:
            if word not in _WORDS:
                raise UsageError(f"nothing can be asked of conntrack by '{word}'{hint(word, _WORDS)}")
        hosts = [capture.host for capture in self._captures]
        if "at" in words and words["at"] not in hosts:
            raise UsageError(f"the record has no host '{words['at']}'{hint(str(words['at']), hosts)}")
        words = {word: _given(word, value) for word, value in words.items()}
        sides = ("src", "dst", "host")
        fits: dict[str, _Side] = {side: _Side(words[side]) for side in sides if side in words}
        return [event for event in self if _fits(event, words, fits)]

    def _all(self) -> tuple[ConntrackEvent, ...]:
        if self._events is None:
            self._events = tuple(event for capture in self._captures for event in _read(capture))
        return self._events

    def __len__(self) -> int:
        return len(self._all())

    @overload
    def __getitem__(self, place: SupportsIndex) -> ConntrackEvent: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[ConntrackEvent]: ...
    def __getitem__(self, place: SupportsIndex | slice) -> ConntrackEvent | Sequence[ConntrackEvent]:
        return self._all()[place]

    def __repr__(self) -> str:
        return f"<{len(self)} conntrack events>"


def _read(capture: HostCapture) -> Iterator[ConntrackEvent]:
    for dumped, datagrams in ((False, capture.conntrack), (True, capture.entries)):
        for datagram in datagrams:
            for what, flags, payload in messages(datagram):
                kind = _kind(what, flags, dumped=dumped)
                entry = conntrack_entry(payload) if kind is not None else None
                if kind is not None and entry is not None:
                    yield ConntrackEvent(capture.host, kind, entry)


def _kind(number: int, flags: int, *, dumped: bool) -> Kind | None:
    """A new entry's message and an updated one's differ in a flag only (ctnetlink_conntrack_event)."""
    if number == SUBSYS_CONNTRACK << 8 | MSG_CONNTRACK_DELETE:
        return "destroy"
    if number != SUBSYS_CONNTRACK << 8 | MSG_CONNTRACK_NEW:
        return None
    if dumped:
        return "dump"
    return "new" if flags & NLM_F_CREATE else "update"


def _given(word: str, value: Any) -> Any:
    """The value that a word was given, if there is such a one."""
    if word in _NAMES:
        one_of(f"conntrack {word}" if word in ("state", "status") else word, value, _NAMES[word])
    if word == "proto" and not str(value).isdecimal():
        one_of("protocol", value, tuple(PROTOCOLS.values()))
    elif word == "proto":
        asked = within(number(value, word), word, 0, 255)
        return PROTOCOLS.get(asked, str(asked))
    if word in _MOST:
        return within(number(value, word), word, 0, _MOST[word])
    return value


class _Side:
    """An address, a network or an endpoint that is asked for."""

    def __init__(self, text: str) -> None:
        self.port: int | None = None
        self.network: IPv4Network | IPv6Network | None
        try:
            self.network = ip_network(text)
        except ValueError:
            try:
                asked = Endpoint.parse(text)
            except ValueError as error:
                raise UsageError(f"'{text}' is no address, network or ADDRESS:PORT") from error
            self.port = asked.port
            self.network = ip_network(asked.address) if asked.address is not None else None

    def fits(self, address: str, port: int | None) -> bool:
        """Whether one side of a tuple is asked for."""
        if self.port is not None and port != self.port:
            return False
        return self.network is None or ip_address(address) in self.network


def _fits(event: ConntrackEvent, words: dict[str, Any], sides: dict[str, _Side]) -> bool:
    entry = event.entry
    told = {
        "at": event.host,
        "kind": event.kind,
        "id": entry.id,
        "mark": entry.mark or 0,
        "zone": entry.zone or 0,
        "state": entry.tcp_state,
    }
    if any(word in words and words[word] != value for word, value in told.items()):
        return False
    if "status" in words and words["status"] not in entry.status_names:
        return False
    return any(_tuple_fits(each, words, sides) for each in (entry.original, entry.reply))


def _tuple_fits(each: Tuple, words: dict[str, Any], sides: dict[str, _Side]) -> bool:
    src, dst = (each.src, each.sport), (each.dst, each.dport)
    return all(
        (
            "proto" not in words or each.proto == words["proto"],
            "sport" not in words or each.sport == words["sport"],
            "dport" not in words or each.dport == words["dport"],
            "port" not in words or words["port"] in (each.sport, each.dport),
            "src" not in sides or sides["src"].fits(*src),
            "dst" not in sides or sides["dst"].fits(*dst),
            "host" not in sides or sides["host"].fits(*src) or sides["host"].fits(*dst),
        )
    )
