"""The machine's own network, rules, sysctls, mounts and files, dumped before, during and after labs: unchanged."""

from __future__ import annotations

import subprocess
from pathlib import Path

import victims

from netemu import Lab
from netemu.topology.load import loads

COMMANDS = [
    "ip -o address",
    "ip -o link",
    "ip route show table all",
    "ip -6 route show table all",
    "ip rule",
    "ip -6 rule",
    "ip neighbour",
    "tc qdisc show",
    "bridge link",
    "nft list ruleset",
]
PASSING = {"net/netfilter/nf_conntrack_count", "net/ipv4/tcp_mem", "net/ipv4/udp_mem", "net/core/bpf_jit_limit"}
"""Sysctls that tell of what goes on, or that can't be read twice alike."""


def machine() -> dict[str, str]:
    """All that a lab must leave alone, as text by what it is."""
    told = {line: subprocess.run(line.split(), capture_output=True, text=True, check=False).stdout for line in COMMANDS}
    for room in ("net", "user"):
        for file in sorted((Path("/proc/sys") / room).rglob("*")):
            name = str(file.relative_to("/proc/sys"))
            try:
                told[name] = file.read_text() if file.is_file() and name not in PASSING else ""
            except (OSError, UnicodeDecodeError):
                continue  # one that can only be written
    told["mounts"] = Path("/proc/self/mountinfo").read_text()
    told["host name"] = Path("/proc/sys/kernel/hostname").read_text()
    for file in ("hosts", "resolv.conf", "hostname"):
        path = Path("/etc") / file
        told[str(path)] = path.read_text() if path.is_file() else ""
    return told


def changed(before: dict[str, str], now: dict[str, str]) -> dict[str, tuple[str, str]]:
    return {
        what: (before.get(what, ""), now.get(what, ""))
        for what in before.keys() | now.keys()
        if before.get(what) != now.get(what)
    }


async def test_the_machine_is_the_same_before_during_and_after_labs(nodeport):
    """Twice: what differs without any lab tells of others on this machine, not of labs."""
    topology, _ = loads(nodeport)
    others = changed(machine(), before := machine()).keys()
    async with Lab(topology, named=True) as lab:
        assert (await lab.prove()).verdict == "pass"
        during = machine()
    assert victims.netemu("run", "nodeport").returncode == 0
    after = machine()
    for now in (during, after):
        assert {what: both for what, both in changed(before, now).items() if what not in others} == {}


def test_a_change_of_the_machine_would_be_noticed():
    """The dump itself is no formality: seen from a namespace with other links and sysctls, it differs."""
    before = machine()
    assert len(before) > 500
    assert changed(before, before | {"net/ipv4/ip_forward": "other"}) == {
        "net/ipv4/ip_forward": (before["net/ipv4/ip_forward"], "other")
    }
