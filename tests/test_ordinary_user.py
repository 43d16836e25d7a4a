"""The ordinary user of one test session is not that of another at the same time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ordinary_user import UIDS, own_uid

CLAIM = "from ordinary_user import own_uid; print(own_uid()[0], flush=True); input()"
BUSY = "import os, sys; os.setuid(int(sys.argv[1])); print(flush=True); input()"


def running(program: str, *arguments: str) -> tuple[subprocess.Popen[str], str]:
    """A process of that program, and the first line that it prints; it stays until its input is closed."""
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=Path(__file__).parent,
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def end(process: subprocess.Popen[str]) -> None:
    process.communicate()


def test_sessions_side_by_side_have_users_of_their_own():
    mine, _ = own_uid()
    assert own_uid()[0] == mine, "one session keeps its own"
    one, first = running(CLAIM)
    other, second = running(CLAIM)
    end(one)
    end(other)
    assert len({str(mine), first, second}) == 3
    assert {int(first), int(second)} <= set(UIDS)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_user_goes_with_its_session_and_one_who_still_has_processes_is_nobody_elses():
    one, first = running(CLAIM)
    end(one)
    busy, _ = running(BUSY, first)
    other, second = running(CLAIM)
    end(other)
    end(busy)
    assert second != first
