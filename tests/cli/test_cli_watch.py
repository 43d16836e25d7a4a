"""watch and capture where taps see less: iptables-legacy, a trace of few packets, errors that come late, fragments."""

from __future__ import annotations

import json
import subprocess
from contextlib import contextmanager

import pytest
from test_cli_live import NETEMU, ended, going_on, netemu

LAB = """
name: watched
BACKEND
hosts:
  A:
    interfaces: {eth0: {addresses: [10.0.0.2/24, "fd01::2/64"]}}
    routes: [{to: default, via: 10.0.0.1}, {to: "fd02::/64", via: "fd01::1"}]
  B:
    forwarding: true
    TRACE
    interfaces: {eth0: {addresses: [10.0.0.1/24, "fd01::1/64"]}, eth1: {addresses: [10.1.0.1/24, "fd02::1/64"]}}
    iptables: |
      *nat
      -A PREROUTING -p udp --dport 7 -j DNAT --to-destination 10.1.0.2:9
      COMMIT
  C:
    interfaces: {eth0: {addresses: [10.1.0.2/24, "fd02::2/64"]}}
    routes: [{to: default, via: 10.1.0.1}, {to: default, via: "fd02::1"}]
links: [{endpoints: ["A:eth0", "B:eth0"]}, {endpoints: ["B:eth1", "C:eth0"]}]
"""


@contextmanager
def up(tmp_path, backend: str = "nft", trace: str = "all"):
    file = tmp_path / "watched.yaml"
    file.write_text(LAB.replace("BACKEND", f"backend: {backend}").replace("TRACE", f"trace: {trace}"))
    done = netemu("up", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    try:
        yield "watched"
    finally:
        netemu("down", "watched")


def sends(lab: str, *datagrams: tuple[str, int, int]) -> None:
    """A sends UDP datagrams: to whom, to which port, of how many bytes."""
    code = "import socket\n"
    for to, port, size in datagrams:
        family = 10 if ":" in to else 2
        code += f"s=socket.socket({family},2); s.sendto(bytes({size}), ('{to}',{port}))\n"
    done = netemu("exec", lab, "A", "--", "python3", "-c", code)
    assert done.returncode == 0, done.stderr


def until(running: subprocess.Popen, fits) -> list[dict]:
    """The journeys that are told up to one that fits."""
    told = []
    while not told or not fits(told[-1]):
        told.append(json.loads(running.stdout.readline()))
    return told


def udp(told: list[dict]) -> list[dict]:
    return [each for each in told if each["proto"] == "udp"]


@pytest.mark.parametrize(("backend", "by"), [("nft", "rule"), ("legacy", "unknown")])
def test_what_made_a_rewrite_is_not_made_up_where_no_trace_shows_it(tmp_path, backend: str, by: str):
    with up(tmp_path, backend) as lab, going_on("watch", lab, "--json") as running:
        sends(lab, ("10.0.0.1", 7, 1))
        told = until(running, lambda each: each["proto"] == "udp" and each["nth"])
        ended(running)
    (asked,) = udp(told)
    assert [(each["field"], each["to"], each["by"]) for each in asked["rewrites"] if each["field"] == "dst"] == [
        ("dst", "10.1.0.2:9", by)
    ]
    assert asked["end"]["kind"] == "delivered"


def test_a_trace_of_few_packets_says_so_first(tmp_path):
    note = "B's hook tap traces only the first 1 packet of each connection"
    with up(tmp_path, trace="first 1") as lab:
        with going_on("watch", lab) as running:
            first = running.stdout.readline().decode()
            ended(running)
        assert first.startswith(note)
        with going_on("watch", lab, "--json") as running:
            sends(lab, ("10.0.0.1", 7, 1))
            told = until(running, lambda each: each["proto"] == "udp" and each["nth"])
            assert note in ended(running)[2]
        assert udp(told)[0]["rewrites"][0]["by"] == "rule"
        with going_on("capture", lab, "B@prerouting") as running:
            sends(lab, ("10.0.0.1", 7, 1))
            assert b"the tap traces only the first 1 packet" in ended(running)[1]


SENDER = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
print("there", flush=True)
for line in sys.stdin:
    s.sendto(b"x", ("10.0.0.1", int(line)))
    print("sent", flush=True)
"""


def test_a_packet_sent_as_soon_as_watch_is_ready_is_told_whole_even_if_it_is_stopped_then(tmp_path):
    """From a process that waits on the host already: microseconds after `watching`, and as long before SIGINT."""
    with up(tmp_path) as lab:
        command = [*NETEMU, "exec", lab, "A", "--", "python3", "-c", SENDER]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as sender:
            assert sender.stdout.readline() == "there\n"
            for port in range(5000, 5004):
                with going_on("watch", lab, "--json") as running:
                    sender.stdin.write(f"{port}\n")
                    sender.stdin.flush()
                    assert sender.stdout.readline() == "sent\n"
                    code, out, said = ended(running)
                (asked,) = udp([json.loads(line) for line in out.splitlines()])
                points = [seen["point"] for seen in asked["sightings"]]
                assert [point for point in points if ":" in point] == ["A:eth0 out", "B:eth0 in"]
                assert (points[-1], asked["sightings"][0]["dport"]) == ("B@input.nat", port)
                assert (code, "0 lost" in said) == (0, True)
            sender.stdin.close()


def test_an_error_that_comes_after_its_packet_was_told_names_it(tmp_path):
    """No neighbour answers at 10.1.0.99: B says so when it has asked for three seconds."""
    with up(tmp_path) as lab, going_on("watch", lab, "--json", "--settle", "200ms") as running:
        sends(lab, ("10.1.0.99", 5, 1))
        told = until(running, lambda each: each["proto"] == "icmp")
        ended(running)
    (asked,), error = udp(told), told[-1]
    assert (error["quotes"], error["flow"], error["direction"]) == (asked["id"], asked["flow"], "reply")
    assert (error["error"]["kind"], error["error"]["host"]) == ("host-unreachable", "B")
    assert (error["about"]["dst"], error["about"]["dport"]) == ("10.1.0.99", 5)


def test_an_error_at_once_and_its_packet_name_each_other(tmp_path):
    with up(tmp_path) as lab, going_on("watch", lab, "--json") as running:
        assert netemu("exec", lab, "B", "--", "ip", "route", "add", "unreachable", "10.9.0.0/24").returncode == 0
        sends(lab, ("10.9.0.1", 5, 1))
        told = until(running, lambda each: each["proto"] == "icmp")
        ended(running)
    (asked,), error = udp(told), told[-1]
    assert (error["quotes"], asked["end"]["error"], asked["end"]["why"]) == (asked["id"], error["id"], "unreachable")


@pytest.mark.parametrize("to", ["10.1.0.2", "fd02::2"])
def test_a_packet_in_fragments_is_told_as_one_with_its_ports(tmp_path, to: str):
    with up(tmp_path) as lab:
        with going_on("watch", lab, "--json") as running:
            sends(lab, (to, 9, 4000))
            told = until(running, lambda each: each["proto"] == "udp")
            ended(running)
        (asked,) = udp(told)
        assert (asked["end"]["kind"], asked["end"]["at"], asked["complete"]) == ("delivered", "C@input.nat", True)
        at_c = [seen["fragment"] for seen in asked["sightings"] if seen["point"] == "C:eth0 in"]
        assert [(part["offset"] > 0, part["more"]) for part in at_c] == [(False, True), (True, True), (True, False)]
        with going_on("watch", lab, "udp") as running:
            sends(lab, (to, 9, 4000))
            line = running.stdout.readline().decode()
            ended(running)
        assert "⇒" not in line
        assert "delivered at C" in line
