"""Imports point downward only: errors, topology, netfilter, record, check, kernel, lab, the public API, front ends."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "netemu"
LAYERS = (
    "netemu.errors",
    "netemu.topology",
    "netemu.netfilter",
    "netemu.record",
    "netemu.check",
    "netemu.kernel",
    "netemu.lab",
    "netemu",
    ("netemu.cli", "netemu.pytest_plugin", "netemu.web"),
    "netemu.__main__",
)
"""Lowest first; `netemu` itself is the public API; what stands in one layer side by side may not import each other."""

RANK = {room: rank for rank, layer in enumerate(LAYERS) for room in (layer if isinstance(layer, tuple) else (layer,))}
FRONT_ENDS = LAYERS[8]
"""They use the public API and nothing behind it."""
PURE = ("netemu.topology", "netemu.netfilter", "netemu.record", "netemu.check")
IMPURE = {
    *("asyncio", "ctypes", "fcntl", "glob", "importlib", "io", "multiprocessing", "os", "pathlib", "pyroute2"),
    *("random", "scapy", "selectors", "shutil", "signal", "socket", "subprocess", "sys", "tempfile", "threading"),
    "time",
}
READS_FILES = {"netemu.topology.load", "netemu.topology.library", "netemu.topology.given"}
READS_SCAPY = {"netemu.record.sighting"}
"""A sighting gives its scapy packet on demand; scapy is loaded by the call."""
MODULES = {
    ".".join(("netemu", *file.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): file
    for file in sorted(ROOT.rglob("*.py"))
}


def room_of(module: str) -> str:
    """The layer's room that a module of netemu is in: `netemu.lab.host` is in `netemu.lab`."""
    return ".".join(module.split(".")[:2])


def imported(module: str, text: str) -> Iterator[tuple[int, str]]:
    """Line and full name of all that a module imports: at its head, in functions, and for type checking."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = module.split(".")
            package = parts if MODULES.get(module, Path("x")).name == "__init__.py" else parts[:-1]
            above = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                whole = f"{source}.{alias.name}"
                yield node.lineno, whole if source == "netemu" and room_of(whole) in RANK else source


def offences(module: str, text: str) -> list[str]:
    """Each import of a module that points upward or sideways, or brings I/O into a pure room."""
    found = []
    own = room_of(module)
    for line, name in imported(module, text):
        if name.split(".")[0] == "netemu":
            other = room_of(name)
            allowed = other == own or (other in RANK and RANK[other] < RANK[own])
            if own in FRONT_ENDS:
                allowed = other == own or name == "netemu"
        else:
            top = name.split(".")[0]
            allowed = own not in PURE or top not in IMPURE or (top == "pathlib" and module in READS_FILES)
            allowed = allowed or (top == "scapy" and module in READS_SCAPY)
        if not allowed:
            found.append(f"{module}:{line} imports {name}")
    return found


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_from_below(module):
    assert offences(module, MODULES[module].read_text()) == []


def test_every_module_is_in_a_known_layer():
    assert {room_of(module) for module in MODULES} <= RANK.keys()


def test_the_public_api_names_nothing_of_the_front_ends():
    names = {name for _, name in imported("netemu", MODULES["netemu"].read_text())}
    assert not {room_of(name) for name in names if name.startswith("netemu")} & {"netemu.cli", "netemu.pytest_plugin"}


BAD = """
from __future__ import annotations
import re
from typing import TYPE_CHECKING

from netemu.errors import Problem
from netemu.topology import values
if TYPE_CHECKING:
    from netemu.kernel.taps.wire import WireTap

def late():
    import netemu.lab.lab
    import socket as network
    from os.path import join
    from .. import kernel, check
    from ..check.verdict import Verdict
    from netemu import Lab, netfilter
    from .record import Record
    from pathlib import Path
"""


def test_a_bad_import_is_caught_wherever_it_stands():
    assert sorted(offences("netemu.record.made_up", BAD)) == sorted(
        [
            "netemu.record.made_up:9 imports netemu.kernel.taps.wire",
            "netemu.record.made_up:12 imports netemu.lab.lab",
            "netemu.record.made_up:13 imports socket",
            "netemu.record.made_up:14 imports os.path",
            "netemu.record.made_up:15 imports netemu.kernel",
            "netemu.record.made_up:15 imports netemu.check",
            "netemu.record.made_up:16 imports netemu.check.verdict",
            "netemu.record.made_up:17 imports netemu",
            "netemu.record.made_up:19 imports pathlib",
        ]
    )


@pytest.mark.parametrize(
    "line", ["from netemu.lab.lab import Lab", "from netemu import errors", "import netemu.kernel"]
)
def test_a_front_end_that_reaches_behind_the_public_api_is_caught(line):
    assert len(offences("netemu.cli.main", line)) == 1


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("netemu.topology.load", "from pathlib import Path"),
        ("netemu.kernel.taps.wire", "import socket"),
        ("netemu.kernel.taps.wire", "from netemu.record.frames import RawFrame"),
        ("netemu.cli.main", "from netemu import Lab, NetemuError"),
        ("netemu.cli.main", "from netemu.cli.console import console"),
        ("netemu.pytest_plugin", "from netemu import Lab"),
    ],
)
def test_a_good_import_is_left_alone(module, line):
    assert offences(module, line) == []


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("netemu.topology.plan", "import pathlib"),
        ("netemu.record.decode.packets", "from scapy.layers.inet import IP"),
        ("netemu.record.sighting", "import socket"),
        ("netemu.errors", "from netemu.topology.model import Host"),
        ("netemu.topology.model", "from netemu.netfilter import hooks"),
        ("netemu.netfilter.ruleset", "from netemu.record import capture"),
        ("netemu.check.report", "from netemu.kernel import rules"),
        ("netemu.kernel.rules.loading", "from netemu.lab import host"),
        ("netemu.lab.lab", "from netemu.cli import walk"),
        ("netemu.lab.lab", "import netemu"),
        ("netemu.pytest_plugin", "from netemu.cli import walk"),
        ("netemu.record.record", "from netemu import unheard_of"),
    ],
)
def test_an_upward_import_is_caught_in_every_layer(module, line):
    assert len(offences(module, line)) == 1
