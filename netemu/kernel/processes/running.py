"""Which processes run in a host's network namespace, as this machine's /proc tells it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from netemu.kernel.spaces.namespace import NetworkNamespace


@dataclass(frozen=True, slots=True)
class ProcessFacts:
    """A process of a host: its number on this machine, its number in the lab (as `ps` there shows it), its command."""

    pid: int
    lab_pid: int
    command: tuple[str, ...]


def processes_in(net: NetworkNamespace, pids: int) -> list[ProcessFacts]:
    """The lab's processes (those in the PID namespace `pids`) on one host, by their numbers."""
    return processes_of([net], pids)[net.name]


def processes_of(nets: Iterable[NetworkNamespace], pids: int) -> dict[str, list[ProcessFacts]]:
    """The lab's processes on each of these hosts, in one look at /proc."""
    name_of = {os.fstat(net.fd).st_ino: net.name for net in nets}
    found: dict[str, list[ProcessFacts]] = {name: [] for name in name_of.values()}
    lab = os.fstat(pids).st_ino
    for entry in sorted(int(entry) for entry in os.listdir("/proc") if entry.isdigit()):
        process = Path("/proc", str(entry))
        try:
            name = name_of.get((process / "ns/net").stat().st_ino)
            if name is None or (process / "ns/pid").stat().st_ino != lab:
                continue
            words = (process / "cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
            status = (process / "status").read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue  # it ended meanwhile
        numbers = next((line.split()[1:] for line in status if line.startswith("NSpid:")), [str(entry)])
        found[name].append(ProcessFacts(entry, int(numbers[-1]), tuple(words)))
    return found
