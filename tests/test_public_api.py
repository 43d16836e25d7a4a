"""The public API: what `netemu.__all__` lists, and that asking for it costs nothing until it is used."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys

import pytest

import netemu

PUBLIC = [
    "ArpExchange",
    "ArpSighting",
    "CaptureError",
    "Captured",
    "Check",
    "Completed",
    "ConntrackEvent",
    "ConntrackExpectation",
    "CounterExpectation",
    "End",
    "Exchange",
    "Feature",
    "Flow",
    "HeldLab",
    "Host",
    "Interrupted",
    "Journey",
    "KernelError",
    "Lab",
    "Latency",
    "Leftover",
    "Loss",
    "MachineError",
    "NetemuError",
    "PacketExpectation",
    "Point",
    "PrivilegeError",
    "Process",
    "ProcessFacts",
    "Quote",
    "Record",
    "Report",
    "Rewrite",
    "Rule",
    "RulesError",
    "ServiceError",
    "SideFlow",
    "SideJourney",
    "Sides",
    "Sighting",
    "StoppedError",
    "Taps",
    "Topology",
    "TopologyError",
    "UsageError",
    "Verdict",
    "Watched",
    "check_lab",
    "enter_user_namespace",
    "find",
    "generate",
    "hold",
    "join_files",
    "journey_json",
    "labs_up",
    "load",
    "probe",
    "report_json",
    "run_once",
    "schema",
    "sharded",
    "shipped",
    "sides_json",
    "to_yaml",
    "wipe",
]
HEAVY = {"pydantic", "scapy", "pyroute2", "rich", "ruamel", "click", "h11", "numpy", "polars", "asyncio"}


def test_the_public_names_are_these():
    assert netemu.__all__ == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_is_there_and_says_what_it_is(name):
    value = getattr(netemu, name)
    assert value.__name__ == name
    assert value.__module__.startswith("netemu.")
    assert value.__doc__
    assert not value.__doc__.startswith(f"{name}("), "a dataclass's generated signature is no docstring"


@pytest.mark.parametrize("name", PUBLIC)
def test_the_public_methods_say_what_they_do(name):
    value = getattr(netemu, name)
    own = vars(value).items() if inspect.isclass(value) else ()
    silent = [
        key
        for key, member in own
        if not key.startswith("_")
        and (inspect.isroutine(member) or isinstance(member, property))
        and not member.__doc__
    ]
    assert silent == []


def test_every_public_name_is_declared_to_type_checkers():
    tree = inspect.getsource(netemu)
    declared = tree[tree.index("if TYPE_CHECKING:") : tree.index("_HOMES = ")]
    assert [name for name in PUBLIC if name not in declared.replace(",", " ").split()] == []


def test_a_name_that_is_not_public_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'Nonsense'"):
        netemu.Nonsense  # noqa: B018


def test_public_names_can_be_imported_all_at_once():
    names: dict[str, object] = {}
    exec("from netemu import *", names)
    assert set(PUBLIC) <= names.keys()


@pytest.mark.parametrize("name", [name for name in PUBLIC if name.endswith("Error")])
def test_every_public_error_is_netemus_and_has_an_exit_code_of_the_command_line(name):
    error = getattr(netemu, name)
    assert issubclass(error, netemu.NetemuError)
    assert error.exit_code in {1, 2, 3, 4}


def modules_after(statement: str) -> set[str]:
    """The top-level modules that a fresh interpreter has loaded for a statement, beyond its own."""
    script = (
        "import sys, json; before = set(sys.modules)\n"
        f"{statement}\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in set(sys.modules) - before})))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_importing_netemu_imports_no_heavy_module():
    assert not modules_after("import netemu") & HEAVY


def test_to_ask_a_lab_that_is_up_imports_no_heavy_module():
    """`ls`, `exec` and completion answer at once."""
    asked = "import netemu.lab.asking, netemu.topology.library; netemu.topology.library.shipped()"
    assert not modules_after(asked) & HEAVY


def test_reading_a_topology_imports_nothing_that_talks_to_a_kernel():
    loaded = modules_after("import netemu; netemu.load; netemu.schema()")
    assert "pydantic" in loaded, "the test sees what is loaded"
    assert not loaded & {"scapy", "pyroute2", "rich", "click", "h11"}
