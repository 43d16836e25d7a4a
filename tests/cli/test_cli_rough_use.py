"""Rough use: readers that stop, full disks, closed streams, impatient keys, stopped processes, odd requests."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

from netemu.lab.folder import BASE

NETEMU = f"{sys.executable} -m netemu"


def shell(line: str, **more) -> subprocess.CompletedProcess[str]:
    command = ["bash", "-c", line.replace("netemu ", f"{NETEMU} ")]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, **more)


def left() -> list[str]:
    return [entry.name for entry in BASE.iterdir() if entry.name != ".lock"] if BASE.is_dir() else []


@pytest.fixture
def up():
    assert shell("netemu up nodeport").returncode == 0
    yield
    shell("netemu down nodeport")
    assert left() == []


def test_a_reader_that_stops_changes_neither_the_exit_code_nor_the_lab():
    done = shell("netemu run nodeport | head -1; echo ${PIPESTATUS[0]}")
    assert (done.stdout.splitlines()[-1], done.stderr) == ("0", "")
    done = shell("netemu up nodeport | head -1; echo ${PIPESTATUS[0]}; netemu ls; netemu down nodeport")
    assert done.stdout.splitlines()[1] == "0"
    assert "A, B, C, pod" in done.stdout
    assert "nodeport is down" in done.stdout


NOT_WRITTEN = "netemu: standard output can't be written: No space left on device\n"


@pytest.mark.parametrize("more", ["", " --json"])
def test_a_report_that_can_not_be_written_is_told_and_the_lab_stays_up(more):
    done = shell(f"netemu up nodeport{more} >/dev/full; echo $?; netemu down nodeport")
    assert done.stdout.splitlines()[0] == "2"
    assert done.stderr == NOT_WRITTEN
    assert "nodeport is down" in done.stdout


@pytest.mark.parametrize(
    "command", ["run nodeport", "run nodeport --json", "doctor", "generate star 3", "wipe", "--version"]
)
def test_output_that_can_not_be_written_is_an_error(command):
    done = shell(f"netemu {command} >/dev/full")
    assert (done.returncode, done.stderr) == (2, NOT_WRITTEN)


def test_a_verdict_that_can_not_be_written_is_still_the_exit_code(tmp_path):
    file = tmp_path / "fails.yaml"
    file.write_text(
        "name: fails\nhosts: {A: {interfaces: {}}}\ntraffic: [{name: t, from: A, command: ['true']}]\n"
        "expect: [{traffic: t, packet: request.first, at: A@output}]\n"
    )
    whole, cut = shell(f"netemu run {file}"), shell(f"netemu run {file} >/dev/full")
    assert whole.returncode not in (0, 2), whole.stdout
    assert (cut.returncode, cut.stderr) == (whole.returncode, whole.stderr + NOT_WRITTEN)


SLOW = "name: slow\nhosts: {A: {services: {never: {command: [sleep, '600'], ready: {tcp: 1, within: 60s}}}}}\n"


@pytest.mark.parametrize("moment", ["begun", "before"])
@pytest.mark.parametrize("command", ["run", "up"])
@pytest.mark.parametrize(
    ("number", "said", "code"), [(signal.SIGINT, "interrupted", 130), (signal.SIGTERM, "terminated", 143)]
)
def test_a_signal_that_ends_a_command_is_told_by_the_exit_code(tmp_path, command, number, said, code, moment):
    """Once its lab has begun; and before, while it still reads the topology, here from a pipe that gives none."""
    file = tmp_path / "slow.yaml"
    file.write_text(SLOW.replace("sleep, '600'", f"sh, -c, 'echo > {tmp_path}/on; exec sleep 600'"))
    os.mkfifo(tmp_path / "on")
    lab = str(file) if moment == "begun" else "-"
    with subprocess.Popen(
        [*NETEMU.split(), command, lab],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdin is not None
        if moment == "begun":
            with (tmp_path / "on").open() as on:
                assert on.read() == "\n"
        else:
            _reads_its_input(running.pid)
        running.send_signal(number)
        out, told = running.communicate(timeout=20)
    assert (running.returncode, told, out) == (code, f"netemu: {said}\n", "")
    assert left() == []


def test_a_hangup_ends_up_with_its_own_exit_code(tmp_path):
    file = tmp_path / "slow.yaml"
    file.write_text(SLOW.replace("sleep, '600'", f"sh, -c, 'echo > {tmp_path}/on; exec sleep 600'"))
    os.mkfifo(tmp_path / "on")
    with subprocess.Popen([*NETEMU.split(), "up", str(file)], stderr=subprocess.PIPE, text=True) as running:
        with (tmp_path / "on").open() as on:
            assert on.read() == "\n"
        running.send_signal(signal.SIGHUP)
        _, told = running.communicate(timeout=20)
    assert (running.returncode, told) == (129, "netemu: hung up\n")
    assert left() == []


def _reads_its_input(pid: int) -> None:
    """Return once a process waits in read(2) of its descriptor 0, as the kernel says."""
    end = time.monotonic() + 20
    while True:
        with open(f"/proc/{pid}/syscall") as file:  # "0 0x0 …": read is 0 on x86-64
            if file.read().split()[:2] == [{"x86_64": "0", "aarch64": "63"}[os.uname().machine], "0x0"]:
                return
        assert time.monotonic() < end
        time.sleep(0.01)  # nobody is told that a process begins to wait


@pytest.mark.parametrize("command", ["graph nodeport", "schema", "validate nodeport --json", "ls --json", "--help"])
def test_a_full_disk_is_no_fault_of_netemus_own(command):
    done = shell(f"netemu {command} >/dev/full")
    assert (done.returncode, done.stderr) == (2, "netemu: standard output can't be written: No space left on device\n")


@pytest.mark.parametrize("command", ["capture nolab B", "watch nolab", "export file --pcapng -"])
def test_what_nobody_could_read_is_not_begun(command):
    done = shell(f"netemu {command} >&-")
    assert (done.returncode, done.stderr) == (2, "netemu: standard output is closed: pipe it, or send it to a file\n")


def test_closed_standard_streams_do_no_harm():
    assert shell("netemu run nodeport >&- 2>&- <&-; exit $?").returncode == 0


def test_a_locale_without_arrows_gets_question_marks():
    done = shell("netemu run nodeport", env=os.environ | {"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0
    assert "192.168.0.2:30000 ? 172.26.0.3:8080" in done.stdout


@pytest.mark.parametrize("columns", [60, 80, 100, 140])
def test_the_walk_fits_the_terminal(columns):
    done = shell(f"unset COLUMNS; script -qec 'stty cols {columns}; netemu run nodeport' /dev/null")
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", done.stdout)
    # a slow machine shows how far the lab is first: that line is written over, and taken away
    lines = [line.rstrip("\r").rsplit("\r", 1)[-1] for line in text.rstrip("\r\n").split("\n")]
    assert max(map(len, lines)) <= columns
    assert lines[-1].endswith("pass")


@pytest.mark.parametrize("command", ["run", "up"])
def test_impatient_keys_bring_no_traceback_and_leave_nothing(command):
    for wait in (0.6, 0.7, 0.8):
        with subprocess.Popen(
            [*NETEMU.split(), command, "nodeport"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as running:
            time.sleep(wait)
            for _ in range(3):
                running.send_signal(signal.SIGINT)
                time.sleep(0.004)
            _, said = running.communicate(timeout=20)
        assert "Traceback" not in said
        assert "never retrieved" not in said
        if shell("netemu ls").stdout != "no lab is up\n":
            shell("netemu down nodeport")  # it was up whole by then
    assert left() == []


def test_a_stopped_exec_does_not_keep_the_lab_up(up):
    command = [*NETEMU.split(), "exec", "nodeport", "A", "--", "sh", "-c", "echo on; exec sleep 600"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as running:
        try:
            assert running.stdout is not None
            assert running.stdout.readline() == b"on\n"
            running.send_signal(signal.SIGSTOP)
            start = time.monotonic()
            assert shell("netemu down nodeport").returncode == 0
            assert time.monotonic() - start < 10
        finally:
            running.send_signal(signal.SIGCONT)
            running.send_signal(signal.SIGTERM)
        assert running.wait(10) == 137


@pytest.mark.parametrize(
    "command", ["generate star 2000", "doctor", "schema", "graph nodeport", "generate star 9 --json"]
)
def test_a_reader_that_has_seen_enough_is_no_failed_check(command):
    done = shell(f"netemu {command} | true; echo ${{PIPESTATUS[0]}}")
    whole = shell(f"netemu {command}")
    assert (done.stdout, done.stderr) == (f"{whole.returncode}\n", whole.stderr)


def test_a_verdict_stays_what_it_is_whoever_reads_it(tmp_path):
    file = tmp_path / "bad.yaml"
    file.write_text("name: bad\nhosts: {}\n")
    assert shell(f"netemu validate --json {file} | true; echo ${{PIPESTATUS[0]}}").stdout == "2\n"


READ_ONLY = """
mount --make-rprivate / && mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys &&
netemu run nodeport --json
"""


def test_a_lab_is_up_where_a_container_has_a_read_only_proc_sys():
    done = shell(f"unshare --mount bash -c '{READ_ONLY}'")
    assert (done.returncode, json.loads(done.stdout)["verdict"]) == (0, "pass"), done.stderr


def test_a_recorded_lab_of_two_hundred_hosts_leaves_libnftables_its_low_descriptors(tmp_path):
    """It would end the process at a descriptor of 1,024."""
    file = tmp_path / "star.yaml"
    file.write_text(shell("netemu generate star 200 --traffic").stdout)
    done = shell(f"netemu run {file} --json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["capture"]["lost"] == 0


MANY_OPEN = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (2048, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
import netemu
print(netemu.HeldLab("nodeport").facts()["lab"])
"""


def test_a_program_with_many_open_files_asks_labs_too(up):
    done = subprocess.run([sys.executable, "-c", MANY_OPEN], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("nodeport\n", "")


OF_ITS_OWN = """
import asyncio, netemu
async def main():
    async with netemu.Lab({"name": "held", "hosts": {"A": {}}}, named=True):
        print("up", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, input)
asyncio.run(main())
print("down", flush=True)
"""


def test_down_ends_no_program_that_has_a_lab_beside_other_things():
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", OF_ITS_OWN], **pipes) as program:
        assert program.stdout.readline() == "up\n"
        down = shell("netemu down held")
        assert down.returncode == 2
        assert f"lab held is held by process {program.pid}, a program of its own: end that" in down.stderr
        assert program.communicate("\n", timeout=20)[0] == "down\n"
    assert program.returncode == 0


def test_an_odd_request_is_the_askers_trouble_alone(up):
    for odd in (b"[]", b"not json", b'{"do": "dance"}', b""):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(BASE / "nodeport" / "control"))
            sock.sendall(odd)
    assert json.loads(shell("netemu ls --json").stdout)[0]["lab"] == "nodeport"


def test_what_the_caller_had_open_does_not_stay_open_with_the_lab():
    """A pipe's reader sees its end as soon as `up` returns, though the lab is up."""
    done = shell("netemu up nodeport 3>&1 >/dev/null | cat; netemu ls; netemu down nodeport")
    assert "A, B, C, pod" in done.stdout


def test_exec_hands_on_no_ignored_signals(up):
    done = shell("netemu exec nodeport A -- sh -c 'yes | head -1'")
    assert (done.stdout, done.stderr, done.returncode) == ("y\n", "", 0)
    assert shell("netemu exec nodeport A -- ''").returncode == 127
