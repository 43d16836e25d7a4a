"""A topology file, or its text, to a `Topology`; every error with file, line and key."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

from pydantic import TypeAdapter, ValidationError

from netemu.errors import Problem, TopologyError
from netemu.topology import verify
from netemu.topology.counting import CountError, expand
from netemu.topology.document import Document, Path, read_document
from netemu.topology.expectation import Expectation
from netemu.topology.model import Topology
from netemu.topology.schema import schema


@dataclass(frozen=True, slots=True)
class Source:
    """Where a topology's parts stand in its file, for messages that come up later than loading."""

    document: Document | None = None
    written: Mapping[str, str] = field(default_factory=dict)
    """For each host that `count` made, the name under which it is written."""

    def problem(self, message: str, path: Path = (), text_line: int | None = None) -> Problem:
        """A `Problem` at `path`, or at line `text_line` of the block text at `path`."""
        if self.document is None:
            return Problem(message, key_text(path))
        there = (
            (path[0], self.written.get(str(path[1]), path[1]), *path[2:])
            if path[:1] == ("hosts",) and path[1:]
            else path
        )
        line = self.document.line(there) if text_line is None else self.document.text_line(there, text_line)
        return Problem(message, key_text(path), line, self.document.file)


def load(file: str | FilePath) -> tuple[Topology, Source]:
    """Read and verify a topology file. Raises TopologyError with every problem found."""
    try:
        text = FilePath(file).read_text(encoding="utf-8")
    except OSError as error:
        raise TopologyError(Problem(f"can't be read: {error.strerror}", file=str(file))) from error
    except UnicodeDecodeError as error:
        raise TopologyError(Problem("is no UTF-8 text", file=str(file))) from error
    return loads(text, str(file))


def loads(text: str, file: str | None = None) -> tuple[Topology, Source]:
    """Read and verify a topology from its YAML text; `file` is only for messages."""
    document = read_document(text, file)
    source = Source(document)
    if not isinstance(document.value, dict):
        raise TopologyError(source.problem("a topology is a mapping with a name and hosts"))
    try:
        expansion = expand(document.value)
    except CountError as error:
        raise TopologyError(source.problem(str(error), error.path)) from error
    source = Source(document, expansion.written)
    try:
        topology = Topology.model_validate(expansion.document)
    except ValidationError as error:
        raise TopologyError(_problems(error, expansion.document, source)) from error
    if faults := verify.faults(topology):
        raise TopologyError([source.problem(fault.message, fault.path) for fault in faults])
    return topology, source


def expectations_for(topology: Topology, expect: Sequence[Expectation | Mapping[str, Any]]) -> tuple[Expectation, ...]:
    """Expectations given from Python, as objects or as mappings, verified against the lab that they are about."""
    source = Source()
    if isinstance(expect, Mapping | str):
        raise TopologyError(source.problem("give a list of expectations", ("expect",)))
    plain = [dict(item) if isinstance(item, Mapping) else item for item in expect]
    try:
        found = TypeAdapter(tuple[Expectation, ...]).validate_python(plain)
    except ValidationError as error:
        shifted = _problems(error, plain, source)
        raise TopologyError([Problem(problem.message, f"expect{problem.key}") for problem in shifted]) from error
    if faults := verify.expectation_faults(topology, found):
        raise TopologyError([source.problem(fault.message, fault.path) for fault in faults])
    return found


def key_text(path: Path) -> str:
    """`hosts.A.addresses[0]` for a path of keys and indices."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _problems(error: ValidationError, value: Any, source: Source) -> list[Problem]:
    """One problem for each key that is at fault: of a union's branches only the first is told."""
    problems: dict[Path, Problem] = {}
    for fault in error.errors(include_url=False):
        path = _path_in(value, fault["loc"])
        if path not in problems:
            problems[path] = source.problem(_message(fault, path), path)
    return list(problems.values())


def _path_in(document: Any, location: tuple[int | str, ...]) -> Path:
    """The part of pydantic's location that is in the document: it also names unions' branches."""
    path: list[int | str] = []
    value: Any = document
    for position, part in enumerate(location):
        if part == "[key]":
            break
        if isinstance(part, int) and isinstance(value, list) and part < len(value):  # noqa: SIM114  typed apart
            value = value[part]
        elif isinstance(part, str) and isinstance(value, dict) and part in value:
            value = value[part]
        elif not isinstance(value, dict) or position < len(location) - 1:
            continue
        path.append(part)
    return tuple(path)


def _message(fault: Any, path: Path) -> str:
    kind, message = fault["type"], str(fault["msg"])
    given = fault.get("input")
    if kind == "extra_forbidden":
        return _unknown_key(str(path[-1]), fault["loc"])
    if kind == "missing":
        return "is missing"
    if kind in ("union_tag_invalid", "model_type", "dict_type"):
        return "a mapping is due here, as in {key: value}"
    if kind == "tuple_type":
        return "a list is due here, as in [one, two]"
    if kind == "value_error":
        return message.removeprefix("Value error, ")
    if kind == "string_pattern_mismatch":
        return f"'{given}' does not fit {fault['ctx']['pattern']}"
    if kind == "string_too_long":
        return f"'{given}' is longer than {fault['ctx']['max_length']} characters"
    if isinstance(given, str | int | float):
        return f"'{given}': {message[:1].lower()}{message[1:]}"
    return message[:1].lower() + message[1:]


def _unknown_key(key: str, location: tuple[int | str, ...]) -> str:
    known = _known_keys(schema(), location[:-1])
    near = difflib.get_close_matches(key, known, n=1)
    hint = f", did you mean '{near[0]}'?" if near else f"; known here: {', '.join(known)}" if known else ""
    return f"unknown key '{key}'{hint}"


def _known_keys(root: dict[str, Any], location: tuple[int | str, ...]) -> list[str]:
    """The keys that the schema allows at a pydantic location (which names a union's branch by its class)."""
    node: dict[str, Any] = root
    for part in location:
        node = _resolved(root, node)
        if part in node.get("properties", {}):
            node = node["properties"][part]
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
    for choice in node.get("anyOf", ()):
        if "$ref" in choice:
            node = choice
    if "$ref" in node:
        return dict(root["$defs"][node["$ref"].rsplit("/", 1)[-1]])
    return node
