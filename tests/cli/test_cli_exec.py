"""exec and shell as a person uses them: places, terminals, sizes, signals, exit codes."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

NETEMU = [sys.executable, "-m", "netemu"]
TWO = """
name: two
networks: {lan: {}}
hosts:
  A: {interfaces: {eth0: {network: lan, addresses: [10.0.0.1/24, "fd00::1/64"]}}, environment: {COLOUR: blue}}
  B:
    interfaces: {eth0: {network: lan, addresses: [10.0.0.2/24]}}
    files: {/etc/motd-of-b: hello}
"""
WITHIN = 30.0


def netemu(*arguments: str, **more) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*NETEMU, *arguments], capture_output=True, text=True, timeout=240, check=False, **more)


@pytest.fixture(scope="module", autouse=True)
def _lab(tmp_path_factory):
    file = tmp_path_factory.mktemp("labs") / "two.yaml"
    file.write_text(TWO)
    done = netemu("up", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    yield
    assert netemu("down", "two").returncode == 0


class Typist:
    """A person at a terminal of 100 columns and 30 rows."""

    def __init__(self, *arguments: str, terminal: str = "dumb") -> None:
        environment = {**os.environ, "SHELL": "/bin/bash", "TERM": terminal}
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("4H", 30, 100, 0, 0))
            os.execvpe(NETEMU[0], [*NETEMU, *arguments], environment)
        self.seen = ""

    def sees(self, text: str) -> None:
        end = time.monotonic() + WITHIN
        while text not in self.seen:
            assert select.select([self.fd], [], [], max(end - time.monotonic(), 0))[0], self.seen
            try:
                self.seen += os.read(self.fd, 65536).decode(errors="replace")
            except OSError:
                raise AssertionError(f"ended without {text}: {self.seen}") from None

    def types(self, text: str) -> None:
        self.seen = ""
        os.write(self.fd, text.encode())

    def ends(self) -> int:
        try:
            while select.select([self.fd], [], [], WITHIN)[0]:
                self.seen += os.read(self.fd, 65536).decode(errors="replace")
        except OSError:
            pass
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.fd)
        return code


def test_a_command_finds_the_hosts_name_names_files_and_environment():
    shown = netemu("exec", "two", "A", "--", "sh", "-c", "hostname; getent hosts B; ls /sys/class/net; echo $COLOUR")
    assert shown.stdout.split() == ["A", "10.0.0.2", "B", "eth0", "lo", "blue"]
    assert netemu("exec", "two", "B", "--", "cat", "/etc/motd-of-b").stdout == "hello"
    assert netemu("exec", "two", "A", "--", "cat", "/etc/motd-of-b").returncode == 1


def test_a_command_on_a_terminal_has_one_of_its_own_of_the_same_size():
    typist = Typist(
        "exec", "two", "A", "--", "sh", "-c", "tty; stty size; read line; stty size; echo got $line; exit 5"
    )
    typist.sees("30 100")
    assert "/dev/pts/" in typist.seen
    fcntl.ioctl(typist.fd, termios.TIOCSWINSZ, struct.pack("4H", 40, 132, 0, 0))
    typist.types("words\n")
    typist.sees("got words")
    assert "40 132" in typist.seen
    assert typist.ends() == 5


def test_ctrl_c_on_a_terminal_ends_the_command():
    typist = Typist("exec", "two", "A", "--", "sed", "-u", "s/ready/steady/")
    typist.types("ready\n")
    typist.sees("steady")
    typist.types("\x03")
    assert typist.ends() == 130


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1])
def test_a_signal_to_exec_reaches_the_command(number):
    """One that is ignored where the tests were started (nohup, a shell's background) can't be trapped by bash."""
    script = f"trap 'exit 9' {number.name[3:]}; echo ready; while :; do sleep 0.05; done"
    with subprocess.Popen(
        [*NETEMU, "exec", "two", "A", "--", "bash", "-c", script],
        stdout=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # noqa: PLW1509  it takes no lock
    ) as running:
        assert running.stdout.readline() == b"ready\n"
        running.send_signal(number)
        assert running.wait(WITHIN) == 9


def test_input_from_a_pipe_and_a_signals_exit_code_are_passed_through():
    assert netemu("exec", "two", "A", "--", "cat", input="typed").stdout == "typed"
    assert netemu("exec", "two", "A", "--", "sh", "-c", "kill -9 $$").returncode == 137


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("notacommand", 127, "No such file or directory"),
        ("./notafile", 127, "No such file or directory"),
        ("./text/below-a-file", None, "Not a directory"),
        ("./text", 126, "Permission denied"),
        ("/", 126, "Permission denied"),
        ("./no-interpreter", 127, "names an interpreter that is not there"),
        ("./no-program", 126, "Exec format error"),
    ],
)
def test_a_command_that_can_not_be_run_ends_as_in_a_shell_and_is_told_with_its_host(tmp_path, command, code, said):
    for name, text, mode in (
        ("text", "hello", 0o644),
        ("no-interpreter", "#!/no/such\n", 0o755),
        ("no-program", "\x7fELF\0\0", 0o755),
    ):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(mode)
    done = netemu("exec", "two", "A", "--", command, cwd=tmp_path)
    assert (done.stdout, done.stderr.count("\n")) == ("", 1)
    assert done.stderr.startswith(f"netemu: host A: can't run {command}: ")
    assert said in done.stderr
    assert done.returncode == (code or 127)
    if code is not None:
        assert subprocess.run(["bash", "-c", command], cwd=tmp_path, check=False).returncode == code


def test_a_shells_prompt_names_lab_and_host_and_its_exit_code_is_passed_on():
    typist = Typist("shell", "two", "B")
    typist.sees("two:B:")
    typist.types("hostname; exit 3\n")
    assert typist.ends() == 3
    assert "\nB\r\n" in typist.seen.replace("\r\r", "\r")


@pytest.mark.parametrize("shell", ["/bin/bash", "/bin/sh"])
def test_a_shell_that_reads_its_commands_from_a_pipe_only_does_them(shell):
    done = netemu("shell", "two", "B", input="hostname; exit 3\n", env={**os.environ, "SHELL": shell})
    assert (done.stdout, done.stderr, done.returncode) == ("B\n", "", 3)


def test_a_killed_exec_takes_its_command_with_it():
    with subprocess.Popen(
        [*NETEMU, "exec", "two", "A", "--", "sh", "-c", "echo ready; exec sleep 4242"], stdout=subprocess.PIPE
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"ready\n"
        (child,) = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
        command = os.pidfd_open(int(child))
        running.kill()
    try:
        assert select.select([command], [], [], WITHIN)[0]
    finally:
        os.close(command)


SLOW = """
name: slow
hosts:
  A: {services: {late: {command: [sh, -c, "sleep 1.7; exec python3 -m http.server 80"], ready: {tcp: 80}}}}
"""


def test_what_takes_longer_than_a_second_shows_its_progress_on_a_terminal_alone(tmp_path):
    file = tmp_path / "slow.yaml"
    file.write_text(SLOW)
    typist = Typist("run", str(file), terminal="xterm")
    typist.sees("slow comes up")
    assert os.waitstatus_to_exitcode(os.waitpid(typist.pid, 0)[1]) == 0
    os.close(typist.fd)
    done = netemu("run", str(file))
    assert (done.returncode, done.stderr) == (0, "")


def test_from_a_folder_that_is_gone_a_command_runs_at_the_root(tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    script = 'cd "$1" && rmdir "$1" && shift && exec "$@"'
    command = ["sh", "-c", script, "sh", str(gone), *NETEMU, "exec", "two", "A", "--", "pwd"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert (done.returncode, done.stdout) == (0, "/\n"), done.stderr
