"""What is left of a document when what does not fit the schema is left out, and what can still be said of that.

So that all faults are told at once, and none that is only the consequence of another: nothing is said of a host's
interfaces, addresses and routes where something of them was left out, or on their networks, nor of what names a thing
that was left out itself. A name that nothing has, nor would have had, is told whatever else is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from netemu.topology.complaints import complaints
from netemu.topology.counting import may_be
from netemu.topology.document import Path
from netemu.topology.fault import Fault
from netemu.topology.model import Host, Topology
from netemu.topology.points import Point
from netemu.topology.segments import split_endpoint
from netemu.topology.strict import of_shape
from netemu.topology.verify import faults
from netemu.topology.verify_places import service_key

_TRIES = 5
"""What is left may not fit either, since something is missing now: more is left out then, so often."""
_APART = ("name", "description", "backend", "record")
"""Keys on which nothing else of a topology depends."""
_BY_THEMSELVES = {
    *("forwarding", "sysctls", "iptables", "ip6tables", "nft", "files", "tmpfs"),
    *("services", "environment", "user", "trace"),
}
"""Keys of a host on which nothing else in it depends, but for services that name others."""
_LISTS = ("links", "traffic", "expect")
_OF_A_SEGMENT = {"network", "addresses", "routes", "vxlan"}
"""Keys of a host whose faults may come of what its networks and neighbours lack."""
_LINK = re.compile(r"\blinks\[(\d+)\]")


def faults_of_the_rest(
    document: dict[str, Any], wrong: Iterable[Path], uncounted: Collection[str] = ()
) -> list[tuple[Path, str]]:
    """Faults of what is left when these paths, which do not fit the schema, are left out; by their paths in `document`.

    `uncounted` are hosts among them that stand for several, with names that begin and end like theirs.

    Empty where so much depends on what is left out that nothing sure can be said.
    """
    left = _Left(document, frozenset(uncounted))
    for _ in range(_TRIES):
        if not left.leave_out(wrong):
            return []
        rest = left.document()
        try:
            topology = of_shape(Topology, rest)
        except ValidationError as error:
            wrong = [left.written(path) for path in complaints(error, rest)]
        else:
            return [(left.written(fault.path), fault.message) for fault in left.sure(faults(topology))]
    return []


@dataclass(slots=True)
class _Left:
    """A document from which things are left out, one after the other."""

    whole: dict[str, Any]
    uncounted: frozenset[str] = frozenset()
    gone: list[Path] = field(default_factory=list)

    def leave_out(self, wrong: Iterable[Path]) -> bool:
        """Leave things out, or what they are missing in; False if too much depends on them."""
        before = set(self.gone)
        for path in wrong:
            thing = self._thing(path)
            if thing in before:  # without it something is missing: what it is in goes too
                thing = thing[:-1]
            if not thing or (len(thing) == 1 and thing[0] in Topology.model_fields and thing[0] not in _APART):
                return False
            if thing not in self.gone:
                self.gone.append(thing)
        return True

    def _thing(self, path: Path) -> Path:
        """The nearest thing that is there; of a list's item all, as what is left of it would mean something else.

        Not so of a link's properties: without them it leads where it led.
        """
        of_link = path[:1] == ("links",) and path[2:3] not in ((), ("endpoints",))
        thing = path[:2] if path and path[0] in _LISTS and not of_link else path
        while len(thing) > 1 and not _is_there(self.whole, thing):
            thing = thing[:-1]
        return thing

    def document(self) -> dict[str, Any]:
        """What is left, with a name."""
        rest = _without((), self.whole, set(self.gone))
        return {"name": "rest", **rest}

    def written(self, path: Path) -> Path:
        """The path in the whole document of something in what is left: lists have become shorter."""
        found: Path = ()
        for part in path:
            if isinstance(part, int):
                shown = [index for index in range(part + len(self.gone) + 1) if (*found, index) not in self.gone]
                found = (*found, shown[part])
            else:
                found = (*found, part)
        return found

    def sure(self, found: Iterable[Fault]) -> Iterator[Fault]:
        """The faults that would be there if nothing were left out."""
        gone = _Gone(self.whole, self.gone, self.uncounted)
        for fault in found:
            where = self.written(fault.path)
            if not (gone.touches(where) if fault.path[0] == "hosts" else gone.is_meant(where)):
                yield Fault(fault.path, _LINK.sub(lambda told: f"links[{self._link(told[1])}]", fault.message))

    def _link(self, told: str) -> int | str:
        """The place in the whole document of a link that a message names."""
        return self.written(("links", int(told)))[1]


class _Gone:
    """What is left out, and what may depend on it."""

    def __init__(self, whole: dict[str, Any], paths: list[Path], uncounted: frozenset[str]) -> None:
        self.whole = whole
        self.uncounted = uncounted
        self.paths = paths
        strange = any(len(path) == 1 and path[0] not in Topology.model_fields for path in paths)
        unsaid = {section for section in ("networks", "links", "traffic") if strange and section not in whole}
        self.networks = "networks" in unsaid
        self.links = "links" in unsaid or any(path[0] == "links" and len(path) == 2 for path in paths)
        self.hosts = {str(path[1]) for path in paths if path[0] == "hosts" and not _is_by_itself(path)}
        items = [_at(whole, path) for path in paths if path[0] == "traffic"]
        named = [item.get("name") if isinstance(item, dict) else None for item in items]
        self.traffic = {name for name in named if isinstance(name, str)}
        self.nameless = "traffic" in unsaid or len(self.traffic) < len(named)
        on = self._segments()
        touched = {str(path[1]) for path in paths if path[0] == "networks"}.union(*(on[host] for host in self.hosts))
        self.near = {host for host, segments in on.items() if segments & touched or unsaid & {"networks", "links"}}

    def touches(self, path: Path) -> bool:
        """Whether a fault of a host may come of it."""
        if len(path) < 3:
            return False  # of the host's name
        host, keys = str(path[1]), set(path)
        if path[2] in ("nft", "files", "tmpfs"):
            return False
        if path[2] == "services":
            return "after" in keys and self._lacks_service(*service_key(host, self._text(path)))
        if path[2] == "interfaces" and path[-1] == "network":
            return self.networks or self._lacks("networks", self._text(path))
        if host in self.hosts or (host in self.near and keys & _OF_A_SEGMENT):
            return True
        if self.hosts and "remote" in keys:  # an address that may be one of theirs
            return True
        return self.links and "interfaces" in keys

    def is_meant(self, path: Path) -> bool:
        """Whether a fault of a link, a traffic item or an expectation may come of it: whether that names it."""
        key = next(part for part in reversed(path) if isinstance(part, str))
        text = self._text(path)
        if path[0] == "expect" and key == "traffic":
            return self.nameless or text in self.traffic
        if key == "endpoints":
            return self._lacks_interface(*split_endpoint(text))
        if path[0] == "expect" and key in ("at", "path"):
            point = Point.parse(text)
            return self._lacks_interface(point.host, point.interface or "lo")
        return self._lacks("hosts", text)

    def _text(self, path: Path) -> str:
        return str(_at(self.whole, path)) if _is_there(self.whole, path) else ""

    def _lacks(self, *path: str) -> bool:
        """Whether what would be here is left out, alone or with all that it is in."""
        if path[0] == "hosts" and any(may_be(host, path[1]) for host in self.uncounted):
            return True
        return any(path[: len(each)] == each for each in self.paths)

    def _lacks_interface(self, host: str, interface: str) -> bool:
        return self._lacks("hosts", host, "interfaces", interface) or self._has_strange(host)

    def _lacks_service(self, host: str, service: str) -> bool:
        return self._lacks("hosts", host, "services", service) or self._has_strange(host)

    def _has_strange(self, host: str) -> bool:
        """Whether a host has a key that nobody knows: it may be a slip of the pen for any other."""
        return any(
            path[:2] == ("hosts", host) and len(path) == 3 and path[2] not in Host.model_fields for path in self.paths
        )

    def _segments(self) -> dict[str, set[str]]:
        """What each host is on, as far as that can be read: networks by name, links by their place."""
        hosts, links = self.whole.get("hosts"), self.whole.get("links")
        on: dict[str, set[str]] = {}
        for name, host in hosts.items() if isinstance(hosts, dict) else ():
            interfaces = host.get("interfaces") if isinstance(host, dict) else None
            each = interfaces.values() if isinstance(interfaces, dict) else ()
            on[str(name)] = {str(one["network"]) for one in each if isinstance(one, dict) and "network" in one}
        for index, link in enumerate(links if isinstance(links, list) else ()):
            for word in _words(link):
                on.get(word, set()).add(f"links[{index}]")
        return on


def _is_by_itself(path: Path) -> bool:
    return len(path) > 2 and path[2] in _BY_THEMSELVES


def _without(path: Path, value: Any, gone: set[Path]) -> Any:
    if isinstance(value, dict):
        return {key: _without((*path, key), part, gone) for key, part in value.items() if (*path, key) not in gone}
    if isinstance(value, list | tuple):
        parts = enumerate(value)
        return [_without((*path, index), part, gone) for index, part in parts if (*path, index) not in gone]
    return value


def _at(value: Any, path: Path) -> Any:
    for part in path:
        value = value[part]
    return value


def _is_there(value: Any, path: Path) -> bool:
    try:
        _at(value, path)
    except (KeyError, IndexError, TypeError):
        return False
    return True


def _words(value: Any) -> Iterator[str]:
    """The words of all texts in a value."""
    if isinstance(value, dict):
        for part in value.values():
            yield from _words(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _words(part)
    elif isinstance(value, str):
        yield from re.findall(r"[\w-]+", value)
