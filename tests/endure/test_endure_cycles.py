"""Up and down, over and over, and many at once: nothing grows, and labs with the same addresses never meet."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import leftovers

from netemu import Lab
from netemu.topology.load import loads

PAIR = """
name: pair
networks: {lan: {}}
hosts:
  A: {interfaces: {eth0: {network: lan, addresses: [10.0.0.1/24]}}}
  B:
    interfaces: {eth0: {network: lan, addresses: [10.0.0.2/24]}}
    nft: "table ip t { chain c { type nat hook prerouting priority -100; tcp dport 81 redirect to :80; }; }"
    services: {sleeper: {command: [sleep, "1000"]}}
traffic:
  - {name: knock, from: A, udp: {to: "10.0.0.2:9", answers: 0}}
"""
WARMING_UP = 8
STRETCHES = 4
GROWTH, LEAK = 16 << 10, 1 << 10
"""Bytes that a cycle may cost in the best stretch, of memory and of what malloc has given out: what leaks does so in
each, the allocator in some. Over 1,000 cycles the arenas grew until the 250th only, what was given out by 200 bytes a
cycle at most (but for one jump of 1 MiB) and by nothing in the best stretches, Python's objects not at all."""


UNDER_LIMITS = """
import asyncio, pathlib, subprocess, sys
subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run"], check=True)
for kind in ("net", "pid", "mnt", "uts", "ipc"):
    pathlib.Path(f"/proc/sys/user/max_{kind}_namespaces").write_text(sys.argv[2])
from netemu import Lab
from netemu.topology.load import loads
async def cycles():
    topology, _ = loads(sys.stdin.read())
    for _ in range(int(sys.argv[1])):
        async with Lab(topology) as lab:
            await lab["B"].run("true")
asyncio.run(cycles())
"""
SLACK = 48
"""Namespaces of each kind that may be there at once: the kernel frees those of earlier cycles a little later."""


def memory() -> int:
    """Bytes of this process's own memory in use."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class _Given(ctypes.Structure):
    """struct mallinfo2 (mallinfo(3)), of all arenas together."""

    _fields_ = (("numbers", ctypes.c_size_t * 10),)


def given_out() -> int:
    """Bytes that malloc has given out; 0 where the C library does not say."""
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallinfo2"):
        return 0
    library.mallinfo2.restype = _Given
    _, _, _, _, mapped, _, _, from_arenas, _, _ = library.mallinfo2().numbers
    return mapped + from_arenas


async def test_cycles_of_up_and_down_grow_nothing(rounds, note):
    topology, _ = loads(PAIR)

    async def cycle() -> None:
        async with Lab(topology, named=True) as lab:
            await lab.prove()

    for _ in range(WARMING_UP):
        await cycle()
    gc.collect()
    before = leftovers.belongings()
    count = rounds(200, 200)
    used, given = [memory()], [given_out()]
    for number in range(1, count + 1):
        await cycle()
        if number % (count // STRETCHES) == 0:
            gc.collect()
            used.append(memory())
            given.append(given_out())
    assert leftovers.left(before) == {}
    grown = [later - earlier for earlier, later in pairwise(used)]
    note("cycles", count)
    note("memory grown, KiB, stretch by stretch", [each >> 10 for each in grown])
    assert min(grown) < count // STRETCHES * GROWTH
    leaked = [later - earlier for earlier, later in pairwise(given)]
    note("given out and not given back, KiB, stretch by stretch", [each >> 10 for each in leaked])
    assert min(leaked) < count // STRETCHES * LEAK


def test_cycles_leave_no_kernel_object_behind(rounds, note):
    """In a user namespace that may have so many namespaces at once: were one left a cycle, they would run out."""
    count = rounds(100, 200)
    unshare = ["unshare", "--user", "--map-root-user", "--net", "--mount", "--propagation", "private"]
    command = [*unshare, sys.executable, "-c", UNDER_LIMITS, str(count), str(SLACK)]
    done = subprocess.run(command, input=PAIR, capture_output=True, text=True, timeout=600, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    note("cycles", count)
    note("namespaces allowed at once", SLACK)


async def test_twenty_labs_at_once_with_the_same_addresses_never_meet(rounds, note):
    """Each sends to a port of its own, and sees nothing but that."""
    count = rounds(20, 20)
    texts = [PAIR.replace("10.0.0.2:9", f"10.0.0.2:{9000 + number}") for number in range(1, count + 1)]
    labs = [Lab(loads(text)[0]) for text in texts]

    async def live(lab: Lab, number: int) -> None:
        async with lab:
            await everybody_is_up.wait()
            report = await lab.prove()
        assert {flow.original.dport for flow in report.record.flows if flow.original.proto == "udp"} == {9000 + number}
        assert not report.record.lost

    everybody_is_up = asyncio.Barrier(count)
    async with asyncio.timeout(120), asyncio.TaskGroup() as group:
        for number, lab in enumerate(labs, 1):
            group.create_task(live(lab, number))
    note("labs", count)
