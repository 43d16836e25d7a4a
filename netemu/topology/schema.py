"""The topology file's JSON Schema, read off the model, closed, and with what only a file has."""

from __future__ import annotations

from typing import Any

from netemu.topology.counting import MOST
from netemu.topology.hostfile import FILE_KEY
from netemu.topology.model import Topology

_NUMBERED = r".*\{.*\bn\b.*\}.*"
"""A text in which `{n}` stands, or a sum with it: on a counted host it may stand for any value."""


def schema() -> dict[str, Any]:
    """The topology file's JSON Schema (draft 2020-12)."""
    root = _only_fitting_keys(Topology.model_json_schema())
    definitions = root["$defs"]
    for name in _reached(definitions, "Host"):
        definitions[name] = _numbered(definitions[name])
    hosts = root["properties"]["hosts"]
    hosts["patternProperties"] = {_or_numbered(key): value for key, value in hosts["patternProperties"].items()}
    definitions["Host"]["properties"]["count"] = {
        "type": "integer",
        "minimum": 1,
        "maximum": MOST,
        "description": "so many hosts alike, NAME1 to NAMEcount; {n} in their texts stands for the number",
    }
    definitions["HostFile"]["properties"][FILE_KEY] = {
        "type": "string",
        "description": "a file that holds the content, relative to the topology file",
    }
    definitions["HostFile"] = {"anyOf": [{"type": "string"}, definitions["HostFile"]]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **root}


def _only_fitting_keys(node: Any) -> Any:
    """pydantic writes a key's pattern as patternProperties, which lets other keys pass."""
    if isinstance(node, list):
        return [_only_fitting_keys(item) for item in node]
    if not isinstance(node, dict):
        return node
    closed = {"additionalProperties": False} if "patternProperties" in node else {}
    return {key: _only_fitting_keys(value) for key, value in node.items()} | closed


def _reached(definitions: dict[str, Any], name: str) -> set[str]:
    """The definitions that one definition is made of, itself among them."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        here = waiting.pop()
        if here not in found:
            found.add(here)
            waiting += _references(definitions[here])
    return found


def _references(node: Any) -> list[str]:
    if isinstance(node, list):
        return [name for item in node for name in _references(item)]
    if not isinstance(node, dict):
        return []
    own = [str(node["$ref"]).rsplit("/", 1)[-1]] if "$ref" in node else []
    return own + [name for item in node.values() for name in _references(item)]


def _numbered(node: Any) -> Any:
    """The same with a numbered text allowed for each value, and in each key."""
    if isinstance(node, list):
        return [_numbered(item) for item in node]
    if not isinstance(node, dict):
        return node
    if node.get("type") == "integer" or "enum" in node or "const" in node:
        return {"anyOf": [node, {"type": "string", "pattern": f"^{_NUMBERED}$"}]}
    result = {key: _numbered(value) for key, value in node.items()}
    if isinstance(node.get("pattern"), str):
        result["pattern"] = _or_numbered(node["pattern"])
    if "maxLength" in node and "pattern" in node:
        del result["maxLength"]
    if isinstance(node.get("patternProperties"), dict):
        result["patternProperties"] = {
            _or_numbered(key): _numbered(value) for key, value in node["patternProperties"].items()
        }
    return result


def _or_numbered(pattern: str) -> str:
    return f"(?:{pattern})|(?:^{_NUMBERED}$)"
