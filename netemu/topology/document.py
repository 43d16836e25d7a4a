"""YAML (1.2) to plain values, keeping the line of every key and value."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from netemu.errors import Problem, TopologyError

Path = tuple[str | int, ...]

_NUMBERED = re.compile(r"\{[^{}\"']*\bn\b[^{}\"']*\}")

MOST_NODES = 100_000
"""A document that unfolds (by aliases) to more values than this is refused."""


@dataclass(frozen=True, slots=True)
class Document:
    """A YAML document's values, and where in the text they stand (lines are 1-based)."""

    value: Any
    file: str | None
    lines: dict[Path, int] = field(default_factory=dict)
    text_lines: dict[Path, int] = field(default_factory=dict)

    def line(self, path: Path) -> int | None:
        """The line of the key at `path`, or of the nearest thing around it that has one."""
        while path not in self.lines:
            if not path:
                return None
            path = path[:-1]
        return self.lines[path]

    def text_line(self, path: Path, line: int) -> int | None:
        """The file's line for line `line` (1-based) of the text at `path`; where it begins, if it is no `|` block."""
        first = self.text_lines.get(path)
        return self.line(path) if first is None else first + line - 1


def read_document(text: str, file: str | None = None) -> Document:
    """Parse one YAML document; TopologyError with its line on any fault."""
    try:
        return _read(text, file)
    except RecursionError as error:
        raise TopologyError(Problem("the document is nested too deeply", line=1, file=file)) from error


def _read(text: str, file: str | None) -> Document:
    yaml = YAML(typ="safe", pure=True)
    try:
        root = yaml.compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = " ".join(part for part in (error.context, error.problem) if part)
        if mark is not None and _NUMBERED.search(text.splitlines()[mark.line] if mark.line < text.count("\n") else ""):
            message += ": write a text with {n} in quotes"
        raise TopologyError(Problem(f"not YAML: {message}", line=mark.line + 1 if mark else None, file=file)) from error
    except YAMLError as error:
        raise TopologyError(Problem(f"not YAML: {str(error).splitlines()[0]}", file=file)) from error
    document = Document(None, file)
    if root is None:
        raise TopologyError(Problem("the file is empty", file=file))
    return Document(_Reader(document, yaml).value(root, ()), file, document.lines, document.text_lines)


class _Reader:
    """Walks the composed nodes once, building values and noting lines."""

    def __init__(self, document: Document, yaml: YAML) -> None:
        self.document = document
        self.yaml = yaml
        self.nodes = 0

    def value(self, node: Node, path: Path) -> Any:
        self.nodes += 1
        line = node.start_mark.line + 1
        if self.nodes > MOST_NODES:
            raise self._fault("the document unfolds to too many values", line)
        self.document.lines.setdefault(path, line)
        if isinstance(node, MappingNode):
            return self._mapping(node, path)
        if isinstance(node, SequenceNode):
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        assert isinstance(node, ScalarNode)
        return self._scalar(node, path)

    def _mapping(self, node: MappingNode, path: Path) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, ScalarNode):
                raise self._fault("a key must be a plain word", line)
            key = str(key_node.value)
            if key in result:
                raise self._fault(f"the key '{key}' is there twice", line)
            self.document.lines[(*path, key)] = line
            result[key] = self.value(value_node, (*path, key))
        return result

    def _scalar(self, node: ScalarNode, path: Path) -> Any:
        if getattr(node, "style", None) == "|":
            self.document.text_lines[path] = node.start_mark.line + 2
        try:
            return self.yaml.constructor.construct_object(node)
        except (YAMLError, ValueError) as error:
            reason = getattr(error, "problem", None) or str(error)
            raise self._fault(f"'{node.value}' can't be read: {reason}", node.start_mark.line + 1) from error

    def _fault(self, message: str, line: int) -> TopologyError:
        return TopologyError(Problem(message, line=line, file=self.document.file))
