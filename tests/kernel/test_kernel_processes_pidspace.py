"""A lab's process 1: what it starts, what it reports, and what is left when it is gone. On the real kernel."""

from __future__ import annotations

import asyncio
import errno
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from netemu.errors import KernelError, UsageError
from netemu.kernel.processes import pidspace
from netemu.kernel.processes.memory import memory_file, text_of
from netemu.kernel.processes.pidspace import PidSpace
from netemu.kernel.processes.process import run_on
from netemu.kernel.spaces.namespace import NetworkNamespace

WITHIN = 10.0


@pytest.fixture
async def pids():
    before = set(os.listdir("/proc/self/fd"))
    made = PidSpace()
    yield made
    await made.close()
    assert set(os.listdir("/proc/self/fd")) == before


@pytest.fixture
async def host(pids, tmp_path):
    """The name of a host that has its place, with one file placed where there is one, and one where there is none."""
    net = NetworkNamespace.create("B")
    names = tmp_path / "hosts"
    names.write_text("127.0.0.1 localhost\n10.9.9.9 elsewhere\n")
    assert await pids.place("B", net.fd, tmp_path / "own", names) == []
    yield "B"
    net.close()


async def out(pids, host, *command, **more) -> str:
    done = await run_on(host, command, pids, **more)
    assert done.returncode == 0, done
    return done.stdout


async def test_a_process_runs_on_its_host_with_input_output_and_exit_code(pids, host):
    done = await run_on(host, ["sh", "-c", "cat; echo oops >&2; exit 7"], pids, input=b"hello")
    assert (done.stdout, done.stderr, done.returncode) == ("hello", "oops\n", 7)


async def test_a_process_that_a_signal_ends_has_its_number_as_exit_code(pids, host):
    assert (await run_on(host, ["sh", "-c", "kill -9 $$"], pids)).returncode == -9


async def test_a_host_has_its_own_name_network_sys_and_hosts_file(pids, host):
    assert await out(pids, host, "hostname") == "B\n"
    assert await out(pids, host, "ls", "/sys/class/net") == "lo\n"
    assert (await out(pids, host, "getent", "hosts", "elsewhere")).split()[0] == "10.9.9.9"
    assert os.uname().nodename != "B"
    assert "elsewhere" not in Path("/etc/hosts").read_text()


async def test_proc_shows_the_labs_processes_alone(pids, host):
    shown = await out(pids, host, "sh", "-c", "ls /proc | grep -c '^[0-9]'; cat /proc/1/cmdline")
    assert int(shown.split("\n")[0]) <= 5
    assert "netemu/kernel/init" in shown


async def test_what_is_mounted_below_sys_stays_there(pids, host):
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    below = [point for point in points if point.startswith("/sys/")]
    shown = await out(pids, host, "cat", "/proc/self/mountinfo")
    assert set(below) <= {line.split()[4] for line in shown.splitlines()}


async def test_mounts_of_a_host_are_not_seen_outside(pids, host):
    before = Path("/proc/self/mountinfo").read_text()
    await out(pids, host, "sh", "-c", "mount -t tmpfs none /mnt && touch /mnt/x")
    assert Path("/proc/self/mountinfo").read_text() == before
    assert await out(pids, host, "ls", "/mnt") == "x\n"


@pytest.mark.parametrize(
    "target", ["/etc/passwd", "/etc/no-such.conf", "/usr/share/no-such/deep/er.conf", "/no-such/x"]
)
async def test_a_file_is_placed_for_the_host_alone(pids, tmp_path, target):
    before = os.path.exists(target) and Path(target).read_bytes()
    net = NetworkNamespace.create("B")
    source = tmp_path / "source"
    source.write_text("mine\n")
    source.chmod(0o640)
    names = tmp_path / "hosts"
    names.write_text("127.0.0.1 localhost\n")
    try:
        assert await pids.place("B", net.fd, tmp_path / "own", names, [(source, target)]) == []
        shown = await out(pids, "B", "sh", "-c", f"cat {target}; stat -c %a {target}; cat /etc/hosts; ls / | wc -l")
        assert shown.splitlines()[:3] == ["mine", "640", "127.0.0.1 localhost"]
        assert int(shown.splitlines()[3]) >= len([name for name in os.listdir("/") if name[0] != "."])
    finally:
        net.close()
    assert (os.path.exists(target) and Path(target).read_bytes()) == before
    assert not Path("/no-such").exists()


async def test_a_file_that_can_not_be_placed_is_told_with_its_host(pids, tmp_path):
    net = NetworkNamespace.create("B")
    try:
        for _ in range(2):
            with pytest.raises(KernelError, match="host B: /etc is a folder: a file can't be placed over it"):
                await pids.place("B", net.fd, tmp_path / "own", tmp_path / "hosts", [(tmp_path / "x", "/etc")])
    finally:
        net.close()


async def test_a_host_enters_the_same_namespaces_as_its_processes(pids, host):
    fds = await pids.enter(host)
    shown = await out(pids, host, "sh", "-c", "for n in net uts mnt; do stat -L -c %i /proc/self/ns/$n; done")
    assert [os.fstat(fd).st_ino for fd in fds] == [int(line) for line in shown.split()]
    for fd in fds:
        os.close(fd)


async def test_a_missing_program_folder_or_user_is_told_with_its_host(pids, host, tmp_path):
    with pytest.raises(UsageError, match="host B: can't run no-such-program: No such file or directory"):
        await run_on(host, ["no-such-program"], pids)
    with pytest.raises(UsageError, match="host B: can't run true as user no-such-user: no user no-such-user"):
        await run_on(host, ["true"], pids, user="no-such-user")
    with memory_file() as file, pytest.raises(UsageError, match=f"host B: can't work in {tmp_path}/x: No such file"):
        await pids.start(["true"], (file.fileno(),) * 3, host=host, folder=tmp_path / "x")


@pytest.mark.parametrize(
    ("user", "shown"), [("nobody", "65534\nnobody\n"), ("65534", "65534\nnobody\n"), ("4242", "4242\n\n")]
)
async def test_a_process_runs_as_another_user(pids, host, user, shown):
    environment = {"PATH": os.environ["PATH"]}
    assert await out(pids, host, "sh", "-c", "id -u; echo $USER", user=user, environment=environment) == shown


async def test_an_environment_longer_than_a_message_arrives(pids, host):
    long = "x" * 100_000
    shown = await out(pids, host, "sh", "-c", "echo $LONG", environment={"PATH": os.environ["PATH"], "LONG": long})
    assert shown == long + "\n"


async def test_a_child_left_behind_with_the_output_open_is_not_waited_for(pids, host):
    async with asyncio.timeout(WITHIN):
        assert await out(pids, host, "sh", "-c", "sleep 60 & echo done") == "done\n"


async def test_a_hundred_processes_at_once_each_give_their_own_exit_code(pids, host):
    async with asyncio.timeout(60):
        done = await asyncio.gather(*(run_on(host, ["sh", "-c", f"exit {n}"], pids) for n in range(100)))
    assert [one.returncode for one in done] == list(range(100))


async def test_a_cancelled_run_ends_its_process_wherever_it_was(pids, host):
    for turns in range(12):
        running = asyncio.create_task(run_on(host, ["sleep", "60"], pids))
        for _ in range(turns):
            await asyncio.sleep(0.0005)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    async with asyncio.timeout(WITHIN):
        while "sleep" in await out(pids, host, "ps", "-eo", "comm"):
            await asyncio.sleep(0.01)


async def test_a_process_can_be_signalled_and_its_end_awaited_by_many(pids, host):
    with memory_file() as file:
        process = await pids.start(["sleep", "60"], (file.fileno(),) * 3, host=host)
        assert Path(f"/proc/{process.pid}/comm").read_text() == "sleep\n"
        process.terminate()
        async with asyncio.timeout(WITHIN):
            assert await asyncio.gather(process.wait(), process.wait()) == [-15, -15]
        process.kill()


async def test_nothing_is_open_in_a_process_but_its_streams(pids, host):
    with memory_file() as file:
        process = await pids.start(["sleep", "60"], (file.fileno(),) * 3, host=host)
        async with asyncio.timeout(WITHIN):
            while sorted(os.listdir(f"/proc/{process.pid}/fd")) != ["0", "1", "2"]:
                await asyncio.sleep(0.01)  # it opens libraries of its own while it starts
        process.kill()


async def test_orphans_are_collected(pids, host):
    await out(pids, host, "sh", "-c", "(sleep 0.05 & sleep 0.05 &)")
    async with asyncio.timeout(WITHIN):
        while int(await out(pids, host, "sh", "-c", "ls /proc | grep -c '^[0-9]'")) > 5:
            await asyncio.sleep(0.01)


async def test_processes_of_a_pid_space_end_with_it(host, pids):
    with memory_file() as file:
        process = await pids.start(["sh", "-c", "sleep 1000 & wait"], (file.fileno(),) * 3, host=host)
        init, leader = Path(f"/proc/{pids.process.pid}"), Path(f"/proc/{process.pid}")
        await pids.close()
        assert await process.wait() == -9
        assert not init.exists()
        assert not leader.exists()
        assert text_of(file) == ""


async def test_when_process_1_is_killed_whoever_waits_is_told(host, pids):
    with memory_file() as file:
        process = await pids.start(["sleep", "1000"], (file.fileno(),) * 3, host=host)
    pids.process.kill()
    async with asyncio.timeout(WITHIN):
        assert await process.wait() == -9
        with pytest.raises(KernelError, match="host B: the lab's process 1 has ended"):
            await run_on(host, ["true"], pids)


async def test_process_1_is_out_of_its_processes_reach(pids, host):
    await out(pids, host, "sh", "-c", "kill -9 1; kill -INT 1; kill -TERM 1; kill -HUP 1")
    assert await out(pids, host, "echo", "still") == "still\n"


HOLDER = """
import asyncio, sys, time
from pathlib import Path
from netemu.kernel.processes.pidspace import PidSpace
async def main():
    pids = PidSpace()
    pids.remove_after(folder=Path(sys.argv[1]))
    pids.remove_after(link=Path(sys.argv[2]), target="mine")
    pids.remove_after(link=Path(sys.argv[3]), target="mine")
    process = await pids.start(["sleep", "1000"], (0, 1, 2))
    print(pids.process.pid, process.pid, flush=True)
    time.sleep(1000)
asyncio.run(main())
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


@pytest.mark.parametrize("unread", [False, True])
async def test_what_a_lab_named_last_is_removed_though_process_1_had_more_to_say(tmp_path, unread):
    """It finds the lab gone when it reports an end, before it has read all (or by ECONNRESET, had the lab not)."""
    links = [tmp_path / str(number) for number in range(8)]
    pids = PidSpace()
    process = await pids.start(["sleep", "1000"], (0, 1, 2))
    if unread:
        os.kill(process.pid, signal.SIGKILL)
        wait_for(pids._dialogue.sock.fileno())  # not read, as this does not go back to the event loop
    os.kill(pids.process.pid, signal.SIGSTOP)
    for link in links:
        link.symlink_to("mine")
        pids.remove_after(link=link, target="mine")
    if not unread:
        os.kill(process.pid, signal.SIGKILL)
    pids._dialogue.close()
    os.kill(pids.process.pid, signal.SIGCONT)
    await pids.close()
    assert [link.name for link in links if link.is_symlink()] == []


def wait_for(fd: int) -> None:

    assert select.select([fd], [], [], 5)[0], "the process did not end"


@pytest.mark.parametrize(
    ("number", "why"),
    [
        (errno.ENOMEM, r"out of memory, or the limit of processes is reached: raise it \(ulimit -u, or pids.max\)"),
        (errno.EAGAIN, "Resource temporarily unavailable"),
    ],
)
async def test_where_no_process_1_can_be_had_the_limit_is_named(monkeypatch, number, why):
    """A cgroup's pids.max stops the first fork (EAGAIN); the second, in the same namespace, has ENOMEM."""

    def refused(_sock: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(pidspace, "_start_process_1", refused)
    with pytest.raises(KernelError, match=f"no PID namespace for the lab: {why}"):
        PidSpace()
