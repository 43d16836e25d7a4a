"""What a topology says is built and sent, as plain values to keep with a record, and where two of them differ.

Not in it: the lab's name and description, what is expected, and how it is looked at (`backend`, `trace`,
`record`): a record can be judged whatever these are. Placed files are in it by their digest alone: they may be large,
or secret.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from hashlib import sha256
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from itertools import zip_longest
from typing import Any

from netemu.topology.document import Path
from netemu.topology.inclusion import RULES
from netemu.topology.model import Topology

_ADDRESSES = (IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network)
_BESIDE = {"name", "description", "backend", "record", "expect"}
_RULES_KEYS = {(key,) for key in RULES}
_NOTHING = "nothing"
_LONGEST = 100
"""Characters of a value that is told."""


def built(topology: Topology) -> dict[str, Any]:
    """The networks, hosts, links and traffic items (by their names), as values for JSON; defaults are left out."""
    told = topology.model_dump(by_alias=True, exclude_defaults=True, exclude=_BESIDE)
    told["hosts"] = {name: _host(host) for name, host in told["hosts"].items()}
    told["traffic"] = {item.pop("name"): item for item in told.get("traffic", ())}
    plain: dict[str, Any] = _plain(told)
    return plain


def differences(recorded: Mapping[str, Any], now: Mapping[str, Any], sent: Collection[str]) -> list[tuple[Path, str]]:
    """Where what was built is not what the topology says now: a path there, and what is where.

    Of traffic, only items that were `sent` and are in both count: others have no part in the record, or none now.
    Comments and white space of rules do not count.
    """
    both = [
        {**each, "traffic": {name: item for name, item in each.get("traffic", {}).items() if name in sent}}
        for each in (recorded, now)
    ]
    common = both[0]["traffic"].keys() & both[1]["traffic"].keys()
    for each in both:
        each["traffic"] = {name: item for name, item in each["traffic"].items() if name in common}
    return list(_differences(both[0], both[1], ()))


def _host(host: dict[str, Any]) -> dict[str, Any]:
    files = {
        place: {**file, "content": _digest(file.get("content", ""))} for place, file in host.get("files", {}).items()
    }
    kept = {key: value for key, value in host.items() if key not in ("trace", "files")}
    return kept | ({"files": files} if files else {})


def _digest(content: str | bytes) -> str:
    return f"sha256 {sha256(content.encode() if isinstance(content, str) else content).hexdigest()}"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, _ADDRESSES) else value


def _differences(was: Any, now: Any, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        for key in [*was, *(key for key in now if key not in was)]:
            yield from _differences(was.get(key), now.get(key), (*path, key))
    elif isinstance(was, list) and isinstance(now, list):
        for index, (one, other) in enumerate(zip_longest(was, now)):
            yield from _differences(one, other, (*path, index))
    elif path[:1] == ("hosts",) and path[2:] in _RULES_KEYS and all(isinstance(each or "", str) for each in (was, now)):
        yield from ((path, _told(one, other)) for one, other in _first_line(was or "", now or ""))
    elif was != now and str(was) != str(now):  # a sysctl's 1 and '1' are one value
        yield path, _told(was, now)


def _first_line(was: str, now: str) -> Iterator[tuple[str | None, str | None]]:
    """The first line of rules that is not the same, if there is one."""
    for one, other in zip_longest(_rules(was), _rules(now)):
        if one != other:
            yield one, other
            return


def _rules(text: str) -> list[str]:
    lines = (" ".join(line.split()) for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _told(was: Any, now: Any) -> str:
    return f"{_value(was)} when it was recorded, {_value(now)} now"


def _value(value: Any) -> str:
    if value is None:
        return _NOTHING
    text = f"'{value}'" if isinstance(value, str) else str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
