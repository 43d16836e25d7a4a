"""Inside `record`, too, imports point downward only; what is imported for type checking alone binds nothing."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "netemu" / "record"
ORDER = (
    *({"frames", "exchange"}, {"capture"}, {"decode"}, {"sighting"}, {"join"}, {"ask"}, {"journeys"}),
    *({"shown"}, {"flows", "tracked", "arp"}, {"files"}, {"live", "sides"}, {"record"}),
)
"""Lowest first; what stands in one place side by side may import each other only inside a room."""
RANK = {name: rank for rank, names in enumerate(ORDER) for name in names}
FILES = sorted(file for file in ROOT.rglob("*.py") if file != ROOT / "__init__.py")


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and name, inside `record`, of each import that is one when the program runs."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("netemu.record."):
            yield node.lineno, node.module.split(".")[2]
        yield from imports(node)


def offences(own: str, text: str) -> list[str]:
    """The imports of a file in the room `own` that do not point downward."""
    found = imports(ast.parse(text))
    return [f"{own}:{line} imports {name}" for line, name in found if name != own and RANK[name] >= RANK[own]]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_file_imports_only_from_rooms_below(file):
    assert offences(file.relative_to(ROOT).parts[0].removesuffix(".py"), file.read_text()) == []


def test_every_room_has_its_place():
    assert {file.relative_to(ROOT).parts[0].removesuffix(".py") for file in FILES} == RANK.keys()


UPWARD = """
if TYPE_CHECKING:
    from netemu.record.journeys import Journeys
from netemu.record.decode.rows import Column
def late():
    from netemu.record.join.ties import Ties
"""


def test_an_upward_import_is_caught():
    assert offences("decode", UPWARD) == ["decode:6 imports join"]
