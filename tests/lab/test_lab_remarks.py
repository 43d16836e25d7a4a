"""What `up` says of a lab that is not as one may think, though nothing of it is a fault."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from netemu import Lab
from netemu.lab.folder import NETNS

WITHIN = 10.0
TOPOLOGY = """
name: remarked
hosts:
  A:
    services:
      fails: {command: [sh, -c, "exit 3"]}
      killed: {command: [sh, -c, "kill -9 $$"], restart: always}
      ends: {command: ["true"]}
      stays: {command: [sleep, "1000"]}
  b-c: {}
"""


@pytest.fixture
def topology(tmp_path) -> Path:
    file = tmp_path / "remarked.yaml"
    file.write_text(TOPOLOGY)
    return file


async def ended(lab: Lab) -> None:
    async with asyncio.timeout(WITHIN):
        while {one.name for one in lab.services.states() if one.exit_code or one.restarts} != {"fails", "killed"}:
            await asyncio.sleep(0.005)  # an end is a service's own to see: no event tells of it


async def test_services_that_failed_are_told_and_none_that_ended_as_they_should(topology):
    async with Lab(topology) as lab:
        await ended(lab)
        told = (await lab.prove()).remarks
    fails, killed = told
    assert fails == "service fails on A ended with exit code 3"
    name, how = killed.split(" on A ")
    assert name == "service killed"
    assert how.startswith(("was killed by signal 9 (Killed)", "was started again "))


async def test_a_signal_without_a_name_is_told_by_its_number(tmp_path):
    """Of the realtime signals only the first and the last have names (signal(7))."""
    service = {"command": ["bash", "-c", "kill -40 $$"]}
    async with Lab({"name": "realtime", "hosts": {"A": {"services": {"s": service}}}}) as lab:
        async with asyncio.timeout(WITHIN):
            while lab.services.states()[0].state != "failed":
                await asyncio.sleep(0.005)  # as above
        assert lab.remarks() == ("service s on A was killed by signal 40 (Real-time signal 6)",)


async def test_a_lab_that_commands_know_says_where_the_logs_are(topology):
    async with Lab(topology, named=True) as lab:
        await ended(lab)
        told = lab.remarks()
    assert told[0] == "service fails on A ended with exit code 3: netemu logs remarked A fails tells what it wrote"


async def test_a_host_whose_name_for_ip_netns_another_has_is_told(topology):
    """Host b-c of a lab x has the name that host c of a lab x-b would have."""
    async with (
        Lab({"name": "remarked-b", "hosts": {"c": {}}}, named=True) as first,
        Lab(topology, named=True) as second,
    ):
        assert first.remarks() == ()
        whose = "lab remarked-b's"
        assert second.remarks()[-1] == f"ip netns does not know host b-c: {NETNS}/remarked-b-c is {whose}"
        theirs = os.stat(f"{NETNS}/remarked-b-c")
        assert theirs.st_ino == os.fstat(first["c"].net.fd).st_ino
    assert not os.path.lexists(NETNS / "remarked-b-c")


@pytest.mark.parametrize(
    ("target", "whose"),
    [("/no/such", "a dead lab's: netemu wipe"), ("/proc/self/ns/net", "another namespace's, which no lab made")],
)
async def test_a_name_that_no_lab_has_is_told_for_what_it_is(topology, target: str, whose: str):
    name = NETNS / "remarked-b-c"
    name.symlink_to(target)
    try:
        async with Lab(topology, named=True) as lab:
            assert lab.remarks()[-1] == f"ip netns does not know host b-c: {name} is {whose}"
        assert name.is_symlink(), "it is not the lab's"
    finally:
        name.unlink()


def netemu(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "netemu", *arguments], capture_output=True, text=True, check=False)


def test_up_and_check_tell_it_in_words_and_as_json(topology):
    try:
        first = netemu("up", str(topology))
        assert (first.returncode, "nothing to check" in first.stdout) == (0, True), first.stderr
        states: set[str] = set()
        end = time.monotonic() + 60
        while not {"failed", "restarting"} <= states:
            assert time.monotonic() < end, states
            hosts = json.loads(netemu("show", "remarked", "--json").stdout)["hosts"]
            states = {service["state"] for service in hosts["A"]["services"]}
        as_json = json.loads(netemu("check", "remarked", "--json").stdout)["remarks"]
        in_words = netemu("check", "remarked").stdout
    finally:
        netemu("down", "remarked")
    assert as_json[0].startswith("service fails on A ended with exit code 3")
    assert "note   service fails on A ended with exit code 3" in in_words
