"""One run of scripts/bench record: a load from A through B to C, recorded in one way; prints what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from netemu import Host, Lab
from netemu.kernel.taps.reader import PACE
from netemu.kernel.taps.slots import Batch
from netemu.kernel.taps.trace import TraceTap
from netemu.record.capture import OUTGOING
from netemu.topology.load import loads

TOPOLOGY = """
name: bench
hosts:
  A: {trace: off, interfaces: {eth0: {addresses: [10.1.0.1/24]}}, routes: [{to: default, via: 10.1.0.2}]}
  B:
    trace: TRACE
    forwarding: true
    interfaces: {eth0: {addresses: [10.1.0.2/24]}, eth1: {addresses: [10.2.0.2/24]}}
  C: {trace: off, interfaces: {eth0: {addresses: [10.2.0.3/24]}}, routes: [{to: default, via: 10.2.0.2}]}
links: [{endpoints: ["A:eth0", "B:eth0"]}, {endpoints: ["B:eth1", "C:eth0"]}]
"""
TAPS = (("A", "eth0", "out"), ("B", "eth0", "in"), ("B", "eth1", "out"), ("C", "eth0", "in"))
STAGES = 6
TO, PORT = "10.2.0.3", 9
SENDERS = {"hooks": 2, "floor": 2, "netemu-2": 2, "nothing-2": 2}
"""Processes that send, where it is not one: a trace is paid by who sends, and one sends no more than a core can."""
FLOOR_BUFFER, FLOOR_RING = 256 << 20, 2 << 20
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
    """A process in a host's network alone: nothing else of the lab is to be measured with it."""
    with host.net.entered():
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def end(process: subprocess.Popen[str]) -> tuple[str, resource.struct_rusage]:
    """End it as Ctrl-C does: what it said then, and what it used."""
    process.send_signal(signal.SIGINT)
    told = process.stderr.read()
    _, _, used = os.wait4(process.pid, 0)
    process.returncode = 0
    return told, used


class Load:
    """The load, sent by processes of their own: what it takes to start and to count it is nobody's record.

    `count` before it and after it, while nothing else is sent; `counting` is how many CPU seconds that took.
    """

    def __init__(self, lab: Lab, rate: int, seconds: float, senders: int = 1) -> None:
        program = Path(__file__).parent / "record_load.py"
        command = [sys.executable, str(program), TO, str(PORT), str(rate // senders), str(seconds)]
        self.lab = lab
        self.senders = [start(lab["A"], command) for _ in range(senders)]
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
        await asyncio.sleep(SETTLE)
        self.count()

    def outcome(self) -> dict[str, float]:
        """What was sent at which rate, and what came of it by the kernel's own counters."""
        told = [json.loads(sender.communicate()[0]) for sender in self.senders]
        before, after = self.counts
        forwarded = after["B", "eth1", "out"] - before["B", "eth1", "out"]
        expected = sum(after[tap] - before[tap] for tap in TAPS)
        reached = sum(each["sent"] / each["seconds"] for each in told)
        return {"rate": reached, "forwarded": forwarded, "expected": expected}


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


async def nothing(_lab: Lab, load: Load, outcome: Outcome) -> None:
    """The load alone: no tap, so nothing is to be lost."""
    await load()
    outcome |= {"cpu": 0, "memory": 0}


async def netemu(lab: Lab, load: Load, outcome: Outcome) -> None:
    """netemu's wire taps, up to frames in columns."""
    await lab.recorder.begin()
    with measured(load, outcome):
        await load()
        captures = await lab.recorder.end()
    outcome["records"] = 0
    for capture in captures:
        out = capture.frames.kind == OUTGOING
        way = {"A": out, "B": capture.frames.length > 0, "C": ~out}[capture.host]
        outcome["records"] += int(way.sum())
        outcome["told_lost"] = outcome.get("told_lost", 0) + sum(tap.lost for tap in capture.health)


async def hooks(lab: Lab, load: Load, outcome: Outcome) -> None:
    """netemu's hook taps on B, beside its wire taps."""
    await lab.recorder.begin()
    with measured(load, outcome):
        await load()
        captures = await lab.recorder.end()
    (b,) = [capture for capture in captures if capture.host == "B"]
    outcome["records"] = len(b.trace)
    outcome["told_lost"] = sum(tap.lost for tap in b.health)


class Forgetful(TraceTap):
    """A hook tap that keeps nothing of what it takes."""

    def _keep(self, batch: Batch, _keep: Callable[[], None]) -> None:
        self.count += len(batch.lengths)


async def floor(lab: Lab, load: Load, outcome: Outcome) -> None:
    """What the kernel's trace leaves of the rate: no wire taps, and a reader that keeps nothing of what it takes."""
    tap, ended = Forgetful(lab["B"].net, FLOOR_BUFFER, ask_conntrack=False), threading.Event()
    tap.open(FLOOR_RING)

    def read() -> None:
        while not ended.wait(PACE):
            tap.drain()

    tap.forget()
    reader = threading.Thread(target=read)
    try:
        with measured(load, outcome):
            reader.start()
            await load()
            ended.set()
            reader.join()
            tap.drain()
        outcome["records"], outcome["told_lost"] = tap.count, tap.lost()
    finally:
        ended.set()
        tap.close()


async def tcpdump(lab: Lab, load: Load, outcome: Outcome) -> None:
    """One tcpdump a tap, into files."""
    with TemporaryDirectory() as folder:
        dumps = []
        for number, (host, interface, way) in enumerate(TAPS):
            command = ["tcpdump", "-Z", "root", "-i", interface, "-Q", way, "-w", f"{folder}/{number}"]
            dumps.append(start(lab[host], command))
        for dump in dumps:
            while "listening on" not in dump.stderr.readline():
                pass
        await load()
        outcome |= {"records": 0, "told_lost": 0, "cpu": 0, "memory": 0}
        for dump in dumps:
            told, used = end(dump)
            outcome["records"] += int(re.search(r"(\d+) packets? captured", told)[1])
            outcome["told_lost"] += int(re.search(r"(\d+) packets? dropped by kernel", told)[1])
            outcome["cpu"] += used.ru_utime + used.ru_stime
            outcome["memory"] += used.ru_maxrss / 1024


async def scapy(lab: Lab, load: Load, outcome: Outcome) -> None:
    """One AsyncSniffer a tap."""
    from scapy.sendrecv import AsyncSniffer

    sockets = [lab[host].socket(interface) for host, interface, _ in TAPS]
    sniffers = [AsyncSniffer(opened_socket=sock, store=True) for sock in sockets]
    for sniffer in sniffers:
        sniffer.start()
    with measured(load, outcome):
        await load()
        await asyncio.gather(*(asyncio.to_thread(sniffer.stop) for sniffer in sniffers))
    outcome["records"] = sum(len(sniffer.results) for sniffer in sniffers)
    for sock in sockets:
        outcome["told_lost"] += sock.lost()
        sock.close()


WAYS = {
    "nothing": nothing,
    "nothing-2": nothing,
    "netemu": netemu,
    "netemu-2": netemu,
    "hooks": hooks,
    "floor": floor,
    "tcpdump": tcpdump,
    "scapy": scapy,
}


@asynccontextmanager
async def bench_lab(trace: str, record: bool) -> AsyncIterator[Lab]:
    """The lab, its neighbours known to each other, and somebody on C who takes what comes."""
    topology, _ = loads(TOPOLOGY.replace("TRACE", trace))
    async with Lab(topology, record=record) as lab:
        sink, first = (lab[name].open_socket(kind=socket.SOCK_DGRAM) for name in "CA")
        with sink, first:
            sink.bind(("", PORT))
            first.sendto(b"x", (TO, PORT))
            await asyncio.get_running_loop().sock_recv(sink, 100)
            yield lab


async def main() -> None:
    """`record_run.py WAY RATE SECONDS`."""
    way, rate, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    outcome = Outcome(records=0, told_lost=0)
    async with bench_lab("all" if way == "hooks" else "off", way in ("netemu", "netemu-2", "hooks")) as lab:
        begun = time.perf_counter()
        load = Load(lab, rate, seconds, SENDERS.get(way, 1))
        await WAYS[way](lab, load, outcome)
        outcome |= load.outcome() | {"took": time.perf_counter() - begun}
    if way in ("hooks", "floor"):
        outcome["expected"] = outcome["forwarded"] * STAGES
    elif way.startswith("nothing"):
        outcome["expected"] = 0
    outcome["lost"] = max(outcome["expected"] - outcome["records"], 0)
    print(json.dumps(outcome))


if __name__ == "__main__":
    asyncio.run(main())
