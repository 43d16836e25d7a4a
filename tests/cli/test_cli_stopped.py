"""A lab whose supervisor is stopped: when that is told, whoever asks, and what becomes of what was asked."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from netemu import HeldLab, StoppedError
from netemu.lab.asking import LOOK
from netemu.lab.folder import BASE

NETEMU = [sys.executable, "-m", "netemu"]


def shell(line: str, **more) -> subprocess.CompletedProcess[str]:
    command = ["bash", "-c", line.replace("netemu ", f"{' '.join(NETEMU)} ")]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, **more)


@pytest.fixture
def supervisor() -> Iterator[int]:
    """The process that holds nodeport, which is up; nothing is left of it afterwards."""
    assert shell("netemu up nodeport").returncode == 0
    yield json.loads(shell("netemu ls --json").stdout)[0]["pid"]
    shell("netemu down nodeport")
    assert [entry.name for entry in BASE.iterdir() if entry.name != ".lock"] == []


@pytest.fixture
def stopped(supervisor) -> Iterator[int]:
    """The same, stopped; it may have ended in the end."""
    process = os.pidfd_open(supervisor)
    signal.pidfd_send_signal(process, signal.SIGSTOP)
    _has_state(supervisor, "T")
    yield supervisor
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(process, signal.SIGCONT)
    os.close(process)


def _has_state(pid: int, state: str) -> None:
    """Return once a process has a state (proc(5))."""
    end = time.monotonic() + 10
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != state:
        assert time.monotonic() < end


def test_whoever_asks_a_stopped_supervisor_waits_two_looks_at_most(stopped):
    start = time.monotonic()
    with pytest.raises(StoppedError, match=f"kill -CONT {stopped} "):
        HeldLab("nodeport").show()
    assert time.monotonic() - start < 2 * LOOK


def test_a_supervisor_that_is_stopped_while_it_works_on_an_answer_is_told(supervisor):
    pid = supervisor
    with subprocess.Popen([*NETEMU, "check", "nodeport"], stderr=subprocess.PIPE, text=True) as asking:
        _is_asked(pid, before=_connections(pid))
        os.kill(pid, signal.SIGSTOP)
        _, told = asking.communicate(timeout=20)
    os.kill(pid, signal.SIGCONT)
    assert (asking.returncode, f"kill -CONT {pid} " in told) == (2, True)


def _connections(pid: int) -> int:
    return sum("socket:" in os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir() if fd.is_symlink())


def _is_asked(pid: int, before: int) -> None:
    """Return once a supervisor has taken somebody's call."""
    end = time.monotonic() + 20
    while True:
        with suppress(FileNotFoundError):
            if _connections(pid) > before:
                return
        assert time.monotonic() < end


def test_more_calls_than_a_stopped_supervisor_has_room_for_are_told_the_same(stopped):
    calls = []
    try:
        for _ in range(100):
            calls.append(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK))
            try:
                calls[-1].connect(str(BASE / "nodeport" / "control"))
            except BlockingIOError:
                break
        else:
            raise AssertionError("there was room for all")
        done = shell("netemu show nodeport")
        assert (done.returncode, f"kill -CONT {stopped} " in done.stderr) == (2, True)
        with _signals_that_interrupt(), pytest.raises(StoppedError, match=f"kill -CONT {stopped} "):
            HeldLab("nodeport").show()
    finally:
        for call in calls:
            call.close()


@contextmanager
def _signals_that_interrupt() -> Iterator[None]:
    """What waits in the kernel is interrupted again and again by a signal that this process heeds."""
    before = signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, LOOK / 5, LOOK / 5)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_what_was_told_to_have_failed_is_not_done_once_the_supervisor_goes_on(stopped):
    assert shell("netemu link nodeport A:eth0 --down").returncode == 2
    done = shell(f"kill -CONT {stopped}; netemu link nodeport A:eth0 --json")
    assert json.loads(done.stdout)["state"] == "up"
    assert "state UP" in shell("netemu exec nodeport A -- ip link show eth0").stdout


def test_a_stopped_lab_is_listed_as_that_and_can_be_used_once_it_goes_on(stopped):
    assert "nodeport  stopped" in shell("netemu ls").stdout
    asked = shell("netemu exec nodeport A -- true")
    assert (asked.returncode, asked.stdout) == (2, "")
    os.kill(stopped, signal.SIGCONT)
    assert shell("netemu exec nodeport A -- true").returncode == 0


def test_a_stopped_lab_can_be_taken_down_and_leaves_nothing(stopped):
    down = shell("netemu down nodeport")
    assert (down.returncode, down.stdout.split(" (")[0]) == (0, "nodeport is down"), down.stderr
    assert shell("netemu ls").stdout == "no lab is up\n"
    end = time.monotonic() + 2
    while any(entry.name != ".lock" for entry in BASE.iterdir()):
        assert time.monotonic() < end
        time.sleep(0.01)  # what is killed is tidied up after by its process 1, which tells nobody
