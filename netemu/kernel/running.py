"""Which processes run in a host's network namespace, as this machine's /proc tells it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from netemu.kernel.namespace import NetworkNamespace


@dataclass(frozen=True, slots=True)
class ProcessFacts:
    """A process of a host: its number on this machine, its number in the lab (as `ps` there shows it), its command."""

    pid: int
    lab_pid: int
    command: tuple[str, ...]


def processes_in(net: NetworkNamespace, pids: int) -> list[ProcessFacts]:
    """The lab's processes (those in the PID namespace `pids`) on one host, by their numbers."""
    host, lab = os.fstat(net.fd).st_ino, os.fstat(pids).st_ino
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        process = Path("/proc", entry)
        try:
            if (process / "ns/net").stat().st_ino != host or (process / "ns/pid").stat().st_ino != lab:
                continue
            words = (process / "cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
            status = (process / "status").read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue  # it ended meanwhile
        numbers = next((line.split()[1:] for line in status if line.startswith("NSpid:")), [entry])
        found.append(ProcessFacts(int(entry), int(numbers[-1]), tuple(words)))
    return sorted(found, key=lambda facts: facts.pid)
