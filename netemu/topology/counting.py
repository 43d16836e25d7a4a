"""`count:` on a host: many hosts alike, numbered from 1, with `{n}` in their texts standing for the number.

`{n}` may be part of a sum (`{n+1}`, `{n*2}`, `{(n-1)//250}`, `{n%250}`) and carry a format (`{n:02x}`). `{{n}}` is the
text `{n}` itself, and a shell's `${n}` is left alone.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

MOST = 10_000
"""No host can be counted beyond this."""
_WIDEST = 3
"""Digits of the number of digits in a format: a text of 999 is long enough."""

_SUM = r"[0-9n+\-*/%() ]*\bn\b[0-9n+\-*/%() ]*"
TEMPLATE = re.compile(rf"\{{\{{({_SUM}(?::[0-9a-zA-Z]+)?)\}}\}}|(?<!\$)\{{({_SUM})(?::([0-9]*[dxX]))?\}}")
_SUMS: Mapping[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}


class Numeral(int):
    """A number that a whole `"{n}"` stands for: it fits where a number is due, and where a text is."""


class CountError(ValueError):
    """What can't be counted, and where in the document."""

    def __init__(self, path: tuple[str | int, ...], message: str) -> None:
        super().__init__(message)
        self.path = path


@dataclass(frozen=True, slots=True)
class Expansion:
    """A document whose hosts are all there, and for each host that was counted the name under which it is written.

    A host that can't be counted is not in the document, but in `left`, by its name, with why not in `faults`.
    """

    document: dict[str, Any]
    written: Mapping[str, str]
    left: Mapping[str, Any] = field(default_factory=dict)
    faults: tuple[CountError, ...] = ()


def expand(document: dict[str, Any]) -> Expansion:
    """Each host with a `count` as that many hosts. Raises CountError where two hosts would have one name."""
    hosts = document.get("hosts")
    if not isinstance(hosts, dict) or not any(isinstance(host, dict) and "count" in host for host in hosts.values()):
        return Expansion(document, {})
    found: dict[str, Any] = {}
    written: dict[str, str] = {}
    left: dict[str, Any] = {}
    faults: list[CountError] = []
    for name, host in hosts.items():
        try:
            is_counted = isinstance(host, dict) and "count" in host
            several = _counted(str(name), host) if is_counted else [(name, host)]
        except CountError as error:
            left[str(name)] = host
            faults.append(error)
            continue
        for made, value in several:
            if made in found:
                raise CountError(("hosts", name), f"there is another host '{made}'")
            found[made] = value
            if made != name or value is not host:
                written[made] = str(name)
    return Expansion({**document, "hosts": found}, written, left, tuple(faults))


def expanded(document: dict[str, Any]) -> dict[str, Any]:
    """The document with each counted host as that many hosts. Raises CountError, a ValueError."""
    expansion = expand(document)
    if expansion.faults:
        raise expansion.faults[0]
    return expansion.document


def may_be(written: str, made: str) -> bool:
    """Whether counting the host that is written so may make one of this name, whatever its numbers are."""
    pattern = written if TEMPLATE.search(written) else f"{written}{{n}}"
    first, *known = (pattern[at:end] for at, end in _between(pattern))
    at = len(first)
    if not made.startswith(first):
        return False
    for text in known[:-1]:
        at = made.find(text, at + 1)  # a number between; the first place leaves most room for what comes
        if at < 0:
            return False
        at += len(text)
    return made.endswith(known[-1]) and at < len(made) - len(known[-1])


def _between(pattern: str) -> Iterator[tuple[int, int]]:
    """Where a pattern's texts stand: before, between and after its templates."""
    at = 0
    for match in TEMPLATE.finditer(pattern):
        yield at, match.start()
        at = match.end()
    yield at, len(pattern)


def _counted(name: str, host: dict[str, Any]) -> list[tuple[str, Any]]:
    path = ("hosts", name)
    count = host["count"]
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MOST:
        raise CountError((*path, "count"), f"'{count}' is no count: write a whole number of 1 to {MOST}")
    pattern = name if TEMPLATE.search(name) else f"{name}{{n}}"
    rest = {key: value for key, value in host.items() if key != "count"}
    return [(str(_text(pattern, n, path)), _filled(rest, n, path)) for n in range(1, count + 1)]


def _filled(value: Any, n: int, path: tuple[str | int, ...]) -> Any:
    if isinstance(value, str):
        return _text(value, n, path)
    if isinstance(value, list | tuple):
        return [_filled(item, n, (*path, index)) for index, item in enumerate(value)]
    if isinstance(value, dict):
        return {
            str(_text(key, n, path)) if isinstance(key, str) else key: _filled(item, n, (*path, key))
            for key, item in value.items()
        }
    return value


def _text(text: str, n: int, path: tuple[str | int, ...]) -> str | Numeral:
    if "{" not in text:
        return text
    whole = TEMPLATE.fullmatch(text)
    if whole is not None and whole[2] is not None and whole[3] is None:
        return Numeral(_number(whole, n, path))
    return TEMPLATE.sub(
        lambda match: f"{{{match[1]}}}" if match[1] is not None else _formatted(match, n, path),
        text,
    )


def _formatted(match: re.Match[str], n: int, path: tuple[str | int, ...]) -> str:
    how = match[3] or "d"
    if len(how) - 1 > _WIDEST:
        raise CountError(path, f"'{match[0]}' is too wide: 999 digits are the most")
    return format(_number(match, n, path), how)


def _number(match: re.Match[str], n: int, path: tuple[str | int, ...]) -> int:
    try:
        number = _value(ast.parse(match[2].strip(), mode="eval").body, n)
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError):
        raise CountError(
            path, f"'{match[0]}' is no sum: write {{n}}, {{n+1}}, {{n*2}}, {{n//250}} or {{n%250}}"
        ) from None
    if not 0 <= number < 2**32:
        raise CountError(path, f"'{match[0]}' is {number} for the host numbered {n}")
    return number


def _value(node: ast.expr, n: int) -> int:
    if isinstance(node, ast.Name) and node.id == "n":
        return n
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return node.value
    if isinstance(node, ast.BinOp) and type(node.op) in _SUMS:
        return _SUMS[type(node.op)](_value(node.left, n), _value(node.right, n))
    raise ValueError("no sum")
