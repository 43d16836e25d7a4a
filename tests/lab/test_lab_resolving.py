"""Whom a host's processes ask for a name that there is not: nobody, unless the topology says whom."""

from __future__ import annotations

import os
import socket
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest

from netemu import Lab
from netemu.lab.resolving import switch
from netemu.topology.load import loads

LAB = """
name: asking
hosts:
  A:
    interfaces: {eth0: {addresses: [10.0.0.1/24]}}
    routes: [{to: default, via: 10.0.0.2}]
    files: {FILES}
  B: {interfaces: {eth0: {addresses: [10.0.0.2/24]}}}
links: [{endpoints: ["A:eth0", "B:eth0"]}]
"""
MACHINE = {
    "/etc/resolv.conf": "nameserver 192.0.2.53\n",
    "/etc/nsswitch.conf": "passwd: files systemd\nhosts: files mdns4_minimal [NOTFOUND=return] resolve dns\n",
}


@contextmanager
def machine(folder: Path):
    """In the tests' own mount namespace, name servers of the machine that nobody in a lab reaches."""
    placed = []
    try:
        for target, text in MACHINE.items():
            source = folder / Path(target).name
            source.write_text(text)
            subprocess.run(["mount", "--bind", str(source), target], check=True)
            placed.append(target)
        yield
    finally:
        for target in placed:
            subprocess.run(["umount", target], check=True)


@pytest.fixture(autouse=True)
def _machine(tmp_path):
    with machine(tmp_path):
        yield


def lab(files: str = "") -> Lab:
    topology, source = loads(LAB.replace("FILES", files))
    return Lab(topology, source=source, record=True)


async def asked(lab: Lab, *command: str) -> tuple[int, list[str]]:
    """A command's exit code on A, and whom it sent questions to."""
    async with lab.record() as record:
        done = await lab["A"].run(*command, within=30)
    return done.returncode, sorted({str(seen.headers.dst) for seen in record.sightings("udp dst port 53")})


async def test_a_name_that_there_is_not_is_asked_of_nobody():
    async with lab() as here:
        assert await asked(here, "getent", "hosts", "nosuch") == (2, [])
        assert await asked(here, "getent", "ahosts", "no.such.example") == (2, [])
        assert await asked(here, "getent", "hosts", "B") == (0, [])


async def test_a_hosts_resolv_conf_is_its_own_and_names_no_server():
    async with lab() as here:
        shown = await here["A"].run("grep", "-c", "^nameserver", "/etc/resolv.conf")
        assert shown.stdout == "0\n"
        await here["A"].run("sh", "-c", "echo nameserver 10.0.0.2 > /etc/resolv.conf")
        assert (await here["A"].run("cat", "/etc/resolv.conf")).stdout == "nameserver 10.0.0.2\n"
        assert "10.0.0.2" not in (await here["B"].run("cat", "/etc/resolv.conf")).stdout
        assert Path("/etc/resolv.conf").read_text() == MACHINE["/etc/resolv.conf"]


async def test_a_host_asks_the_name_server_that_its_topology_places():
    async with lab('/etc/resolv.conf: "nameserver 10.0.0.2\\n"') as here:
        assert await asked(here, "getent", "hosts", "nosuch") == (2, ["10.0.0.2"])


async def test_a_topologys_own_nsswitch_conf_is_what_holds():
    async with lab('/etc/nsswitch.conf: "hosts: dns\\n"') as here:
        assert (await here["A"].run("cat", "/etc/nsswitch.conf")).stdout == "hosts: dns\n"


async def test_the_machines_name_cache_is_not_asked():
    Path("/run/nscd").mkdir()
    try:
        with socket.socket(socket.AF_UNIX) as cache:
            cache.bind("/run/nscd/socket")
            cache.listen()
            cache.setblocking(False)
            async with lab() as here:
                assert (await here["A"].run("getent", "hosts", "nosuch", within=30)).returncode == 2
            with pytest.raises(BlockingIOError):
                cache.accept()
    finally:
        os.unlink("/run/nscd/socket")
        os.rmdir("/run/nscd")


@pytest.mark.parametrize(
    ("text", "asks", "expected"),
    [
        ("", False, "hosts: files\n"),
        ("", True, "hosts: files dns\n"),
        ("hosts: files resolve [!UNAVAIL=return] dns\n# hosts: x\n", False, "hosts: files\n"),
        ("passwd:  files sss # all\nnetgroup: nis\n", False, "hosts: files\npasswd: files sss\nnetgroup: files\n"),
        ("group: nis [NOTFOUND=return UNAVAIL=continue] db[SUCCESS=merge] files", True,
         "hosts: files dns\ngroup: db [SUCCESS=merge] files\n"),
        ("networks: dns [ NOTFOUND=return ] files\n", False, "hosts: files\nnetworks: files\n"),
    ],
)  # fmt: skip
def test_sources_that_ask_over_the_network_are_left_out(text, asks, expected):
    assert switch(text, asks=asks) == expected
