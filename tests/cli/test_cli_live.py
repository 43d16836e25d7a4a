"""capture and watch beside a lab's own record: readers that go, stall or are slow, a lab that goes down."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import select
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from ordinary_user import user  # noqa: F401  a fixture
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether
from scapy.utils import PcapNgReader

from netemu.record.files.pcapng import read

NETEMU = [sys.executable, "-m", "netemu"]
NODEPORT = Path(__file__).parent.parent.parent / "topologies" / "nodeport.yaml"
FLOOD = "import socket,sys; s=socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
FLOOD += "for n in range(int(sys.argv[1])): s.sendto(n.to_bytes(4) * 200, ('192.168.0.2', 9))"


def netemu(*arguments: str, **more) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*NETEMU, *arguments], capture_output=True, text=True, timeout=120, check=False, **more)


@pytest.fixture
def lab(tmp_path):
    """The nodeport lab, up under a name of these tests' own."""
    file = tmp_path / "live.yaml"
    file.write_text(NODEPORT.read_text().replace("name: nodeport", "name: live", 1))
    done = netemu("up", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    yield "live"
    netemu("down", "live")


@contextmanager
def going_on(*arguments: str, out=subprocess.PIPE):
    """A command that goes on, once it says that it is ready."""
    running = subprocess.Popen([*NETEMU, *arguments], stdout=out, stderr=subprocess.PIPE)
    try:
        assert running.stderr is not None
        said = running.stderr.readline().decode()
        assert said.startswith(("netemu: capturing at", "netemu: watching")), said + running.stderr.read().decode()
        yield running
    finally:
        running.kill()
        running.wait()
        running.stderr.close()
        if running.stdout is not None:
            running.stdout.close()


def ended(running: subprocess.Popen, number: int | None = signal.SIGINT) -> tuple[int, bytes, str]:
    """Its exit code, the rest of its output, and what it said."""
    if number is not None:
        running.send_signal(number)
    out, said = running.communicate(timeout=30)
    return running.returncode, out or b"", said.decode()


def ask(lab: str) -> None:
    """One connection through the NodePort."""
    done = netemu("check", lab)
    assert done.returncode == 0, done.stdout
    assert "nothing lost" in done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_capture_is_what_passed_with_counts_at_its_end(lab, number):
    with going_on("capture", lab, "B:eth0", "B@prerouting.nat", "tcp") as running:
        ask(lab)
        code, out, said = ended(running, number)
    interfaces, packets = read(out)
    assert [each.name for each in interfaces] == ["B:eth0", "B@prerouting.nat"]
    assert (code, said) == (0, f"netemu: {len(packets)} packets, 0 lost\n")
    by = [sum(each.interface == number for each in packets) for number in (0, 1)]
    assert by[0] == 2 * by[1] >= 20, "each packet passes B's wire twice, and its hook once"
    wire = (Ether(each.data) for each in packets if each.interface == 0)
    first = next(each for each in wire if IP in each and each[TCP].flags == "S")
    assert sum(IP in each for each in PcapNgReader(io.BytesIO(out))) == len(packets), "scapy reads them all"
    assert (first[IP].src, first[IP].dst, first[TCP].dport) == ("192.168.0.1", "192.168.0.2", 30000)
    dnated = next(IP(each.data) for each in packets if each.interface == 1)
    assert (dnated.dst, dnated.dport) == ("172.26.0.3", 8080)
    assert b"\x05\x00\x00\x00" in out[-200:], "statistics stand at its end"


def test_packets_come_while_the_capture_goes_on_and_it_ends_after_as_many_as_asked(lab, tmp_path):
    with going_on("capture", lab, "A", "-c", "5", "-w", "-") as running:
        ask(lab)
        code, out, said = ended(running, None)
    assert (code, said) == (0, "netemu: 5 packets, 0 lost\n")
    assert len(read(out)[1]) == 5
    file = tmp_path / "a.pcapng"
    with going_on("capture", lab, "A:eth0", "pod", "-w", str(file), "udp") as running:
        ask(lab)
        assert ended(running)[0] == 0
    interfaces, packets = read(file.read_bytes())
    assert {interfaces[each.interface].name for each in packets} == {"A:eth0", "pod:eth0"}
    assert all(each.data[23] == 17 for each in packets)


def test_packets_are_there_at_once(lab):
    with going_on("capture", lab, "B:eth0", "tcp") as running:
        ask(lab)
        assert running.stdout is not None
        os.set_blocking(running.stdout.fileno(), False)
        got = b""
        while not got or not read(got)[1]:
            got += running.stdout.read(65536) or b""
        assert running.poll() is None


@pytest.mark.parametrize("point", [["B:eth0 in"], ["B:eth0", "in"]])
def test_one_way_of_an_interface_is_captured_alone(lab, tmp_path, point):
    file = tmp_path / "in.pcapng"
    with going_on("capture", lab, *point, "tcp", "-w", str(file), "-c", "4") as running:
        ask(lab)
        assert ended(running, None)[0] == 0
    interfaces, packets = read(file.read_bytes())
    assert [each.name for each in interfaces] == ["B:eth0"]
    assert [packet.outgoing for packet in packets] == [False] * 4


def test_a_watch_ends_after_as_many_journeys_as_asked(lab):
    with going_on("watch", lab, "-c", "3", "tcp") as running:
        ask(lab)
        code, out, said = ended(running, None)
    assert (code, out.count(b"tcp ")) == (0, 3)
    assert said == "netemu: 3 journeys, 0 lost\n"


@pytest.mark.parametrize("command", [("capture", "B:eth0"), ("watch",)])
def test_a_reader_that_goes_ends_it_quietly(lab, command):
    with going_on(command[0], lab, *command[1:]) as running:
        assert running.stdout is not None
        running.stdout.close()
        running.stdout = None
        code, _, said = ended(running, None)
    assert code == 0
    assert said.endswith("0 lost\n")
    ask(lab)


@pytest.mark.parametrize("command", [("capture", "B:eth0"), ("watch", "--json")])
def test_a_reader_that_stalls_costs_its_own_packets_and_nobody_elses(lab, command):
    with going_on(command[0], lab, *command[1:]) as running:
        ask(lab)
        flood = netemu("exec", lab, "A", "--", sys.executable, "-c", FLOOD, "60000")
        assert flood.returncode == 0
        ask(lab)
        status = Path(f"/proc/{running.pid}/status").read_text()
        resident = int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])
        assert resident < 400_000, "kB: what there is no room for is not kept"
        running.send_signal(signal.SIGINT)
        running.wait(timeout=30)  # nobody reads, and it ends all the same
        assert running.stderr is not None
        said = running.stderr.read().decode().splitlines()[-1]
        assert running.returncode == 0
    assert int(said.split(", ")[1].split()[0]) > 0, said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("command", [("capture", "pod"), ("watch", "--json")])
def test_it_ends_though_its_reader_stalls_and_nothing_comes_any_more(lab, command, number):
    """More is written than a pipe has room for: 4 KiB here."""
    with going_on(command[0], lab, *command[1:]) as running:
        assert running.stdout is not None
        fcntl.fcntl(running.stdout, fcntl.F_SETPIPE_SZ, 4096)
        ask(lab)
        assert select.select([running.stdout], [], [], 10)[0]
        running.send_signal(number)
        running.wait(timeout=10)
        assert running.stderr is not None
        assert running.returncode == 0
        told = running.stdout.read().decode(errors="replace")
        said = running.stderr.read().decode()
    if command[0] == "watch":
        whole = [line for line in told.splitlines(keepends=True) if line.endswith("\n")]
        assert said == f"netemu: {len(whole)} journeys, 0 lost\n"
        assert 0 < len(told) <= 4096


def test_a_lab_that_goes_down_ends_captures_and_watches(lab):
    with going_on("capture", lab, "B") as capture, going_on("watch", lab) as watch:
        ask(lab)
        assert netemu("down", lab).returncode == 0
        for running in (capture, watch):
            code, out, said = ended(running, None)
            assert code == 0
            assert said.startswith("netemu: lab live went down: ")
            assert said.endswith("0 lost\n")
            assert out


def test_two_watches_a_capture_and_a_record_at_once_see_the_same_and_lose_nothing(lab, tmp_path):
    file = tmp_path / "hooks.pcapng"
    capture = ("capture", lab, "B@prerouting", "B@postrouting.nat", "-w", str(file))
    with going_on("watch", lab, "--json") as one, going_on("watch", lab, "--json") as two, going_on(*capture) as three:
        done = netemu("check", lab, "--json")
        told = [ended(each) for each in (one, two)]
        assert ended(three)[0] == 0
    assert done.returncode == 0
    record = json.loads(done.stdout)
    assert record["capture"]["lost"] == 0
    assert all(tap["alive"] and not tap["note"] for tap in record["capture"]["taps"])

    def seen(journeys: list[dict]) -> list:
        kept = [each for each in journeys if each["proto"] in ("tcp", "udp")]
        return sorted(
            (
                [each["direction"], each["nth"], each["complete"], each["end"]["kind"]],
                [[s["point"], s["src"], s["sport"], s["dst"], s["dport"], s["ttl"]] for s in each["sightings"]],
                [[c["at"], c["field"], c["from"], c["to"], c["by"], c["rule"]] for c in each["rewrites"]],
            )
            for each in kept
        )

    for code, out, said in told:
        assert (code, said.endswith("journeys, 0 lost\n")) == (0, True)
        watched = [json.loads(line) for line in out.splitlines()]
        assert set(watched[0]) == set(record["journeys"][0])
        assert seen(watched) == seen(record["journeys"])
    assert all(each["flow"] for each in map(json.loads, told[0][1].splitlines()))
    assert len(read(file.read_bytes())[1]) > 0


def test_a_filter_chooses_journeys_by_any_of_their_wires_and_walks_are_whole(lab):
    with going_on("watch", lab, "--walk", "dst", "port", "8080") as running:
        ask(lab)
        code, out, said = ended(running)
    text = out.decode()
    assert (code, said.endswith("journeys, 0 lost\n")) == (0, True)
    assert " reply 1 " not in text
    assert "udp" not in text
    assert "192.168.0.1:" in text
    assert "request 1  tcp SYN" in text
    assert "dst 192.168.0.2:30000 ⇒ 172.26.0.3:8080  rule PREROUTING -j DNAT" in text
    assert "pod:eth0 in" in text
    assert "delivered at pod" in text


def test_a_dropped_packet_is_told_with_the_rule_that_dropped_it(lab):
    rule = ("iptables", "-I", "FORWARD", "-p", "udp", "-j", "DROP")
    assert netemu("exec", lab, "B", "--", *rule).returncode == 0
    with going_on("watch", lab) as running:
        netemu("check", lab)
        out = ended(running)[1].decode()
    assert "dropped at B by filter FORWARD: -A FORWARD -p udp -j DROP" in out


def test_what_is_wrong_with_a_call_is_told(lab):
    for arguments, why in (
        (("capture", lab, "X:eth0"), "is no point of lab live: its hosts are A, B, C, pod"),
        (("capture", lab, "B:eth7"), "host B has no interface 'eth7': there are lo, eth0"),
        (("capture", lab, "B:eth0 up"), "'B:eth0 up' is no point: write B:eth0, 'B:eth0 in' or 'B:eth0 out'"),
        (("capture", lab, "B@nowhere"), "no hook stage 'nowhere'"),
        (("capture", lab, "B", "no filter"), "filter 'no filter'"),
        (("capture", lab, "B", "-w", "/nowhere/x"), "can't be written"),
        (("watch", lab, "no filter"), "filter 'no filter'"),
        (("watch", lab, "syn"), "syn is 'tcp[tcpflags] & tcp-syn != 0' there"),
        (("watch", lab, "--settle", "3"), "'3' is no duration"),
        (("watch", "nolab"), "lab nolab is not up"),
    ):
        done = netemu(*arguments)
        assert (done.returncode, done.stdout) == (2, ""), arguments
        assert why in done.stderr
        assert "Traceback" not in done.stderr
    ours, theirs = pty.openpty()
    done = subprocess.run([*NETEMU, "capture", lab, "B"], stdout=theirs, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert "not for a terminal: pipe it" in done.stderr
    os.close(ours)
    os.close(theirs)


def test_a_capture_that_is_refused_leaves_its_file_as_it_was(lab, tmp_path):
    file = tmp_path / "kept.pcapng"
    file.write_text("what was there")
    for words in (["B:eth7"], ["B@nowhere"], ["X:eth0"], ["B:eth0", "no filter"], ["B:eth0", "B@forward", "no filter"]):
        done = netemu("capture", lab, *words, "-w", str(file))
        assert (done.returncode, file.read_text()) == (2, "what was there"), (words, done.stderr)
    assert netemu("capture", "nolab", "B", "-w", str(tmp_path / "new.pcapng")).returncode == 2
    assert not (tmp_path / "new.pcapng").exists()


def test_an_ordinary_user_captures_and_watches_a_lab_of_their_own(user):  # noqa: F811
    program = "import subprocess, sys, signal\nn = [sys.executable, '-m', 'netemu']\n"
    program += "subprocess.run([*n, 'up', 'nodeport'], stdout=subprocess.DEVNULL, check=True)\n"
    program += "both = [subprocess.Popen([*n, *c], stdout=subprocess.PIPE, stderr=subprocess.PIPE)\n"
    program += "        for c in (['watch', 'nodeport'], ['capture', 'nodeport', 'B:eth0', 'B@forward'])]\n"
    program += "said = [each.stderr.readline() for each in both]\n"
    program += "print(subprocess.run([*n, 'check', 'nodeport'], stdout=subprocess.DEVNULL).returncode)\n"
    program += "for each in both: each.send_signal(signal.SIGINT)\n"
    program += "told = [each.communicate() for each in both]\n"
    program += "print(len(told[0][0]) > 1000, len(told[1][0]) > 1000, said, told[0][1], told[1][1])\n"
    program += "sys.exit(subprocess.run([*n, 'down', 'nodeport']).returncode)\n"
    done = user.python(program)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0\nTrue True " in done.stdout, done.stdout
    assert done.stdout.count(" 0 lost") == 2
