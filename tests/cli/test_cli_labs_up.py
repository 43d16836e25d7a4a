"""Labs that are up, many of them: names, ls, down, wipe, completion, and what is said of wrong names."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from netemu.lab.folder import BASE

NETEMU = [sys.executable, "-m", "netemu"]
PLAIN = """
name: plain
networks: {lan: {}}
hosts:
  A: {interfaces: {eth0: {network: lan, addresses: [10.0.0.1/24]}}}
  B: {interfaces: {eth0: {network: lan, addresses: [10.0.0.2/24]}}}
"""


def netemu(*arguments: str, **more) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*NETEMU, *arguments], capture_output=True, text=True, timeout=240, check=False, **more)


def left() -> list[str]:
    return [entry.name for entry in BASE.iterdir() if entry.name != ".lock"] if BASE.is_dir() else []


@pytest.fixture(autouse=True)
def nothing_is_left():
    yield
    netemu("down", "--all")
    assert left() == []


@pytest.fixture
def plain(tmp_path) -> str:
    file = tmp_path / "plain.yaml"
    file.write_text(PLAIN)
    return str(file)


def test_many_labs_of_one_topology_are_up_side_by_side_with_the_same_addresses(plain):
    assert netemu("up", plain).returncode == 0
    done = netemu("up", "--name", "other", plain)
    assert (done.returncode, done.stderr) == (0, "")
    assert "other is up: netemu exec other A -- COMMAND; netemu down other" in done.stdout
    listed = json.loads(netemu("ls", "--json").stdout)
    assert [(lab["lab"], lab["state"], lab["file"]) for lab in listed] == [
        ("other", "up", plain),
        ("plain", "up", plain),
    ]
    assert listed[0]["pid"] != listed[1]["pid"]
    assert {link.name for link in Path("/run/netns").iterdir()} == {"plain-A", "plain-B", "other-A", "other-B"}
    marks = {"plain": "11", "other": "22"}
    for lab, mark in marks.items():
        assert netemu("exec", lab, "A", "--", "ip", "address", "add", f"10.0.{mark}.1", "dev", "lo").returncode == 0
    for lab, mark in marks.items():
        shown = netemu("exec", lab, "A", "--", "ip", "-4", "-o", "address").stdout
        assert [line.split()[3] for line in shown.splitlines()] == ["127.0.0.1/8", f"10.0.{mark}.1/32", "10.0.0.1/24"]
    done = netemu("down", "plain", "other", "--json")
    told = json.loads(done.stdout)
    assert [(lab["lab"], lab["error"]) for lab in told["labs"]] == [("plain", None), ("other", None)]
    assert all(lab["down_ms"] > 0 for lab in told["labs"])


def test_a_lab_run_under_another_name_is_told_under_it():
    told = json.loads(netemu("run", "nodeport", "--name", "mine", "--json").stdout)
    assert (told["lab"], told["verdict"]) == ("mine", "pass")


@pytest.mark.parametrize("name", ["", "a b", "../x", ".lock", "-x", "x" * 49, "a/b"])
def test_what_can_be_no_labs_name_is_refused(plain, name):
    done = netemu("up", plain, f"--name={name}")
    assert done.returncode == 2
    assert f"'{name}' is no name for a lab" in done.stderr


def test_down_all_takes_every_lab_down_and_one_that_is_not_up_keeps_no_other_up(plain):
    for name in ("one", "two"):
        assert netemu("up", plain, "--name", name).returncode == 0
    done = netemu("down", "nosuch", "one")
    assert done.returncode == 2
    assert "lab nosuch is not up" in done.stderr
    assert done.stdout.startswith("one is down")
    done = netemu("down", "--all")
    assert (done.returncode, done.stdout.split(" (")[0]) == (0, "two is down")
    assert netemu("down", "--all").stdout == "no lab is up\n"
    assert json.loads(netemu("down", "--all", "--json").stdout) == {"labs": []}


@pytest.mark.parametrize("arguments", [(), ("--all", "nodeport")])
def test_down_wants_labs_or_all_of_them(arguments):
    done = netemu("down", *arguments)
    assert done.returncode == 2
    assert "name the labs to take down, or give --all" in done.stderr


def test_two_that_take_one_lab_down_at_once_both_succeed(plain):
    assert netemu("up", plain).returncode == 0
    both = [subprocess.Popen([*NETEMU, "down", "plain"], stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [each.communicate(timeout=60)[1] for each in both]
    codes = [each.returncode for each in both]
    assert 0 in codes
    assert all(code == 0 or "not up" in text or "not ready" in text for code, text in zip(codes, said, strict=True))


def test_a_lab_that_is_held_outside_of_a_host_is_told_as_that_on_it(plain):
    """A host sees the machine's /run, and the lab's own processes only."""
    assert netemu("up", plain).returncode == 0
    for asked in ("show", "down"):
        done = netemu("exec", "plain", "A", "--", *NETEMU, asked, "plain")
        assert done.returncode == 2
        assert "lab plain is held by a process that can't be seen here" in done.stderr
    assert netemu("exec", "plain", "A", "--", *NETEMU, "ls").returncode == 0


@contextmanager
def on_its_way(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A lab, plain, that is coming up for as long as one lets it: a service of its never gets ready."""
    service = "services: {never: {command: [sleep, inf], ready: {tcp: 1, within: 10min}}}"
    file = folder / "slow.yaml"
    file.write_text(PLAIN.replace("A: {", f"A: {{{service}, "))
    with subprocess.Popen([*NETEMU, "up", str(file)], stderr=subprocess.PIPE, text=True) as coming_up:
        while "never" not in "".join(str(path) for path in BASE.glob("plain/*")):  # its folder: the service is started
            assert coming_up.poll() is None
            time.sleep(0.02)  # a lab on its way tells nobody how far it is, but its folder does
        yield coming_up


def test_a_lab_that_is_still_coming_up_can_be_taken_down(tmp_path):
    with on_its_way(tmp_path) as coming_up:
        assert json.loads(netemu("ls", "--json").stdout)[0]["state"] == "not ready"
        again = netemu("up", str(tmp_path / "slow.yaml"))
        said = "netemu: lab plain is coming up already, or going down: netemu down plain ends it\n"
        assert (again.returncode, again.stderr) == (2, said)
        done = netemu("down", "plain")
        assert (done.returncode, done.stdout.split(" (")[0], done.stderr) == (0, "plain is down", "")
        assert coming_up.wait(timeout=10) != 0
    assert left() == []


def test_up_ends_as_a_shell_tells_it_where_the_process_that_makes_its_lab_is_killed(tmp_path):
    with on_its_way(tmp_path) as coming_up:
        os.kill(int((BASE / "plain" / "alive").read_text().split()[0]), signal.SIGKILL)
        assert coming_up.wait(timeout=10) == 128 + signal.SIGKILL
    netemu("wipe")


def test_a_lab_that_was_stopped_on_its_way_can_be_taken_down_too(tmp_path):
    """A stopped process takes SIGTERM only once it goes on."""
    with on_its_way(tmp_path):
        held = os.pidfd_open(int((BASE / "plain" / "alive").read_text().split()[0]))
        signal.pidfd_send_signal(held, signal.SIGSTOP)
        try:
            done = netemu("down", "plain")
        finally:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(held, signal.SIGKILL)
            os.close(held)
    assert (done.returncode, done.stdout.split(" (")[0], done.stderr) == (0, "plain is down", "")
    assert left() == []


def test_a_name_that_is_wrong_is_met_with_the_one_that_was_meant(plain):
    assert netemu("up", plain, "--name", "plainest").returncode == 0
    says = {
        ("down", "plainst"): "lab plainst is not up, did you mean 'plainest'?",
        ("exec", "A", "plainest", "--", "true"): "A is a host of lab plainest: the lab comes first",
        ("exec", "plainest", "a", "--", "true"): "lab plainest has no host 'a', did you mean 'A'?",
        ("exec", "plainest", "zzz", "--", "true"): "lab plainest has no host 'zzz': there are A, B",
        ("down", "zzz"): "lab zzz is not up: there is only plainest",
    }
    for arguments, text in says.items():
        done = netemu(*arguments)
        assert (done.returncode, text in done.stderr) == (2, True), done.stderr


def test_a_lab_that_is_up_can_be_drawn_by_its_name(plain):
    assert netemu("up", plain, "--name", "drawn").returncode == 0
    assert netemu("graph", "drawn").stdout.splitlines() == [
        "drawn",
        "",
        "lan",
        "├─ A:eth0 10.0.0.1/24",
        "└─ B:eth0 10.0.0.2/24",
    ]


def test_wipe_removes_what_a_lab_left_that_was_killed_whole(plain):
    assert netemu("wipe").stdout == "no lab that was killed has left anything\n"
    assert netemu("up", plain).returncode == 0
    assert netemu("wipe").stdout == "no lab that was killed has left anything\n"
    (lab,) = json.loads(netemu("ls", "--json").stdout)
    fd = os.pidfd_open(lab["pid"])
    os.kill(lab["pid"], signal.SIGSTOP)  # so that it can't collect process 1
    for child in Path(f"/proc/{lab['pid']}/task/{lab['pid']}/children").read_text().split():
        os.kill(int(child), signal.SIGKILL)
    signal.pidfd_send_signal(fd, signal.SIGKILL)
    assert subprocess.run(["tail", f"--pid={lab['pid']}", "-f", "/dev/null"], check=False, timeout=20).returncode == 0
    os.close(fd)
    told = json.loads(netemu("wipe", "--dry-run", "--json").stdout)
    assert told["dry_run"]
    assert sorted(found["kind"] for found in told["found"]) == ["folder", "name", "netns", "netns"]
    assert netemu("wipe").stdout.count("removed  ") == 4
    assert not list(Path("/run/netns").iterdir())


def completed(line: str) -> list[str]:
    """What bash would offer at the end of a line."""
    words = line.split(" ")
    environment = os.environ | {
        "_NETEMU_COMPLETE": "bash_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    return [offer.split(",", 1)[1] for offer in netemu(env=environment).stdout.split()]


def test_labs_hosts_commands_and_files_are_completed(plain):
    assert netemu("up", plain).returncode == 0
    assert completed("netemu exec ") == ["plain"]
    assert completed("netemu exec plain ") == ["A", "B"]
    assert completed("netemu down pl") == ["plain"]
    assert "nodeport" in completed("netemu up ")
    assert completed("netemu comp") == ["completion"]
    assert completed("netemu exec nosuch ") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script_names_the_command(shell):
    done = netemu("completion", shell)
    assert done.returncode == 0
    assert "_NETEMU_COMPLETE" in done.stdout
    assert "netemu" in done.stdout


def test_bash_takes_the_completion_script():
    script = netemu("completion", "bash").stdout + "\ncomplete -p netemu\n"
    done = subprocess.run(["bash", "--norc", "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, "netemu" in done.stdout) == (0, True), done.stderr


SERVED = "services: {sleeper: {command: [sleep, '99']}}"


def test_bash_completes_what_has_a_colon_in_it_and_files(plain, tmp_path):
    """It parts words at colons, and puts a completion in the place of what is behind the last one."""
    served = tmp_path / "served.yaml"
    served.write_text(PLAIN.replace("A: {", f"A: {{{SERVED}, "))
    (tmp_path / "notes.txt").touch()
    (tmp_path / "node.yml").touch()
    assert netemu("up", str(served)).returncode == 0
    (tmp_path / "netemu").write_text(f'#!/bin/sh\nexec {sys.executable} -m netemu "$@"\n')
    (tmp_path / "netemu").chmod(0o755)

    def replies(line: str) -> list[str]:
        asked = f"COMP_LINE='{line}' COMP_POINT={len(line)}; _netemu_completion netemu; "
        script = netemu("completion", "bash").stdout + asked + "printf '%s\\n' \"${COMPREPLY[@]}\""
        path = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
        done = subprocess.run(
            ["bash", "--norc", "-c", script], capture_output=True, text=True, check=False, env=path, cwd=tmp_path
        )
        assert done.stderr == ""
        return done.stdout.split()

    assert replies("netemu link plain A:") == ["eth0"]
    assert replies("netemu link plain A:e") == ["eth0"]
    assert replies("netemu link plain ") == ["A:eth0", "B:eth0"]
    assert replies("netemu restart plain A:s") == ["sleeper"]
    assert replies("netemu restart plain ") == ["A", "B"]
    assert replies("netemu logs plain A ") == ["sleeper"]
    assert replies("netemu up no") == ["nodeport", "node.yml"]


def test_files_for_which_there_is_no_place_are_told_by_line_before_anything_is_built(tmp_path):
    file = tmp_path / "placed.yaml"
    file.write_text(
        "name: placed\nhosts:\n  a:\n    files:\n      /etc: x\n"
        "  b:\n    files:\n      /etc/passwd/x: x\n      /etc/new/x: x\n      /etc/mtab: x\n"
    )
    done = netemu("up", str(file))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        f"netemu: {file}:5: hosts.a.files./etc: host a: /etc is a folder: a file can't be placed over it",
        f"{file}:8: hosts.b.files./etc/passwd/x: host b: /etc/passwd is no folder",
        f"{file}:10: hosts.b.files./etc/mtab: host b: /etc/mtab leads into /proc: nothing can be placed there",
    ]
    assert "placed" not in netemu("ls").stdout


def test_a_link_whose_interface_is_gone_or_that_is_none_is_told(plain):
    netemu("up", plain)
    assert netemu("exec", "plain", "B", "--", "ip", "link", "delete", "eth0").returncode == 0
    for asked in ((), ("--rate", "1mbit"), ("--clear",), ("--down",), ("--up",)):
        done = netemu("link", "plain", "B:eth0", *asked)
        assert (done.returncode, done.stdout) == (2, "")
        assert "host B has no eth0 any more: it was deleted there" in done.stderr
    assert netemu("link", "plain", "A:eth0", "--rate", "1mbit").returncode == 0
    done = netemu("link", "plain", "A:lo", "--rate", "1mbit")
    assert (done.returncode, "lo of host A has no link" in done.stderr) == (2, True)


def test_a_lab_whose_process_1_was_killed_is_told_as_broken(plain):
    netemu("up", plain)
    holder = json.loads(netemu("ls", "--json").stdout)[0]["pid"]
    (process_1,) = Path(f"/proc/{holder}/task/{holder}/children").read_text().split()
    process = os.pidfd_open(int(process_1))
    signal.pidfd_send_signal(process, signal.SIGKILL)
    select.select([process], [], [], 10)
    os.close(process)
    assert [lab["state"] for lab in json.loads(netemu("ls", "--json").stdout)] == ["broken"]
    assert netemu("ls").stdout.splitlines()[1].split()[:2] == ["plain", "broken"]
    assert json.loads(netemu("show", "plain", "--json").stdout)["state"] == "broken"
    for asked in (("check", "plain"), ("exec", "plain", "A", "--", "true")):
        done = netemu(*asked)
        assert (done.returncode, "the lab's process 1 has ended" in done.stderr) == (4, True), done
    assert netemu("down", "plain").returncode == 0
