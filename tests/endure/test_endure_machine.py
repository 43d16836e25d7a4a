"""The machine's own network, rules, sysctls, mounts and files, dumped before, during and after labs: unchanged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
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


CHANGES = {
    "ip -o link": "ip link add one type veth peer name two",
    "ip -o address": "ip address add 10.9.8.7/24 dev lo",
    "ip route show table all": "ip route add blackhole 10.9.9.0/24",
    "ip rule": "ip rule add from 10.9.8.7 table 99",
    "nft list ruleset": "nft add table ip stray",
    "net/ipv4/ip_forward": "sysctl -qw net.ipv4.ip_forward=1",
    "mounts": "mount -t tmpfs tmpfs /mnt",
    "host name": "hostname stray",
}
"""What a lab could do to the machine, each by the part of the dump that must tell of it."""


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_of_the_machine_would_be_noticed(what):
    """The dump is no formality: each change, made in namespaces of the test's own, differs in it."""
    dump = "import json, test_endure_machine as m; print(json.dumps(m.machine()))"
    script = f'"$0" -c "{dump}"; {CHANGES[what]} && "$0" -c "{dump}"'
    command = ["unshare", "--net", "--uts", "--mount", "--propagation", "private", "sh", "-c", script, sys.executable]
    path = f"{Path(__file__).parent}:{Path(__file__).parent.parent}"
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    before, after = map(json.loads, done.stdout.splitlines())
    assert what in changed(before, after)
