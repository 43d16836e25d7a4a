"""Network namespaces, PID spaces and processes in them, on the real kernel."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from netemu.errors import UsageError
from netemu.kernel.namespace import NetworkNamespace
from netemu.kernel.pidspace import PidSpace
from netemu.kernel.process import run, start


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


async def test_a_cancelled_run_ends_its_process(net):
    running = asyncio.create_task(run(["sleep", "60"], net))
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    assert not [pid for pid in children if Path(f"/proc/{pid}/comm").read_text() == "sleep\n"]


async def test_processes_of_a_pid_space_end_with_it(net):
    pids = PidSpace()
    process = start(["sh", "-c", "sleep 1000 & echo $$; wait"], net, pids, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert int(process.stdout.readline()) == 2, "it is the first process beside process 1 in its own space"
    init = Path(f"/proc/{pids.process.pid}")
    grandchildren = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    waiting = asyncio.create_task(asyncio.to_thread(process.wait))
    await pids.close()
    await waiting
    process.stdout.close()
    assert not init.exists()
    assert grandchildren
    assert not any(Path(f"/proc/{pid}").exists() for pid in grandchildren)


HOLDER = """
import sys, time, os
from pathlib import Path
from netemu.kernel.pidspace import PidSpace
from netemu.kernel.namespace import NetworkNamespace
from netemu.kernel.process import start
pids, net = PidSpace(), NetworkNamespace.create("test")
pids.remove_after(folder=Path(sys.argv[1]))
pids.remove_after(link=Path(sys.argv[2]), target="mine")
pids.remove_after(link=Path(sys.argv[3]), target="mine")
process = start(["sleep", "1000"], net, pids)
print(pids.process.pid, process.pid, flush=True)
time.sleep(1000)
"""


def test_a_killed_holder_leaves_no_process_and_what_it_named_is_removed(tmp_path):
    folder, ours, others = tmp_path / "folder", tmp_path / "ours", tmp_path / "others"
    folder.mkdir()
    (folder / "file").write_text("x")
    ours.symlink_to("mine")
    others.symlink_to("somebody's")
    arguments = [sys.executable, "-c", HOLDER, str(folder), str(ours), str(others)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        pids = [int(pid) for pid in holder.stdout.readline().split()]
        waits = [os.pidfd_open(pid) for pid in pids]
        holder.send_signal(signal.SIGKILL)
    for fd in waits:
        wait_for(fd)
        os.close(fd)
    assert not folder.exists()
    assert not ours.is_symlink()
    assert others.is_symlink(), "a link that no longer points to ours is somebody else's"


def wait_for(fd: int) -> None:
    import select

    assert select.select([fd], [], [], 5)[0], "the process did not end"
