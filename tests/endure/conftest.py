"""Endurance: what is left after cancelling, killing, repeating and running out; short here, long by scripts/faults."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
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
