"""Endurance: what is left after cancelling, killing, repeating and running out; short here, long by scripts/faults."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import leftovers
import pytest

Note = Callable[[str, Any], None]


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> Callable[[int, int], int]:
    """`rounds(short, long)`: how often to do it, short in the suite and long by scripts/faults."""
    given = request.config.getoption("--rounds")
    long = request.config.getoption("--long")
    return lambda short, full: given or (full if long else short)


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """What random choices begin with: named in the failure by scripts/faults, 1 in the suite."""
    return int(request.config.getoption("--seed"))


@pytest.fixture
def note(record_property: Callable[[str, object], None]) -> Note:
    """Notes a figure that scripts/faults prints."""
    return record_property


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """No descriptor, process, file, mount, ring or strayed thread more than before: within two seconds."""
    leftovers.adopt_orphans()
    gc.collect()
    before = leftovers.belongings()
    yield
    gc.collect()
    assert leftovers.left(before) == {}


class _Findings:
    """Writes what each test found, for scripts/faults --json."""

    def __init__(self, file: str) -> None:
        self.file = Path(file)
        self.tests: dict[str, dict[str, Any]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        name = report.nodeid.rpartition("::")[2]
        found = self.tests.setdefault(name, {"name": name, "passed": True, "seconds": 0.0, "figures": {}, "said": ""})
        found["passed"] &= not report.failed
        found["seconds"] = round(found["seconds"] + report.duration, 2)
        found["figures"].update(report.user_properties)
        if report.failed:
            found["said"] = str(report.longrepr).splitlines()[-1]

    def pytest_sessionfinish(self) -> None:
        faults = list(self.tests.values())
        told = {"passed": all(found["passed"] for found in faults), "faults": faults}
        self.file.write_text(json.dumps(told, ensure_ascii=False) + "\n")


def pytest_configure(config: pytest.Config) -> None:
    if file := config.getoption("--faults-json"):
        config.pluginmanager.register(_Findings(file))


@pytest.hookimpl(wrapper=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """Each test's figures, where scripts/faults runs it for a person."""
    if terminalreporter.config.getoption("--long"):
        for report in terminalreporter.getreports("passed"):
            if report.user_properties:
                figures = ", ".join(f"{name} {value}" for name, value in report.user_properties)
                terminalreporter.write_line(f"{report.nodeid.rpartition('::')[2]}: {figures}")
    return (yield)
