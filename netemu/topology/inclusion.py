"""`{file: PATH}` in a topology file: the named files' texts put in their places. Reading them is the caller's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from netemu.errors import NetemuError
from netemu.topology.document import Path
from netemu.topology.hostfile import FILE_KEY

RULES = ("iptables", "ip6tables", "nft")
"""The keys of a host that hold rules."""


@dataclass(frozen=True, slots=True)
class Inclusion:
    """A document with the texts in it, which file each rules text came from, and what could not be read."""

    document: dict[str, Any]
    files: dict[Path, str] = field(default_factory=dict)
    faults: dict[Path, str] = field(default_factory=dict)


class UnreadableError(NetemuError):
    """A file that a topology names can't be read."""


def include(document: dict[str, Any], read: Callable[[str], tuple[str, bytes]]) -> Inclusion:
    """Put texts in. `read` gives a file's full name and content, or raises UnreadableError; each is read once."""
    hosts = document.get("hosts")
    if not isinstance(hosts, dict):
        return Inclusion(document)
    reader = _Reader(read)
    filled = {
        name: reader.host(host, ("hosts", name)) if isinstance(host, dict) else host for name, host in hosts.items()
    }
    return Inclusion({**document, "hosts": filled}, reader.files, reader.faults)


class _Reader:
    def __init__(self, read: Callable[[str], tuple[str, bytes]]) -> None:
        self.read = read
        self.known: dict[str, tuple[str, bytes]] = {}
        self.files: dict[Path, str] = {}
        self.faults: dict[Path, str] = {}

    def host(self, host: dict[str, Any], path: Path) -> dict[str, Any]:
        changed: dict[str, Any] = {
            key: self._rules(host[key], (*path, key)) for key in RULES if _names_a_file(host.get(key), {FILE_KEY})
        }
        files = host.get("files")
        if isinstance(files, dict):
            keys = {FILE_KEY, "mode"}
            changed["files"] = {
                place: self._content(value, (*path, "files", place)) if _names_a_file(value, keys) else value
                for place, value in files.items()
            }
        return {**host, **changed}

    def _rules(self, value: dict[str, Any], path: Path) -> str:
        name, content = self._content_of(value[FILE_KEY], path)
        self.files[path] = name
        try:
            return content.decode()
        except UnicodeDecodeError:
            self.faults[*path, FILE_KEY] = f"'{name}' is no UTF-8 text"
            return ""

    def _content(self, value: dict[str, Any], path: Path) -> dict[str, Any]:
        rest = {key: part for key, part in value.items() if key != FILE_KEY}
        return {"content": self._content_of(value[FILE_KEY], path)[1], **rest}

    def _content_of(self, file: str, path: Path) -> tuple[str, bytes]:
        try:
            return self.known.setdefault(file, self.known.get(file) or self.read(file))
        except UnreadableError as error:
            self.faults[*path, FILE_KEY] = str(error)
            return file, b""


def _names_a_file(value: Any, keys: set[str]) -> bool:
    return isinstance(value, dict) and isinstance(value.get(FILE_KEY), str) and value.keys() <= keys
