"""pydantic's faults in a topology's own words: what is wrong with a value, and the nearest known key or word."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from pydantic import ValidationError

from netemu.topology import expectation, hostfile, model, service, values
from netemu.topology.document import Path
from netemu.topology.schema import schema

_NOT_FITTING: Mapping[str, str] = {
    values.NAME: "is no name: write letters, digits, - and _, beginning with a letter or digit",
    values.INTERFACE_NAME: "is no interface's name: write letters, digits, -, _ and ., a letter or digit first",
    values.MAC: "is no MAC address, as in 02:00:00:00:00:01",
    values.VARIABLE: "is no variable's name: write letters, digits and _, beginning with a letter",
    values.ABSOLUTE: "is no absolute path of a file, as in /etc/motd",
    values.SOCKET_PATH: "is no unix socket's path",
    values.USER: "is no user: write a name or a number",
    expectation.SELECTOR: "is no packet: write request or reply, and first, nth, all or a number, as in request.first",
    service.SERVICE: "is no service: write SERVICE, or HOST:SERVICE",
    model.SYSCTL: "is no sysctl of a network namespace, as in net.ipv4.ip_forward",
    hostfile.MODE: 'is no mode: write it in quotes as chmod has it, as in "0644"',
}
"""What is said of a text that does not fit one of the model's patterns."""

_DUE = {
    "model_type": "a mapping is due here, as in {key: value}",
    "model_attributes_type": "a mapping is due here, as in {key: value}",
    "dict_type": "a mapping is due here, as in {key: value}",
    "union_tag_invalid": "a mapping is due here, as in {key: value}",
    "tuple_type": "a list is due here, as in [one, two]",
    "missing": "is missing",
    "invalid_key": "a key must be a plain word",
    "string_too_short": "can't be empty",
}
_BARE = {
    "int_type": "a whole number is due here",
    "int_from_float": "a whole number is due here",
    "bool_type": "true or false is due here",
    "string_type": "a text is due here",
}
_PLAIN = (str, int, float)


def complaints(error: ValidationError, document: Any, of: str = "Topology") -> dict[Path, str]:
    """What is wrong with a document `of` what has that name in the schema, by the path of each key at fault.

    Of a union's branches, the one that fits best is told.
    """
    found: dict[Path, str] = {}
    for fault in error.errors(include_url=False):
        path = _path_in(document, fault["loc"])
        if path not in found:
            found[path] = _said(fault, path, of)
    around = {path[:depth] for path in found for depth in range(len(path))}
    return {path: message for path, message in found.items() if path not in around}


def nearest(word: str, known: Iterable[str]) -> str:
    """`, did you mean 'that'?`, or `; known here: …` if nothing is near, or nothing if there is nothing."""
    words = list(known)
    near = difflib.get_close_matches(word, words, n=1)
    if near:
        return f", did you mean '{near[0]}'?"
    return f"; known here: {', '.join(words)}" if words else ""


@cache
def _schema() -> dict[str, Any]:
    """The language's schema, to look keys up in: it takes 20 ms to make."""
    return schema()


def _path_in(document: Any, location: tuple[int | str, ...]) -> Path:
    """The part of pydantic's location that is in the document: it also names unions' branches."""
    path: list[int | str] = []
    value: Any = document
    for position, part in enumerate(location):
        if part == "[key]":
            break
        if isinstance(part, int) and isinstance(value, Sequence) and part < len(value):  # noqa: SIM114  typed apart
            value = value[part]
        elif isinstance(part, str) and isinstance(value, dict) and part in value:
            value = value[part]
        elif not isinstance(value, dict) or position < len(location) - 1:
            continue
        path.append(part)
    return tuple(path)


def _said(fault: Any, path: Path, of: str) -> str:
    kind, given, context = fault["type"], fault.get("input"), fault.get("ctx", {})
    if kind == "extra_forbidden":
        return f"unknown key '{path[-1]}'{nearest(str(path[-1]), _known_keys(_schema(), fault['loc'][:-1], of))}"
    if kind == "value_error":
        return str(fault["msg"]).removeprefix("Value error, ")
    if kind == "missing" and isinstance(fault["loc"][-1], int):
        return f"has no entry {fault['loc'][-1] + 1}"
    if kind in _DUE:
        return _DUE[kind]
    if kind in ("too_short", "too_long"):
        return _length(kind, context)
    quoted = f"'{str(given).lower() if isinstance(given, bool) else given}'" if isinstance(given, _PLAIN) else "this"
    if kind in _BARE:
        return f"{_is(given, quoted)}{_BARE[kind]}{', in quotes' if kind == 'string_type' and quoted != 'this' else ''}"
    if kind in _OF_A_VALUE:
        return f"{quoted} {_OF_A_VALUE[kind](context, given)}"
    message = str(fault["msg"])
    return f"{quoted}: {message[:1].lower()}{message[1:]}"


def _is(given: Any, quoted: str) -> str:
    """`'5' is a number: `, of a value of another kind than is due; nothing of none."""
    words = {bool: "is a truth value", int: "is a number", float: "is a number", str: "is a text"}
    if isinstance(given, Mapping):
        return "this is a mapping: "
    if isinstance(given, list | tuple):
        return "this is a list: "
    return next((f"{quoted} {said}: " for kind, said in words.items() if isinstance(given, kind)), "")


def _length(kind: str, context: Mapping[str, Any]) -> str:
    due = context.get("min_length") if kind == "too_short" else context.get("max_length")
    if kind == "too_short" and due == 1:
        return _DUE["string_too_short"]
    return (
        f"has {context.get('actual_length')} entries: {'at least' if kind == 'too_short' else 'at most'} {due} are due"
    )


def _choice(context: Mapping[str, Any], given: Any) -> str:
    words = str(context.get("expected", "")).replace(" or ", ", ").replace("'", "").split(", ")
    return f"is unknown{nearest(str(given), words)}"


_OF_A_VALUE: Mapping[str, Callable[[Mapping[str, Any], Any], str]] = {
    "literal_error": _choice,
    "string_pattern_mismatch": lambda context, _: _NOT_FITTING.get(
        context["pattern"], f"does not fit {context['pattern']}"
    ),
    "string_too_long": lambda context, _: f"is longer than {context['max_length']} characters",
    "greater_than_equal": lambda context, _: f"is too small: {context['ge']} is the least",
    "greater_than": lambda context, _: f"is too small: more than {context['gt']} is due",
    "less_than_equal": lambda context, _: f"is too large: {context['le']} is the most",
    "less_than": lambda context, _: f"is too large: less than {context['lt']} is due",
}


def _known_keys(root: dict[str, Any], location: tuple[int | str, ...], of: str) -> list[str]:
    """The keys that the schema allows at a pydantic location (which names a union's branch by its class)."""
    node: dict[str, Any] = root["$defs"].get(of) or root["properties"].get(of, root)
    for part in location:
        node = _resolved(root, node)
        if part in node.get("properties", {}):
            node = node["properties"][part]
        elif isinstance(part, int) and "prefixItems" in node:
            node = node["prefixItems"][part]
        elif isinstance(part, int) and "items" in node:
            node = node["items"]
        elif "oneOf" in node and part in root["$defs"]:
            node = {"$ref": f"#/$defs/{part}"}
        elif isinstance(node.get("additionalProperties"), dict):
            node = node["additionalProperties"]
        elif "patternProperties" in node:
            node = next(iter(node["patternProperties"].values()))
    return sorted(_resolved(root, node).get("properties", {}))


def _resolved(root: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """A node with references followed, and of several choices the one that is an object or a list."""
    while True:
        if "$ref" in node:
            node = root["$defs"][node["$ref"].rsplit("/", 1)[-1]]
        elif "anyOf" in node:
            choices = [_resolved(root, choice) for choice in node["anyOf"]]
            node = next(
                (choice for choice in choices if choice.keys() & {"properties", "items", "patternProperties"}), {}
            )
        else:
            return dict(node)
