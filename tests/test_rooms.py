"""Inside `record` and `kernel`, too, imports point downward only; what is for type checking alone binds nothing."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

NETEMU = Path(__file__).parents[1] / "netemu"
ORDER = {
    "record": (
        *({"frames", "exchange"}, {"capture"}, {"decode"}, {"sighting"}, {"join"}, {"ask"}, {"journeys"}),
        *({"shown"}, {"flows", "tracked", "arp"}, {"files"}, {"live", "sides"}, {"record"}),
    ),
    "kernel": (
        *({"init", "packages"}, {"spaces"}, {"processes", "links"}, {"rules"}, {"ebpf"}, {"keeping"}, {"taps"}),
        *({"machine"},),
    ),
}
"""Lowest first; what stands in one place side by side may import each other only inside a room."""
RANK = {package: {room: rank for rank, rooms in enumerate(order) for room in rooms} for package, order in ORDER.items()}
FILES = [
    (package, file.relative_to(NETEMU / package))
    for package in ORDER
    for file in sorted((NETEMU / package).rglob("*.py"))
    if file != NETEMU / package / "__init__.py"
]


def room(file: Path) -> str:
    return file.parts[0].removesuffix(".py")


def imports(package: str, tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and room of each import, inside a package, that is one when the program runs."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.ImportFrom):
            parts = (node.module or "").split(".")
            if parts[:2] == ["netemu", package]:
                rooms = [parts[2]] if len(parts) > 2 else [alias.name for alias in node.names]
                yield from ((node.lineno, name) for name in rooms)
        yield from imports(package, node)


def offences(package: str, own: str, text: str) -> list[str]:
    """The imports of a file in the room `own` that do not point downward."""
    rank = RANK[package]
    found = imports(package, ast.parse(text))
    return [f"{own}:{line} imports {name}" for line, name in found if name != own and rank[name] >= rank[own]]


@pytest.mark.parametrize(("package", "file"), FILES, ids=str)
def test_a_file_imports_only_from_rooms_below(package, file):
    assert offences(package, room(file), (NETEMU / package / file).read_text()) == []


@pytest.mark.parametrize("package", ORDER)
def test_every_room_has_its_place(package):
    assert {room(file) for name, file in FILES if name == package} == RANK[package].keys()


UPWARD = """
if TYPE_CHECKING:
    from netemu.record.journeys import Journeys
from netemu.record.decode.rows import Column
from netemu.record import frames
def late():
    from netemu.record.join.ties import Ties
from netemu.record import sighting
"""


def test_an_upward_import_is_caught():
    assert offences("record", "decode", UPWARD) == ["decode:7 imports join", "decode:8 imports sighting"]
