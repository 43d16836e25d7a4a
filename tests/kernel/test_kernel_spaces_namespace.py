"""Network namespaces, PID spaces and processes in them, on the real kernel."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from pathlib import Path

import pytest

from netemu.errors import UsageError
from netemu.kernel.processes.process import run
from netemu.kernel.spaces.namespace import NetworkNamespace


def own_namespace() -> str:
    return os.readlink("/proc/thread-self/ns/net")


@pytest.fixture
def net():
    made = NetworkNamespace.create("test")
    yield made
    made.close()


def test_a_new_namespace_has_only_its_own_loopback(net):
    with net.entered():
        assert [name for _, name in socket.if_nameindex()] == ["lo"]


def test_making_and_entering_a_namespace_leaves_the_thread_where_it_was(net):
    before = own_namespace()
    with net.entered():
        assert own_namespace() != before
    assert own_namespace() == before


def test_an_error_inside_still_leads_back(net):
    before = own_namespace()
    with pytest.raises(ZeroDivisionError), net.entered():
        raise ZeroDivisionError
    assert own_namespace() == before


def test_other_threads_stay_where_they_are(net):
    seen: list[str] = []
    with net.entered():
        thread = threading.Thread(target=lambda: seen.append(own_namespace()))
        os.readlink("/proc/thread-self/ns/net")
    thread.start()
    thread.join()
    assert seen == [own_namespace()]


def test_closing_twice_does_no_harm():
    net = NetworkNamespace.create("test")
    net.close()
    net.close()


async def test_a_process_runs_in_the_namespace_and_its_output_comes_back(net):
    done = await run(["sh", "-c", "readlink /proc/self/ns/net; cat; echo oops >&2; exit 7"], net, input=b"hello")
    assert done.stdout.endswith("hello")
    assert done.stdout.splitlines()[0] != own_namespace()
    assert (done.stderr, done.returncode) == ("oops\n", 7)


async def test_a_child_left_behind_with_the_output_open_is_not_waited_for(net):
    async with asyncio.timeout(5):
        done = await run(["sh", "-c", "sleep 60 & echo done"], net)
    assert done.stdout == "done\n"


async def test_a_missing_program_is_told_with_its_host(net):
    with pytest.raises(UsageError, match="host test: can't run no-such-program"):
        await run(["no-such-program"], net)


def children() -> list[str]:
    """The names of this process's children; one that ended meanwhile (an orphan that was adopted, say) has none."""
    names = []
    for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            names.append(Path(f"/proc/{pid}/comm").read_text())
    return names


async def test_a_cancelled_run_ends_its_process(net):
    before = children().count("sleep\n")  # adopted ones that have ended, of other tests
    running = asyncio.create_task(run(["sleep", "60"], net))
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert children().count("sleep\n") <= before
