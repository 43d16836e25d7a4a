"""SIGKILL at random moments, of the command, the supervisor and a test run: nothing is left, the name is free."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Callable

import leftovers
import pytest
import victims
import witnesses
from spread import spread

from netemu import Lab
from netemu.topology.load import loads

WITHIN = 2.0
"""Seconds from a kill after which nothing may be left."""


def test_two_seconds_after_a_kill_no_process_namespace_interface_or_mount_is_there(rounds, note):
    """By the kernel's own events, each at the time at which it came: a lab that is up and does nothing, 4 hosts."""
    slowest = 0.0
    for _ in range(rounds(3, 50)):
        assert victims.netemu("up", "nodeport").returncode == 0
        (lab,) = json.loads(victims.netemu("ls", "--json").stdout)
        processes = witnesses.below(lab["pid"])
        service = processes[-1]
        assert victims.netemu("exec", "nodeport", "pod", "--", "mount", "-t", "tmpfs", "x", "/mnt").returncode == 0
        names = [f"nodeport-{host}" for host in lab["hosts"]]
        there = witnesses.Witnesses(processes, names, [f"/proc/{service}/root/mnt"])
        try:
            os.kill(lab["pid"], signal.SIGKILL)
            killed = time.monotonic()
            assert there.all_gone(killed + WITHIN) == []
            slowest = max(slowest, time.monotonic() - killed)
        finally:
            there.close()
        assert not [path for path in leftovers.files() if "nodeport" in path or "/.lab-" in path], (
            "process 1 left files"
        )
        leftovers.reap(set())
    assert len(processes) >= 4
    note("slowest to be gone, s", round(slowest, 3))


@pytest.mark.parametrize("what", ["run", "the up command", "the supervisor", "a test run"])
def test_a_kill_at_a_random_moment_leaves_nothing_and_the_next_up_works(what, tmp_path, rounds, seed, note):
    command = {"run": victims.run(), "a test run": victims.test_run(tmp_path)}.get(what, victims.up())
    whom = victims.supervisor if what == "the supervisor" else victims.itself
    slowest, hits = 0.0, 0
    count = rounds(13, 50)
    for moment in victims.moments(seed, victims.how_long(command), count):
        alive, gone = victims.killed(command, moment, whom, WITHIN)
        hits += alive
        slowest = max(slowest, gone)
    assert victims.netemu("up", "nodeport").returncode == 0
    assert victims.netemu("down", "nodeport").returncode == 0
    note("kills", hits)
    note("slowest to be gone, s", round(slowest, 2))
    assert hits >= 3


DEEDS = {"os.mkdir", "os.symlink", "os.remove", "os.rmdir", "os.rename", "subprocess.Popen", "socket.bind", "os.fork"}
"""Audit events (sys.addaudithook) of what makes or removes a file or a process."""


def deeds_of(life: Callable[[], None], last: int | None = None) -> int:
    """Live in a process of its own, killed just before so many deeds; how many deeds it did."""
    there, here = os.pipe()
    child = os.fork()
    if child == 0:
        done = 0

        def hook(event: str, _: object) -> None:
            nonlocal done
            if event in DEEDS:
                done += 1
                if done == last:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        code = 1
        try:
            life()
            os.write(here, str(done).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(here)
    with os.fdopen(there) as told:
        count = told.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in ((0,) if last is None else (0, -signal.SIGKILL))
    return int(count or 0)


def test_a_kill_before_any_file_or_process_is_made_or_removed_leaves_nothing(nodeport, rounds, note):
    topology, _ = loads(nodeport)

    def life() -> None:
        async def whole() -> None:
            async with Lab(topology, named=True) as lab:
                await lab.prove()

        asyncio.run(whole())

    count = deeds_of(life)
    before = leftovers.belongings()
    for last in spread(count, rounds(16, count)):
        deeds_of(life, last)
        assert leftovers.left(before, WITHIN) == {}, f"killed just before deed {last} of {count}"
    note("deeds", count)
    assert count > 10
