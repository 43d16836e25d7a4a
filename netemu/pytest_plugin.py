"""The pytest plugin: `@pytest.mark.lab("nodeport")` and an async `lab` fixture, under pytest-asyncio.

    @pytest.mark.lab("nodeport")
    async def test_the_first_request_walks_the_rules(lab):
        async with lab.record() as record:
            await lab.send("hello")
        report = lab.check(record)
        assert report.verdict == "pass", report.explain()

The mark takes what `netemu.Lab` takes: a shipped topology's name, a file (seen from the test's own folder), a mapping
that says the same, or a `Topology`; keyword arguments are passed on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

try:
    import pytest_asyncio
except ImportError:  # pytest alone must go on working where netemu is installed without its extra
    pytest_asyncio = None  # type: ignore[assignment]


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known."""
    config.addinivalue_line("markers", "lab(topology, **arguments): the lab that the `lab` fixture brings up")


def _topology(request: pytest.FixtureRequest) -> tuple[Any, dict[str, Any]]:
    mark = request.node.get_closest_marker("lab")
    if mark is None or len(mark.args) != 1:
        raise pytest.UsageError('the lab fixture needs to know which: mark the test with @pytest.mark.lab("nodeport")')
    topology = mark.args[0]
    if isinstance(topology, str) and ("/" in topology or topology.endswith((".yaml", ".yml"))):
        topology = Path(request.path).parent / topology
    return topology, dict(mark.kwargs)


if pytest_asyncio is None:

    @pytest.fixture
    def lab() -> None:
        """A lab, if pytest-asyncio were there."""
        raise pytest.UsageError("the lab fixture needs pytest-asyncio: pip install -e '.[pytest]' in netemu's checkout")

else:

    @pytest_asyncio.fixture
    async def lab(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
        """The marked lab, up during the test and gone after it."""
        from netemu import Lab

        topology, arguments = _topology(request)
        async with Lab(topology, **arguments) as brought_up:
            yield brought_up
