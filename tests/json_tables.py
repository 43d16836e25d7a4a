"""docs/json.md read as data: which keys each command's objects have."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent.parent / "docs" / "json.md"


@dataclass
class Table:
    """The keys of one kind of object: those that must be there, those that may be, lists and free mappings."""

    must: set[str] = field(default_factory=set)
    may: set[str] = field(default_factory=set)
    lists: set[str] = field(default_factory=set)
    mappings: set[str] = field(default_factory=set)


@dataclass
class Documented:
    """One command's objects, by where they are: `` for its own, `checks[]`, `hosts.HOST.routes[]`."""

    tables: dict[str, Table] = field(default_factory=dict)

    def at(self, path: str) -> tuple[str, Table] | None:
        """The table for objects at a path, of which a part in capitals stands for any name."""
        for where, table in self.tables.items():
            pattern = ".".join(
                "[^.]+" if re.fullmatch("[A-Z]+", part) else re.escape(part) for part in where.split(".")
            )
            if re.fullmatch(pattern, path):
                return where, table
        return None


def documented() -> dict[str, Documented]:
    """Every command of the page."""
    found: dict[str, Documented] = {}
    here: list[Documented] = []
    tables: list[Table] = []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        names = re.findall("`([^`]+)`", line)
        if line.startswith("## "):
            one = Documented()
            found |= dict.fromkeys(names, one)
            here, tables = [one], [one.tables.setdefault("", Table())]
        elif line.startswith("### "):
            tables = [one.tables.setdefault(name, Table()) for one in here for name in names]
        elif line.startswith("| `"):
            for key in re.findall("`([^`]+)`", line.split(" | ")[0]):
                for table in tables:
                    _add(table, key)
    return found


def _add(table: Table, key: str) -> None:
    name, marks = re.fullmatch(r"(\w+)([][{}?]*)", key).groups()  # type: ignore[union-attr]
    (table.may if "?" in marks else table.must).add(name)
    if "[]" in marks:
        table.lists.add(name)
    if "{}" in marks:
        table.mappings.add(name)


@dataclass
class Comparison:
    """What a command printed, held against its tables: `faults`, and which keys were `seen` where."""

    documented: Documented
    faults: set[str] = field(default_factory=set)
    seen: set[tuple[str, str]] = field(default_factory=set)

    def hold(self, value: Any, path: str = "") -> None:
        """An object at a path, and all that is in it."""
        found = self.documented.at(path)
        if found is None:
            self.faults.add(f"no table for {path}: {sorted(value)}")
            return
        where, table = found
        self.faults |= {f"{where or 'the object'} has no {key}" for key in table.must - value.keys()}
        for key, part in value.items():
            self.seen.add((where, key))
            if key not in table.must | table.may:
                self.faults.add(f"{where or 'the object'} has an unknown key {key}")
            elif part is not None:
                self._hold_part(key, part, f"{path}.{key}".lstrip("."), table)

    def _hold_part(self, key: str, part: Any, path: str, table: Table) -> None:
        if isinstance(part, list) != (key in table.lists):
            self.faults.add(f"{path} is {'a' if isinstance(part, list) else 'no'} list")
        elif isinstance(part, list):
            for each in part:
                if isinstance(each, dict):
                    self.hold(each, f"{path}[]")
        elif isinstance(part, dict):
            if key not in table.mappings:
                self.hold(part, path)
            elif any(self.documented.at(f"{path}.{name}") for name in part):
                for name, each in part.items():
                    self.hold(each, f"{path}.{name}")
        elif key in table.mappings:
            self.faults.add(f"{path} is no mapping")

    @property
    def stale(self) -> set[tuple[str, str]]:
        """Keys that the page tells and nothing showed."""
        all_ = {(where, key) for where, table in self.documented.tables.items() for key in table.must | table.may}
        return all_ - self.seen
