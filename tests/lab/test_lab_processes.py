"""Processes on hosts: started, listed apart from another host's, ended."""

from __future__ import annotations

import asyncio
import os

import pytest

from netemu import Lab, Topology, UsageError

WITHIN = 20.0


@pytest.fixture
async def lab():
    async with Lab(Topology.model_validate({"name": "two", "hosts": {"A": {}, "B": {}}})) as lab:
        yield lab


async def test_a_hosts_processes_are_listed_apart_from_anothers(lab):
    async with await lab["A"].start("sleep", "91") as one, await lab["B"].start("sleep", "92"):
        async with asyncio.timeout(WITHIN):
            while not (found := [facts for facts in lab["A"].processes() if "sleep" in facts.command]):
                await asyncio.sleep(0.01)
        assert [(facts.pid, facts.command) for facts in found] == [(one.pid, ("sleep", "91"))]
        assert found[0].lab_pid < found[0].pid
        shown = await lab["A"].run("ps", "-o", "args=", "-p", str(found[0].lab_pid))
        assert shown.stdout == "sleep 91\n"
    assert not [facts for facts in lab["A"].processes() if "sleep" in facts.command]


async def test_a_started_process_reads_and_writes_what_it_is_given(lab):
    reader, writer = os.pipe()
    try:
        async with await lab["A"].start(
            "sh", "-c", "hostname; echo $MORE; cat", stdout=writer, environment={"MORE": "x"}
        ) as cat:
            assert await cat.wait() == 0
        assert os.read(reader, 100) == b"A\nx\n"
    finally:
        os.close(reader)
        os.close(writer)


async def test_a_program_that_can_not_be_started_is_told(lab):
    with pytest.raises(UsageError, match="host A: can't run no-such: No such file"):
        await lab["A"].start("no-such")


async def test_a_host_says_its_own_name_everywhere(lab):
    command = ("sh", "-c", "hostname; uname -n; cat /etc/hostname /proc/sys/kernel/hostname")
    assert (await lab["B"].run(*command)).stdout == "B\n" * 4


async def test_a_name_that_the_topology_places_is_that():
    hosts = {"A": {"files": {"/etc/hostname": "placed\n"}}}
    async with Lab(Topology.model_validate({"name": "one", "hosts": hosts})) as lab:
        assert (await lab["A"].run("cat", "/etc/hostname")).stdout == "placed\n"


async def test_no_command_at_all_is_told(lab):
    for run in (lab["A"].run, lab["A"].start):
        with pytest.raises(UsageError, match="host A: no command was given"):
            await run()


async def test_a_commands_input_is_bytes_or_a_text(lab):
    assert (await lab["A"].run("cat", input="grüße")).stdout == "grüße"
    assert (await lab["A"].run("cat", input=b"bytes")).stdout == "bytes"


async def test_a_process_has_the_limits_of_whoever_has_the_lab(lab):
    import resource

    shown = await lab["A"].run("sh", "-c", "ulimit -n")
    assert int(shown.stdout) == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
