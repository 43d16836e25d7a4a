"""A topology on standard input: `-` or /dev/stdin where a file could be named."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

NETEMU = [sys.executable, "-m", "netemu"]
LAB = """
name: piped
hosts:
  A: {sysctls: {net.ipv4.ip_default_ttl: 9}, files: {/etc/motd: {file: motd}}}
"""


def netemu(*arguments: str, text: str | bytes, **more) -> subprocess.CompletedProcess[bytes]:
    data = text.encode() if isinstance(text, str) else text
    return subprocess.run([*NETEMU, *arguments], input=data, capture_output=True, timeout=60, check=False, **more)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "motd").write_text("hello from beside\n")
    return tmp_path


@pytest.mark.parametrize("dash", ["-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"])
def test_a_topology_from_a_pipe_is_validated_and_its_files_are_of_the_working_directory(folder, dash):
    done = netemu("validate", dash, text=LAB, cwd=folder)
    assert done.stdout.decode().startswith("<stdin> is fine: piped, 1 host,"), done.stderr
    (folder / "motd").unlink()
    done = netemu("validate", dash, "--json", text=LAB, cwd=folder)
    assert done.returncode == 2
    told = json.loads(done.stdout)
    (problem,) = told["problems"]
    assert (told["file"], told["valid"]) == ("<stdin>", False)
    assert (problem["file"], problem["line"], problem["key"]) == ("<stdin>", 4, "hosts.A.files./etc/motd.file")
    assert problem["message"] == "'motd' can't be read: No such file or directory"


def test_faults_are_named_as_those_of_standard_input():
    done = netemu("run", "-", text="name: n\nhosts:\n  A: {adresses: []}\n")
    assert done.returncode == 2
    assert done.stderr.decode().startswith("netemu: <stdin>:3: hosts.A.adresses: unknown key 'adresses'")
    done = netemu(
        "run", "-", text="name: n\nhosts:\n  A:\n    iptables: |\n      *nat\n      -A NOWHERE\n      COMMIT\n"
    )
    assert done.returncode == 2
    assert done.stderr.decode().startswith("netemu: <stdin>:6: hosts.A.iptables: iptables refuses this line")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "the file is empty"),
        ("[]", "a topology is a mapping with a name and hosts"),
        (b"name: \xff", "is no UTF-8 text"),
        ("#" * (17 << 20), "is larger than 16 MiB"),
        ("a: [", "expected"),
    ],
)
def test_what_is_no_topology_is_refused_in_a_line(text, says):
    done = netemu("validate", "-", text=text)
    assert done.returncode == 2
    assert says in done.stderr.decode()
    assert done.stderr.decode().startswith("netemu: <stdin>")
    assert "Traceback" not in done.stderr.decode()


def test_the_locale_s_encoding_is_none_of_a_topology_s():
    text = 'name: n\ndescription: "größer ⇒"\nhosts: {A: {}}\n'
    done = netemu(
        "graph", "-", text=text, env={**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    )
    assert done.returncode == 0, done.stderr
    done = netemu("graph", "--json", "-", text=text)
    assert json.loads(done.stdout)["lab"] == "n"


def test_standard_input_that_is_closed_is_said_to_be():
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&-', "sh", *NETEMU, "validate", "-"], capture_output=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == b"netemu: standard input is closed: there is no topology to read\n"


def test_a_lab_from_standard_input_comes_up_and_is_found_and_taken_down_by_it(folder):
    done = netemu("up", "-", "--json", text=LAB, cwd=folder)
    assert done.returncode == 0, done.stderr
    try:
        (lab,) = json.loads(netemu("ls", "--json", text="").stdout)
        assert (lab["lab"], lab["file"]) == ("piped", "<stdin>")
        done = netemu("exec", "piped", "A", "--", "cat", "/etc/motd", "/proc/sys/net/ipv4/ip_default_ttl", text="")
        assert done.stdout == b"hello from beside\n9\n"
        done = netemu("exec", "-", "A", "--", "cat", text=LAB, cwd=folder)
        assert done.returncode == 2
        assert done.stderr == b"netemu: standard input is the command's own: give the lab's name, or its file\n"
        assert json.loads(netemu("show", "-", "--json", text=LAB, cwd=folder).stdout)["lab"] == "piped"
        assert netemu("check", "/dev/stdin", text=LAB, cwd=folder).returncode == 0
    finally:
        done = netemu("down", "-", text=LAB, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert json.loads(netemu("ls", "--json", text="").stdout) == []


def test_a_record_is_checked_against_a_topology_from_standard_input(tmp_path, nodeport):
    record = str(tmp_path / "record")
    assert netemu("run", "-", "--record", record, "--name", "other", text=nodeport).returncode == 0
    done = netemu("check", "-", "--record", record, text=nodeport)
    assert done.returncode == 0, done.stderr
    done = netemu("check", "-", "--record", record, text=nodeport.replace("--dport 30000", "--dport 30001"))
    assert done.returncode == 2
    assert "is of another topology" in done.stderr.decode()
