"""What all tests share: a /run of their own, and the skip of what needs root where there is none."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import kernel_needs
import pytest
from ordinary_user import user

from netemu.errors import PrivilegeError
from netemu.kernel.spaces.syscalls import CLONE_NEWNS, unshare
from netemu.kernel.spaces.userspace import enter_user_namespace, outside_user

__all__ = ["user"]

KERNEL_ROOMS = {"kernel", "lab", "cli", "endure"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(kernel_needs.MUST_BE_THERE, action="store_true", help="run what the kernel may lack all the same")
    parser.addoption("--long", action="store_true", help="tests/endure as long as scripts/faults has it")
    parser.addoption("--rounds", type=int, help="tests/endure: how often each")
    parser.addoption("--faults-json", help="tests/endure: a file for what was found, as one JSON object")
    parser.addoption("--seed", type=int, default=1, help="tests/endure: what random moments begin with")


def pytest_configure(config: pytest.Config) -> None:
    """Tests see a /run of their own: labs that are up on this machine are neither in their way nor in danger."""
    kernel_needs.configure(config)
    try:
        if enter_user_namespace():
            os.environ.setdefault("LOGNAME", f"user-{outside_user()}")  # not root, to who shares /tmp
    except PrivilegeError:
        return  # what needs it is skipped
    if os.geteuid() == 0:
        unshare(CLONE_NEWNS)
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run"], check=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() == 0:
        for item in items:
            kernel_needs.skip_what_is_not_there(item)
        return
    needs_root = pytest.mark.skip(
        reason="needs root, or a kernel that allows user namespaces: run scripts/test with sudo"
    )
    for item in items:
        if KERNEL_ROOMS & set(Path(item.path).relative_to(Path(__file__).parent).parts):
            item.add_marker(needs_root)


@pytest.fixture
def nodeport() -> str:
    """The shipped topology's text, for tests that break one thing in it."""
    return (Path(__file__).parent.parent / "topologies" / "nodeport.yaml").read_text()
