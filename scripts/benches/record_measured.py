"""The load of scripts/bench record, and what is measured of it: what was sent and counted, what a process used."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from netemu import Host, Lab

TAPS = (("A", "eth0", "out"), ("B", "eth0", "in"), ("B", "eth1", "out"), ("C", "eth0", "in"))
TO, PORT = "10.2.0.3", 9
SETTLE = 0.3
"""Seconds after the load, for what is on its way."""


class Outcome(dict[str, float]):
    """`records` and `lost` (of all taps together), `cpu` seconds, `memory` in MiB."""


def passed(lab: Lab) -> dict[tuple[str, str, str], int]:
    """How many packets the kernel counts at each tap."""
    counts = {}
    for host, interface, way in TAPS:
        with lab[host].net.entered():
            text = Path("/proc/thread-self/net/dev").read_text()
        fields = re.search(rf"^\s*{interface}:(.*)$", text, re.MULTILINE)[1].split()
        counts[host, interface, way] = int(fields[1 if way == "in" else 9])
    return counts


def start(host: Host, command: list[str]) -> subprocess.Popen[str]:
    """A process in a host's network alone, in a session of its own as a host's are: no more of the lab is measured."""
    with host.net.entered():
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, start_new_session=True)


class Load:
    """The load, sent by processes of their own: what it takes to start and to count it is nobody's record.

    `count` before it and after it, while nothing else is sent; `counting` is how many CPU seconds that took.
    """

    def __init__(self, lab: Lab, rate: int, seconds: float, senders: int = 1) -> None:
        program = Path(__file__).parent / "record_load.py"
        command = [sys.executable, str(program), TO, str(PORT), str(rate // senders), str(seconds)]
        self.lab = lab
        self.senders = [start(lab["A"], [*command, *number]) for number in _cores(senders)]
        for sender in self.senders:
            sender.stdout.readline()
        self.counts: list[dict[tuple[str, str, str], int]] = []
        self.counting = 0.0

    def count(self) -> None:
        """Take down what the kernel counts."""
        begun = time.thread_time()
        self.counts.append(passed(self.lab))
        self.counting += time.thread_time() - begun

    async def __call__(self) -> None:
        """Send, up to the last packet's arrival."""
        self.count()
        for sender in self.senders:
            sender.stdin.write("\n")
            sender.stdin.flush()
        for sender in self.senders:
            await readable(sender.stdout.fileno())
        await asyncio.sleep(SETTLE)  # no event tells that the last packet arrived; every way gets as long
        self.count()

    def outcome(self) -> dict[str, float]:
        """What was sent at which rate, and what came of it by the kernel's own counters."""
        told = [json.loads(sender.communicate()[0]) for sender in self.senders]
        before, after = self.counts
        forwarded = after["B", "eth1", "out"] - before["B", "eth1", "out"]
        expected = sum(after[tap] - before[tap] for tap in TAPS)
        reached = sum(each["sent"] / each["seconds"] for each in told)
        return {"rate": reached, "forwarded": forwarded, "expected": expected}


def _cores(senders: int) -> list[list[str]]:
    """For each sender, the number of the core that it is to stay on, or nothing if it is the only one."""
    cores = sorted(os.sched_getaffinity(0))
    return [[str(cores[number % len(cores)])] if senders > 1 else [] for number in range(senders)]


async def readable(descriptor: int) -> None:
    """Return once there is something to read."""
    loop, there = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(descriptor, there.set)
    try:
        await there.wait()
    finally:
        loop.remove_reader(descriptor)


@contextlib.contextmanager
def measured(load: Load, outcome: Outcome) -> Iterator[None]:
    """CPU and memory of this process in between, but for what it took to count the load, in `outcome`."""
    start = resource.getrusage(resource.RUSAGE_SELF)
    yield
    end = resource.getrusage(resource.RUSAGE_SELF)
    outcome["cpu"] = end.ru_utime + end.ru_stime - start.ru_utime - start.ru_stime - load.counting
    outcome["memory"] = end.ru_maxrss / 1024
