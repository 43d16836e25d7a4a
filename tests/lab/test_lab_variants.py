"""On a host plain `iptables` is the lab's backend, whatever the machine's own choice is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from netemu import Lab
from netemu.kernel.init.calls import unmount_detached
from netemu.kernel.init.files import cover_name
from netemu.lab.show import shown

pytestmark = pytest.mark.needs("legacy iptables")
SAYS = {"nft": "(nf_tables)", "legacy": "(legacy)"}
NAMES = [f"{tool}{action}" for tool in ("iptables", "ip6tables") for action in ("", "-save", "-restore")]
FOLDER = "/usr/sbin"


@contextmanager
def chosen(backend: str) -> Iterator[None]:
    """The machine's choice, in the mount namespace that the tests have of their own."""
    program = os.path.realpath(f"{FOLDER}/iptables-{backend}")
    with ExitStack() as undo:
        for name in NAMES:
            cover_name(program, f"{FOLDER}/{name}")
            undo.callback(unmount_detached, f"{FOLDER}/{name}")
        yield


def lab(backend: str, **host: object) -> Lab:
    return Lab({"name": "variants", "backend": backend, "hosts": {"A": host}})


@pytest.mark.parametrize("machine", SAYS)
@pytest.mark.parametrize("backend", SAYS)
async def test_each_plain_name_is_of_the_labs_backend_and_others_stay(backend, machine):
    mounts = Path("/proc/self/mountinfo").read_text()
    with chosen(machine):
        async with lab(backend) as one:
            for name in [*NAMES, f"{FOLDER}/iptables", "/sbin/ip6tables"]:
                assert SAYS[backend] in (await one["A"].run(name, "-V")).stdout
            for variant, says in SAYS.items():
                assert says in (await one["A"].run(f"iptables-{variant}", "-V")).stdout
                assert says in (await one["A"].run(f"ip6tables-{variant}-save", "-V")).stdout
            assert one["A"].remarks == ()
    assert Path("/proc/self/mountinfo").read_text() == mounts


@pytest.mark.parametrize("backend", SAYS)
async def test_rules_for_nft_that_begin_with_a_flush_leave_those_for_iptables(backend):
    """As Debian's own /etc/nftables.conf begins."""
    rules, flush = "*filter\n-A {0} -p tcp -j ACCEPT\nCOMMIT\n", "flush ruleset\ntable ip own {}\n"
    async with lab(backend, iptables=rules.format("INPUT"), ip6tables=rules.format("OUTPUT"), nft=flush) as one:
        assert "-A INPUT -p tcp" in (await one["A"].run("iptables-save")).stdout
        assert "-A OUTPUT -p tcp" in (await one["A"].run("ip6tables-save")).stdout
        assert "table ip own" in (await one["A"].run("nft", "list", "tables")).stdout


@pytest.mark.parametrize("backend", SAYS)
async def test_a_rule_added_by_the_plain_name_is_of_the_backend_in_show(backend):
    rules = "*filter\n-A INPUT -p tcp -j ACCEPT\nCOMMIT\n"
    async with lab(backend, iptables=rules) as one:
        for tool, protocol in (("iptables", "udp"), ("ip6tables", "tcp")):
            done = await one["A"].run(tool, "-A", "INPUT", "-p", protocol, "-j", "ACCEPT")
            assert done.returncode == 0, done.stderr
        saved = (await one["A"].run("iptables-save")).stdout
        again = await one["A"].run("iptables-restore", input=saved.encode())
        assert again.returncode == 0, again.stderr
        told = (await shown(one, ["A"]))["hosts"]["A"]["rules"]
    assert [line for line in saved.splitlines() if line.startswith("-A")] == [
        "-A INPUT -p tcp -j ACCEPT",
        "-A INPUT -p udp -j ACCEPT",
    ]
    assert [(rule["family"], rule["rule"], rule["backend"]) for rule in told] == [
        ("ip", "-A INPUT -p tcp -j ACCEPT", backend),
        ("ip", "-A INPUT -p udp -j ACCEPT", backend),
        ("ip6", "-A INPUT -p tcp -j ACCEPT", backend),
    ]


@pytest.mark.parametrize("backend", SAYS)
def test_exec_has_it_and_show_tells_what_was_added_by_it(backend, tmp_path):
    file = tmp_path / "plain.yaml"
    file.write_text("{name: plain, hosts: {A: {}}}")

    def netemu(*arguments: str) -> str:
        command = [sys.executable, "-m", "netemu", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout

    netemu("up", str(file), "--backend", backend)
    try:
        assert SAYS[backend] in netemu("exec", "plain", "A", "--", "iptables", "-V")
        netemu(
            "exec", "plain", "A", "--", "iptables", "-t", "nat", "-A", "POSTROUTING", "-s", "10.9.9.9", "-j", "ACCEPT"
        )
        host = json.loads(netemu("show", "plain", "--json"))["hosts"]["A"]
    finally:
        netemu("down", "plain")
    (rule,) = host["rules"]
    assert (rule["table"], rule["chain"], rule["backend"]) == ("nat", "POSTROUTING", backend)
    assert host["remarks"] == []


async def test_a_variant_that_the_machine_lacks_is_told_and_the_name_stays_the_machines():
    cover_name(os.devnull, f"{FOLDER}/ip6tables-legacy")
    try:
        async with lab("legacy") as one:
            assert SAYS["legacy"] in (await one["A"].run("iptables", "-V")).stdout
            before = subprocess.run(["ip6tables", "-V"], capture_output=True, text=True, check=True).stdout
            assert (await one["A"].run("ip6tables", "-V")).stdout == before
            (told,) = one["A"].remarks
    finally:
        unmount_detached(f"{FOLDER}/ip6tables-legacy")
    assert "ip6tables is of the machine's choice: ip6tables-legacy is missing: " in told


async def test_services_have_it_too_and_a_folder_that_is_overlaid():
    service = {"command": ["sh", "-c", "iptables -V; exec sleep 1000"], "ready": {"log": r"\(legacy\)"}}
    async with lab("legacy", files={f"{FOLDER}/not-there-yet": "x"}, services={"s": service}) as one:
        done = await one["A"].run("sh", "-c", f"cat {FOLDER}/not-there-yet; ip6tables -V; iptables-nft -V")
    assert [word for word in done.stdout.split() if word[0] in "x("] == ["xip6tables", "(legacy)", "(nf_tables)"]


async def test_a_program_that_the_topology_places_is_the_topologys():
    placed = {f"{FOLDER}/iptables-save": {"content": "#!/bin/sh\necho mine\n", "mode": "0755"}}
    with chosen("legacy"):  # a plain name by itself, not a symlink to a program that other names are too
        async with lab("nft", files=placed) as one:
            assert (await one["A"].run("iptables-save")).stdout == "mine\n"
            assert SAYS["nft"] in (await one["A"].run("iptables", "-V")).stdout
