"""Commands to be killed: started in a session of their own, their descendants kept in sight by the tests."""

from __future__ import annotations

import json
import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import leftovers

NETEMU = [sys.executable, "-m", "netemu"]
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
A_TEST = """
import pytest
@pytest.mark.lab("nodeport", named=True)
async def test_it(lab):
    report = await lab.prove()
    assert report.verdict == "pass"
"""


def netemu(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*NETEMU, *arguments], capture_output=True, text=True, timeout=120, check=False)


def run() -> list[str]:
    return [*NETEMU, "run", "nodeport"]


def up() -> list[str]:
    return [*NETEMU, "up", "nodeport"]


def test_run(folder: Path) -> list[str]:
    """A run of somebody's own test of a lab."""
    (folder / "test_it.py").write_text(A_TEST)
    options = ["-q", "-p", "no:cacheprovider", "-o", "asyncio_mode=auto", "-o", "addopts=", "--rootdir", str(folder)]
    return [sys.executable, "-m", "pytest", *options, str(folder / "test_it.py")]


def how_long(command: list[str]) -> float:
    """Seconds that a command takes when nobody kills it."""
    start = time.monotonic()
    subprocess.run(command, **QUIET, timeout=120, check=True)
    took = time.monotonic() - start
    take_down()
    return took


def take_down() -> None:
    """Take down what came up whole before its command was killed."""
    if json.loads(netemu("ls", "--json").stdout):
        netemu("down", "nodeport")


def killed(command: list[str], after: float, whom: Callable[[int], int | None], within: float) -> tuple[bool, float]:
    """Start a command, SIGKILL one process of it after so many seconds, and see what is left `within` seconds.

    Whether the one that was meant was there and alive by then (else the command is killed instead), and how many
    seconds until nothing was left. Raises AssertionError on leftovers.
    """
    before = leftovers.belongings()
    with subprocess.Popen(command, start_new_session=True, **QUIET) as running:
        fd = os.pidfd_open(running.pid)
        try:
            select.select([fd], [], [], after)
        finally:
            os.close(fd)
        found = whom(running.pid)
        victim = found if found is not None else running.pid
        alive = found is not None and (running.poll() is None or victim != running.pid)
        try:
            os.kill(victim, signal.SIGKILL)
        except ProcessLookupError:
            alive = False
        start = time.monotonic()
        running.wait(60)
    if command[3:4] == ["up"] and victim == running.pid:
        take_down()  # a lab that was up whole by then is there to stay
        start = time.monotonic()
    if more := leftovers.left(before, start + within - time.monotonic()):
        raise AssertionError(f"left {within} s after a kill at {after:.3f} s: {more}")
    return alive, time.monotonic() - start


def itself(pid: int) -> int | None:
    """The command itself."""
    return pid


def supervisor(pid: int) -> int | None:
    """The process that holds the lab: the command's child if there is one by now, or has lost its parent; else None."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        children = []
    orphans = [
        child for child, command in leftovers.descendants().items() if " up nodeport" in command and child != pid
    ]
    return int(children[0]) if children else next(iter(orphans), None)


def moments(seed: int, whole: float, count: int) -> list[float]:
    """Random moments of a command's life, in seconds, a little beyond its end too."""
    choose = random.Random(seed)
    return [choose.uniform(0.1 * whole, 1.1 * whole) for _ in range(count)]
