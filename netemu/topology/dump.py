"""A `Topology` back to the YAML text that a topology file is."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.scalarstring import LiteralScalarString

from netemu.topology.model import Topology

_ADDRESSES = (IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network)
_LONGEST = 100
"""Characters of what is written on one line."""


def to_yaml(topology: Topology) -> str:
    """The topology as a file that loads to an equal one; what is as it would be anyway is left out."""
    yaml = YAML()
    yaml.encoding = None  # type: ignore[assignment]  # text, not bytes
    yaml.width = 120
    yaml.indent(mapping=2, sequence=4, offset=2)
    text = _Text()
    written = _written(topology.model_dump(by_alias=True, exclude_defaults=True))
    yaml.dump(written, text)
    return "".join(text.parts)


class _Text:
    def __init__(self) -> None:
        self.parts: list[str] = []

    def write(self, part: str) -> None:
        self.parts.append(part)


def _written(value: Any, depth: int = 0) -> Any:
    if isinstance(value, _ADDRESSES):
        return str(value)
    if isinstance(value, str) and "\n" in value:
        return LiteralScalarString(value)
    if isinstance(value, dict):
        mapping = CommentedMap({key: _written(inner, depth + 1) for key, inner in value.items()})
        if depth > 1 and _short(mapping):
            mapping.fa.set_flow_style()
        return mapping
    if isinstance(value, list | tuple):
        sequence = CommentedSeq([_written(inner, depth + 1) for inner in value])
        if _short(sequence) and not any(isinstance(inner, dict) for inner in sequence):
            sequence.fa.set_flow_style()
        return sequence
    return value


def _short(value: CommentedMap | CommentedSeq) -> bool:
    """Whether it fits on one line: short, and no text of several lines in it."""
    text = str(value)
    return len(text) <= _LONGEST and "\\n" not in text
