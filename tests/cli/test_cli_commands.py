"""The commands as a user calls them: output, exit codes, and a machine left as it was."""

from __future__ import annotations

import json
import os
import random
import select
import signal
import subprocess
import sys
import time
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
    """Everything on the machine that could be a lab's: folders, names, processes."""
    folders = [entry.name for entry in BASE.iterdir() if entry.name != ".lock"] if BASE.is_dir() else []
    names = [f"netns {link.name}" for link in Path("/run/netns").glob("*")] if Path("/run/netns").is_dir() else []
    inits = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
            ours = (process / "root" / "run").stat().st_dev == Path("/run").stat().st_dev
        except OSError:
            continue
        if ours and (b"netemu/kernel/init" in command or b"http.server" in command):
            inits.append(f"process {process.name} {command!r}")
    return [*folders, *names, *inits]


@pytest.fixture(autouse=True)
def nothing_is_left():
    assert left() == []
    yield
    assert left() == []


@pytest.fixture
def plain(tmp_path) -> str:
    file = tmp_path / "plain.yaml"
    file.write_text(PLAIN)
    return str(file)


def test_run_prints_the_walk_within_a_hundred_columns_and_without_colour_in_a_pipe():
    done = netemu("run", "nodeport")
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 100
    assert "\x1b" not in done.stdout
    assert not [line for line in done.stdout.splitlines() if line != line.rstrip()]
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert any(line.startswith("request 1 SYN B: NEW, no manip set up: nat chains walked") for line in lines)
    assert any(
        line.startswith("B@prerouting.nat dst 192.168.0.2:30000 ⇒ 172.26.0.3:8080 rule 1 PREROUTING -j DNAT")
        for line in lines
    )
    assert any(line.startswith("reply 1 SYN ACK B: ESTABLISHED_REPLY, both manips set up") for line in lines)
    assert any(line.startswith("conntrack at B original 192.168.0.1:") for line in lines)
    assert any("requests 3-" in line and "as request 2; replies 2-" in line for line in lines)
    assert lines[-1].endswith("pass")


def test_all_unfolds_every_packet():
    folded, unfolded = netemu("run", "nodeport").stdout, netemu("run", "--all", "nodeport").stdout
    assert " as request 2" in folded
    assert " as request 2" not in unfolded
    assert unfolded.count("\nrequest ") >= 8  # more where a busy machine acknowledges late


def test_a_terminal_gets_colour():
    script = f"{sys.executable} -m netemu run nodeport"
    done = subprocess.run(
        ["script", "-qec", script, "/dev/null"], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0
    assert "\x1b[" in done.stdout


def test_json_is_one_object_and_nothing_else():
    done = netemu("run", "--json", "nodeport")
    told = json.loads(done.stdout)
    assert (told["lab"], told["verdict"], done.stderr) == ("nodeport", "pass", "")
    assert told["timing_ms"].keys() == {"up", "traffic", "check", "down"}


def test_a_failing_lab_exits_1_and_shows_expected_and_actual_side_by_side(tmp_path, nodeport):
    file = tmp_path / "broken.yaml"
    wrong = nodeport.replace("--to-source 192.168.0.2\n", "--to-source 192.168.0.9\n")
    file.write_text(wrong.replace("from: A,", "from: A, within: 300ms,"))
    done = netemu("run", str(file))
    assert done.returncode == 1
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    place = lines.index("FAIL hello request.first B@postrouting.nat")
    assert lines[place + 2] == "expected actual"
    assert any(line.startswith("src 192.168.0.2:* 192.168.0.9:") for line in lines[place : place + 5])
    assert any(line.startswith("just before, at B@postrouting: 192.168.0.1:") for line in lines[place:])
    brief = lines.index("FAIL pair request.2 B@postrouting.nat") + 1
    assert lines[brief].startswith("src: expected 192.168.0.2:*, actual 192.168.0.9:")
    assert lines[lines.index("FAIL hello reply.all A:eth0 in") + 1].startswith("reply 1 never came to A:eth0 in: ")
    assert lines[-1].endswith("fail")


def test_up_leaves_the_lab_up_for_exec_and_ls_until_down():
    assert netemu("up", "nodeport").returncode == 0
    try:
        listed = json.loads(netemu("ls", "--json").stdout)
        assert [(lab["lab"], lab["hosts"]) for lab in listed] == [("nodeport", ["A", "B", "C", "pod"])]
        assert "A, B, C, pod" in netemu("ls").stdout
        shown = netemu("exec", "nodeport", "A", "--", "sh", "-c", "ip -br addr show eth0; cat; exit 7", input="typed")
        assert "192.168.0.1/24" in shown.stdout
        assert shown.stdout.endswith("typed")
        assert shown.returncode == 7
        assert netemu("exec", "nodeport", "A", "--", "sh", "-c", "kill -9 $$").returncode == 137
        assert netemu("exec", "nodeport", "A", "--", "no-such").returncode == 127
        refused = netemu("exec", "nodeport", "X", "--", "true")
        assert (refused.returncode, refused.stderr) == (
            2,
            "netemu: lab nodeport has no host 'X': there are A, B, C, pod\n",
        )
        again = netemu("up", "nodeport")
        assert (again.returncode, "is up already" in again.stderr) == (2, True)
        tables = netemu("exec", "nodeport", "B", "--", "nft", "list", "tables").stdout.split()
        assert "netemu" not in tables, "an idle lab has no taps"
    finally:
        done = netemu("down", "nodeport")
    assert done.returncode == 0
    assert "nodeport is down" in done.stdout
    assert netemu("ls").stdout == "no lab is up\n"


def test_up_of_a_lab_without_traffic_is_no_failure(plain):
    done = netemu("up", plain)
    assert (done.returncode, netemu("down", "plain").returncode) == (0, 0)
    assert "nothing to check" in done.stdout


def test_a_command_that_is_still_running_ends_with_its_lab(plain):
    assert netemu("up", plain).returncode == 0
    command = [*NETEMU, "exec", "plain", "A", "--", "sh", "-c", "echo on; exec sleep 600"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"on\n"
        assert netemu("down", "plain").returncode == 0
        assert running.wait(10) == 137


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (
            ("run", "nosuch"),
            2,
            "netemu: no lab named 'nosuch'\nnetemu comes with: nodeport; a file is given by its path",
        ),
        (("up", "./nosuch.yaml"), 2, "netemu: no topology file ./nosuch.yaml"),
        (("down", "nodeport"), 2, "netemu: lab nodeport is not up (up now: none)"),
        (("exec", "nodeport", "A", "--", "true"), 2, "netemu: lab nodeport is not up"),
        (("exec", "nodeport", "A"), 2, "Missing argument"),
        (("frobnicate",), 2, "No such command 'frobnicate'"),
        (("run", "--frob", "nodeport"), 2, "No such option"),
    ],
)
def test_what_is_not_there_is_told_in_a_few_lines(arguments, code, says):
    done = netemu(*arguments)
    assert done.returncode == code
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 5


RULES = '"*nat\\n-A PREROUTING -j NOSUCH\\nCOMMIT\\n"'
SERVICE = "services: {s: {command: [sleep, '60'], ready: {tcp: 1, within: 100ms}}}"
BAD = {
    "a YAML error": ("hosts:\n", "hosts: [\n", 5, "not YAML"),
    "a wrong key": ("[10.0.0.1/24]", "[10.0.0.1/24], adresses: 1", 5, "unknown key 'adresses', did you mean"),
    "an address outside": ("10.0.0.2/24", "10.9.0.2/24", 6, "10.9.0.2/24 is outside its network 'lan'"),
    "one address twice": ("10.0.0.2/24", "10.0.0.1/24", 6, "10.0.0.1 is A:eth0's address already"),
    "a link to nowhere": ("{lan: {}}", "{lan: {}}\nlinks: [{endpoints: ['A:eth0', 'Z:eth0']}]", 4, "no host 'Z'"),
    "a refused rule": ("A: {", f"A: {{iptables: {RULES}, ", 5, "iptables refuses this line: -A PREROUTING -j NOSUCH"),
    "a service never ready": ("B: {", f"B: {{{SERVICE}, ", 6, "service s on B was not ready within 100ms"),
}


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("command", ["run", "up"])
def test_bad_input_is_told_with_file_and_line_and_exit_2(tmp_path, what, command):
    old, new, line, says = BAD[what]
    assert PLAIN.count(old) == 1
    file = tmp_path / "bad.yaml"
    file.write_text(PLAIN.replace(old, new))
    done = netemu(command, str(file))
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    if what != "a YAML error":
        assert f"{file}:{line}: " in done.stderr
    assert len(done.stderr.splitlines()) <= 3


def test_traffic_without_an_answer_exits_1_and_says_where_it_was_last_seen(tmp_path):
    file = tmp_path / "silent.yaml"
    file.write_text(PLAIN + "traffic: [{name: knock, from: A, udp: {to: '10.0.0.2:9', answers: 1}, within: 200ms}]\n")
    done = netemu("run", str(file))
    assert done.returncode == 1
    assert "connection refused; request 1 was delivered to B itself" in done.stdout


def test_validate_says_fine_or_every_problem(plain, tmp_path):
    assert netemu("validate", plain).returncode == 0
    assert netemu("validate", "nodeport").returncode == 0
    file = tmp_path / "bad.yaml"
    text = PLAIN.replace("10.0.0.2/24", "10.0.0.0/24").replace(
        "lan, addresses: [10.0.0.1", "nope, addresses: [10.0.0.1"
    )
    file.write_text(text)
    done = netemu("validate", "--json", str(file))
    told = json.loads(done.stdout)
    assert (done.returncode, told["valid"]) == (2, False)
    assert {problem["line"] for problem in told["problems"]} == {5, 6}


def test_schema_is_a_json_schema_that_the_shipped_topology_fits(nodeport):
    import jsonschema
    from ruamel.yaml import YAML

    schema = json.loads(netemu("schema").stdout)
    jsonschema.validate(YAML(typ="safe", pure=True).load(nodeport), schema)


@pytest.mark.needs("legacy iptables")
def test_the_backend_of_the_command_line_is_the_one_that_counts(tmp_path, nodeport):
    file = tmp_path / "mine.yaml"
    for written, asked, star in (("legacy", None, True), ("legacy", "nft", False), ("nft", "legacy", True)):
        file.write_text(nodeport.replace("name: nodeport", f"name: mine\nbackend: {written}", 1))
        done = netemu("run", str(file), *(["--backend", asked] if asked else []))
        assert done.returncode == 0, done.stderr
        assert ("* known by the rules' counters" in done.stdout) is star
        assert max(map(len, done.stdout.splitlines())) <= 100


def test_doctor_finds_what_labs_need():
    done = netemu("doctor", "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["ok"]) == (0, True)
    found = {feature["name"] for feature in told["features"]}
    assert {"iptables-restore", "nft", "root", "network namespaces", "nft trace events", "libpcap"} <= found


def test_doctor_names_a_missing_tool_and_what_installs_it(tmp_path):
    code = (
        "import netemu.kernel.machine.doctor as f, shutil, sys\n"
        "f.shutil.which = lambda name, path=None: None if name == 'nft' else '/bin/' + name\n"
        "from netemu.cli.main import main; main(['doctor'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert "MISSING  nft" in done.stdout
    assert "install -y nftables" in done.stdout


WITHOUT_NF_TABLES = """
import netemu.kernel.rules.nftables as nftables
from netemu.errors import KernelError
def refused(self, commands, flags):
    raise KernelError("host probe: nft: Error: Could not process rule: Operation not supported")
nftables.Nftables._run = refused
from netemu.cli.main import main; main(["run", "nodeport"])
"""


def test_a_kernel_without_nf_tables_is_told_and_exits_4():
    """A kernel's lack can't be provoked: libnftables' refusal is played."""
    done = subprocess.run([sys.executable, "-c", WITHOUT_NF_TABLES], capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert done.stderr.startswith("netemu: this kernel has no nf_tables (")
    assert "modprobe nf_tables" in done.stderr


def wait_until_gone(bound: float = 2) -> None:
    """Everything of a killed lab must be gone within two seconds."""
    end = time.monotonic() + bound
    while left() and time.monotonic() < end:
        time.sleep(0.01)
    assert left() == []


@pytest.mark.parametrize("command", ["run", "up"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_kill_at_a_random_moment_leaves_nothing(command, number):
    rng = random.Random(f"{command} {number}")
    for _ in range(5):
        arguments = [*NETEMU, command, "nodeport"]
        with subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as running:
            select.select([running.stderr], [], [], rng.uniform(0.3, 1.1))
            running.send_signal(number)
            _, said = running.communicate(timeout=20)
        if number != signal.SIGKILL and running.returncode:
            word = {signal.SIGINT: b"interrupted", signal.SIGTERM: b"terminated"}[number]
            assert (running.returncode, said.splitlines()[-1]) == (128 + number, b"netemu: " + word)
        if command == "up" and json.loads(netemu("ls", "--json").stdout):
            assert netemu("down", "nodeport").returncode == 0, "it was up whole before the kill"
        wait_until_gone()
        assert b"Traceback" not in said


@pytest.mark.parametrize("command", ["run", "up"])
@pytest.mark.parametrize(
    ("number", "word"),
    [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated"), (signal.SIGHUP, "hung up")],
)
def test_a_signal_while_a_service_is_waited_for_ends_it_with_that_signals_code(tmp_path, command, number, word):
    began = tmp_path / "began"
    file = tmp_path / "slow.yaml"
    service = {"command": ["touch", str(began)], "ready": {"log": "never", "within": "60s"}, "restart": "always"}
    file.write_text(json.dumps({"name": "slow", "hosts": {"A": {"services": {"slow": service}}}}))
    as_usual = ["env", "--default-signal=HUP"]  # whatever started this suite
    with subprocess.Popen([*as_usual, *NETEMU, command, str(file)], stderr=subprocess.PIPE, text=True) as running:
        end = time.monotonic() + 60
        while not began.exists() and time.monotonic() < end:
            time.sleep(0.005)  # the service makes it, in a process that tells nobody else
        running.send_signal(number)
        _, said = running.communicate(timeout=20)
    assert (running.returncode, said.splitlines()[-1]) == (128 + number, f"netemu: {word}")
    wait_until_gone()


def test_a_lab_that_nohup_brought_up_outlives_its_terminal(tmp_path):
    file = tmp_path / "kept.yaml"
    file.write_text(json.dumps({"name": "kept", "hosts": {"A": {}}}))
    done = subprocess.run(["nohup", *NETEMU, "up", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (lab,) = json.loads(netemu("ls", "--json").stdout)
    os.kill(lab["pid"], signal.SIGHUP)
    assert netemu("exec", "kept", "A", "--", "true").returncode == 0
    assert netemu("down", "kept").returncode == 0


def test_a_killed_supervisor_leaves_nothing_and_its_name_is_free():
    assert netemu("up", "nodeport").returncode == 0
    (lab,) = json.loads(netemu("ls", "--json").stdout)
    fd = os.pidfd_open(lab["pid"])
    os.kill(lab["pid"], signal.SIGKILL)
    assert select.select([fd], [], [], 5)[0]
    os.close(fd)
    wait_until_gone()
    assert netemu("up", "nodeport").returncode == 0
    assert netemu("down", "nodeport").returncode == 0


def test_a_reader_that_stops_early_makes_no_noise():
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m netemu run nodeport | head -1"], capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith("nodeport")
    assert done.stderr == ""
