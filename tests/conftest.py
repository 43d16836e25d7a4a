"""What all tests share: tests of rooms that talk to the kernel need root, and say so where they have none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

KERNEL_ROOMS = {"kernel", "lab", "cli"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() == 0:
        return
    needs_root = pytest.mark.skip(reason="needs root for network namespaces: run scripts/test with sudo, as CI does")
    for item in items:
        if KERNEL_ROOMS & set(Path(item.path).relative_to(Path(__file__).parent).parts):
            item.add_marker(needs_root)


@pytest.fixture
def nodeport() -> str:
    """The shipped topology's text, for tests that break one thing in it."""
    return (Path(__file__).parent.parent / "topologies" / "nodeport.yaml").read_text()
