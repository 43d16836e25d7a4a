"""One run of scripts/bench record: a load from A through B to C, recorded in one way; prints what came of it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import resource
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from tempfile import TemporaryDirectory

from record_floors import floor, rings
from record_measured import PORT, TAPS, TO, Load, Outcome, measured, start

from netemu import Lab
from netemu.kernel.taps.filters import attach
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
NOTHING = struct.pack("=HBBI", 6, 0, 0, 0)
"""The filter that takes nothing: BPF_RET with 0."""
STAGES = 6
SENDERS = {"hooks": 2, "floor": 2, "netemu-2": 2, "rings-2": 2, "nothing-2": 2}
"""Processes that send, where it is not one: a trace is paid by who sends, and one sends no more than a core can."""


def end(process: subprocess.Popen[str]) -> tuple[str, resource.struct_rusage]:
    """End it as Ctrl-C does: what it said then, and what it used."""
    process.send_signal(signal.SIGINT)
    told = process.stderr.read()
    _, _, used = os.wait4(process.pid, 0)
    process.returncode = 0
    return told, used


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
    "rings-2": rings,
    "hooks": hooks,
    "floor": floor,
    "tcpdump": tcpdump,
    "scapy": scapy,
}


@asynccontextmanager
async def bench_lab(trace: str, record: bool) -> AsyncIterator[Lab]:
    """The lab, its neighbours known to each other, and on C a socket that drops what comes.

    Nobody measures how C takes datagrams: they are dropped by a filter, before they are put into the full buffer of a
    socket that nobody reads.
    """
    topology, _ = loads(TOPOLOGY.replace("TRACE", trace))
    async with Lab(topology, record=record) as lab:
        sink, first = (lab[name].open_socket(kind=socket.SOCK_DGRAM) for name in "CA")
        with sink, first:
            sink.bind(("", PORT))
            first.sendto(b"x", (TO, PORT))
            await asyncio.get_running_loop().sock_recv(sink, 100)
            attach(sink, NOTHING)
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
