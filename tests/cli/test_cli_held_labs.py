"""A lab that another process holds, asked and changed by commands: show, logs, restart, link."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator

import kernel_needs
import pytest

from netemu import HeldLab

NETEMU = [sys.executable, "-m", "netemu"]
LAB = """
name: life
networks: {lan: {}}
hosts:
  A:
    interfaces:
      eth0: {network: lan, addresses: [10.0.0.1/24]}
      eth1: {addresses: [10.9.0.1/24, "fd09::1/64"]}
    routes: [{to: 172.16.0.0/16, via: 10.9.0.2}, {to: "fd77::/64", via: "fd09::2"}]
    services:
      talk: {command: [sh, -c, "echo hello $$; exec sleep 1000"], ready: {log: hello}}
      other: {command: [sh, -c, "printf unfinished; exec sleep 1000"], ready: {log: unfinished}}
  quiet:
    services: {mute: {command: [sleep, "1000"]}}
    policy_rules: [{family: ipv6, tos: 16, table: 7, priority: 32766}, {to: 10.0.0.0/8, type: prohibit, priority: 0}]
  B:
    interfaces: {eth0: {network: lan, addresses: [10.0.0.2/24]}, eth1: {addresses: [10.9.0.2/24, "fd09::2/64"]}}
    policy_rules: [{from: 10.0.0.0/24, table: 7, priority: 100}, {fwmark: 0x10/0xf0, table: 7, priority: 101}]
    nft: |
      table ip edge {
        chain in {
          type filter hook input priority filter
          tcp dport 9 counter drop
        }
      }
links: [{endpoints: ["A:eth1", "B:eth1"]}]
"""


def netemu(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*NETEMU, *arguments], capture_output=True, text=True, timeout=240, check=False)


@pytest.fixture(scope="module", autouse=True)
def life(tmp_path_factory) -> Iterator[None]:
    file = tmp_path_factory.mktemp("life") / "life.yaml"
    file.write_text(LAB)
    done = netemu("up", str(file))
    assert done.returncode == 0, done.stderr
    yield
    assert netemu("down", "life").returncode == 0


def shown(*hosts: str) -> dict[str, dict]:
    done = netemu("show", "life", *hosts, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_show_tells_what_the_kernel_has():
    told = shown()
    assert told["lab"] == "life"
    assert told["networks"] == {"lan": {"bridges": ["bridge"], "members": ["A:eth0", "B:eth0"]}}
    a, b = told["hosts"]["A"], told["hosts"]["B"]
    (eth0,) = [each for each in a["interfaces"] if each["ifname"] == "eth0"]
    assert (eth0["up"], eth0["operstate"], eth0["mtu"]) == (True, "UP", 1500)
    assert "10.0.0.1" in [address["local"] for address in eth0["addresses"]]
    assert ("172.16.0.0/16", "10.9.0.2", "eth1") in [(r["dst"], r.get("gateway"), r.get("dev")) for r in a["routes"]]
    assert (100, "10.0.0.0/24", "7") in [(r["priority"], r["src"], r.get("table")) for r in b["policy_rules"]]
    assert [(r["table"], r["chain"], r["packets"]) for r in b["rules"]] == [("edge", "in", 0)]
    assert [(s["name"], s["state"], s["restarts"]) for s in a["services"]] == [
        ("talk", "ready", 0),
        ("other", "ready", 0),
    ]
    assert sorted(each["command"][0] for each in a["processes"]) == ["sleep", "sleep"]
    assert {each["pid"] for each in a["processes"]} == {service["pid"] for service in a["services"]}
    assert b["processes"] == b["services"] == []


def test_show_sees_what_has_changed_since_the_lab_came_up():
    assert netemu("exec", "life", "B", "--", "ip", "address", "add", "10.77.0.1/32", "dev", "lo").returncode == 0
    told = shown("B")
    assert list(told["hosts"]) == ["B"]
    assert "10.77.0.1" in [a["local"] for each in told["hosts"]["B"]["interfaces"] for a in each["addresses"]]


def test_show_reads_well():
    lines = [" ".join(line.split()) for line in netemu("show", "life").stdout.splitlines()]
    assert "lan network of 2 ports" in lines
    assert "172.16.0.0/16 via 10.9.0.2 dev eth1" in lines
    assert "100: from 10.0.0.0/24 lookup 7" in lines
    assert "101: from all fwmark 0x10/0xf0 lookup 7" in lines
    assert "0 ip edge in tcp dport 9 counter packets 0 bytes 0 drop" in lines or any(
        line.startswith("0 ip edge in tcp dport 9") for line in lines
    )
    assert any(line.startswith("talk ready, process ") for line in lines)
    begin = lines.index("quiet")
    quiet = lines[begin : lines.index("", begin)]
    assert [line for line in quiet if line.startswith(("0: ", "32766: "))] == [
        "0: from all to 10.0.0.0/8 prohibit",
        "32766: ipv6 from all tos 0x10 lookup 7",
    ]


def test_show_says_which_signal_ended_a_service(tmp_path):
    file = tmp_path / "gone.yaml"
    file.write_text("name: gone\nhosts: {A: {services: {gone: {command: [sh, -c, 'kill -9 $$']}}}}\n")
    try:
        assert netemu("up", str(file)).returncode == 0
        end = time.monotonic() + 20
        while "gone  ready" in (told := netemu("show", "gone").stdout):
            assert time.monotonic() < end
        assert "    gone  failed, killed by signal 9 (Killed)\n" in told
    finally:
        netemu("down", "gone")


def test_show_tells_a_process_in_one_line_that_is_cut_however_long_its_command_is(tmp_path):
    text = "import time\nprint('begun', flush=True)\ntime.sleep(1000)" + "  # and so on" * 20
    service = {"command": ["python3", "-c", text], "ready": {"log": "begun"}}
    file = tmp_path / "long.yaml"
    file.write_text(json.dumps({"name": "long", "hosts": {"A": {"services": {"wordy": service}}}}))
    try:
        assert netemu("up", str(file)).returncode == 0
        lines = netemu("show", "long").stdout.splitlines()
        (line,) = lines[lines.index("  processes") + 1 :]
        assert re.fullmatch(r" {4} *\d+  python3 -c 'import time print.*…", line)
        assert len(line) == 100
        told = json.loads(netemu("show", "long", "--json").stdout)
        assert told["hosts"]["A"]["processes"][0]["command"][-1] == text
    finally:
        netemu("down", "long")


def test_show_keeps_columns_apart_however_long_a_word_is():
    long = "abcdefghijklmno"
    make = f"ip link add {long} type veth peer name other; ip link set {long} up"
    assert netemu("exec", "life", "B", "--", "sh", "-c", make).returncode == 0
    try:
        end = time.monotonic() + 5
        while "lowerlayerdown" not in (text := netemu("show", "life").stdout):  # the kernel tells it when it has time
            assert time.monotonic() < end, text
        (line,) = [line for line in text.splitlines() if long in line]
        assert re.match(rf"  {long} {{2,}}lowerlayerdown {{2,}}[0-9a-f:]{{17}}  mtu 1500", line), line
    finally:
        assert netemu("exec", "life", "B", "--", "ip", "link", "delete", long).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("show", "life", "b"), "lab life has no host 'b', did you mean 'B'?"),
        (("logs", "life", "A", "tak"), "host A has no service 'tak', did you mean 'talk'?"),
        (("logs", "life", "B", "talk"), "host B has no services"),
        (("logs", "life", "a"), "lab life has no host 'a', did you mean 'A'?"),
        (("restart", "life", "A:nope"), "host A has no service 'nope': there are talk, other"),
        (("link", "life", "A:eth9"), "host A has no interface 'eth9', did you mean 'eth"),
        (("link", "life", "A"), "'A' is no interface: write HOST:INTERFACE"),
        (("link", "life", "A:eth0", "--delay", "5"), "delay: '5' is no duration"),
        (("link", "life", "A:eth0", "--jitter", "5ms"), "jitter is about the delay"),
    ],
)
def test_what_is_not_there_or_no_value_is_told(arguments, says):
    done = netemu(*arguments)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_logs_are_told_apart_by_the_services_names():
    text = netemu("logs", "life", "A").stdout
    assert text.splitlines()[0].startswith("talk | hello ")
    assert text.splitlines()[-1] == "other | unfinished"
    assert netemu("logs", "life", "A", "other").stdout == netemu("logs", "life", "A:other").stdout == "unfinished"


def test_who_wrote_nothing_and_where_nobody_writes_is_told():
    for arguments, says in (
        (("B",), "netemu: host B has no services\n"),
        (("B", "-f"), "netemu: host B has no services\n"),
        (("quiet",), "netemu: service quiet:mute has written nothing\n"),
        (("quiet:mute",), "netemu: service quiet:mute has written nothing\n"),
        (("quiet", "mute"), "netemu: service quiet:mute has written nothing\n"),
    ):
        done = netemu("logs", "life", *arguments)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", says)
    with subprocess.Popen([*NETEMU, "logs", "life", "quiet", "-f"], stderr=subprocess.PIPE, text=True) as following:
        assert following.stderr is not None
        assert following.stderr.readline() == "netemu: service quiet:mute has written nothing yet\n"
        following.terminate()


def test_without_a_host_the_logs_of_all_hosts_are_told():
    done = netemu("logs", "life")
    lines = done.stdout.splitlines()
    assert (lines[0].startswith("A:talk | hello "), lines[-1]) == (True, "A:other | unfinished")
    assert done.stderr == "netemu: service quiet:mute has written nothing\n"


def test_of_a_lab_without_services_logs_says_so(tmp_path):
    file = tmp_path / "bare.yaml"
    file.write_text("name: bare\nhosts: {A: {}}\n")
    assert netemu("up", str(file)).returncode == 0
    done = netemu("logs", "bare")
    assert netemu("down", "bare").returncode == 0
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "netemu: lab bare has no services\n")


def test_logs_tell_what_was_put_aside_of_a_long_one_as_well(tmp_path):
    file = tmp_path / "long.yaml"
    command = '[sh, -c, "seq 200000; exec sleep 1000"]'
    file.write_text(
        f'name: long\nhosts: {{A: {{services: {{s: {{command: {command}, ready: {{log: "^200000$"}}}}}}}}}}\n'
    )
    assert netemu("up", str(file)).returncode == 0
    done = netemu("logs", "long", "A", "s")
    assert netemu("down", "long").returncode == 0
    assert done.stdout == "".join(f"{number}\n" for number in range(1, 200_001)), "1.3 MB: the first MiB is put aside"


def test_a_followed_log_goes_on_with_what_is_written_next():
    before = netemu("logs", "life", "A", "talk").stdout
    with subprocess.Popen([*NETEMU, "logs", "life", "A", "talk", "-f"], stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        told = [following.stdout.readline() for _ in before.splitlines()]
        assert "".join(told) == before
        done = json.loads(netemu("restart", "life", "A:talk", "--json").stdout)
        assert [service["state"] for service in done["services"]] == ["ready"]
        assert following.stdout.readline().startswith("hello ")
        following.terminate()


def test_restart_gives_a_service_a_new_process_and_leaves_the_others_alone():
    before = {service["name"]: service["pid"] for service in shown("A")["hosts"]["A"]["services"]}
    done = netemu("restart", "life", "A:talk")
    assert (done.returncode, done.stdout.startswith("A:talk is ready, process ")) == (0, True)
    after = {service["name"]: service["pid"] for service in shown("A")["hosts"]["A"]["services"]}
    assert (after["talk"] != before["talk"], after["other"]) == (True, before["other"])


def test_a_service_that_fails_has_one_exit_code_when_it_is_started_and_when_it_is_restarted(tmp_path):
    """That of its topology, as `up` has it; and the same words."""
    file, spoilt = tmp_path / "fragile.yaml", tmp_path / "spoilt"
    file.write_text(
        "name: fragile\nhosts: {A: {services: {web: {command: [sh, -c, 'test ! -e FILE && exec sleep 600'],"
        " ready: {command: [test, '!', -e, FILE]}}}}}\n".replace("FILE", str(spoilt))
    )
    assert netemu("up", str(file)).returncode == 0
    spoilt.touch()
    restarted = netemu("restart", "fragile", "A")
    assert netemu("down", "fragile").returncode == 0
    started = netemu("up", str(file))
    assert "service web on A ended with exit code 1" in started.stderr
    assert (restarted.returncode, restarted.stderr) == (started.returncode, started.stderr)


def qdisc(host: str, interface: str) -> str:
    return netemu("exec", "life", host, "--", "tc", "qdisc", "show", "dev", interface).stdout


def test_a_link_is_held_to_a_rate_both_ways_or_one_and_let_go_again():
    done = netemu("link", "life", "A:eth1", "--rate", "1mbit")
    assert (done.returncode, done.stdout) == (0, "A:eth1   both ways rate 1mbit\n")
    assert "tbf" in qdisc("A", "eth1")
    assert "tbf" in qdisc("B", "eth1")
    done = netemu("link", "life", "A:eth1", "--rate", "2mbit", "--in", "--json")
    assert json.loads(done.stdout) == {
        "host": "A",
        "interface": "eth1",
        "state": "up",
        "properties": {"out": {"rate": "1mbit"}, "in": {"rate": "2mbit"}},
    }
    assert "rate 1Mbit" in qdisc("A", "eth1")
    assert "rate 2Mbit" in qdisc("B", "eth1")
    (eth1,) = [each for each in shown("A")["hosts"]["A"]["interfaces"] if each["ifname"] == "eth1"]
    assert (eth1["qdisc"], eth1["properties"]["in"]) == ("tbf", {"rate": "2mbit"})
    assert netemu("link", "life", "A:eth1", "--clear").stdout == "A:eth1   no properties\n"
    assert "noqueue" in qdisc("A", "eth1")
    assert "noqueue" in qdisc("B", "eth1")


def test_a_hosts_link_to_a_network_is_shaped_at_the_networks_port_too():
    assert netemu("link", "life", "B:eth0", "--rate", "1mbit", "--in").returncode == 0
    assert "noqueue" in qdisc("B", "eth0"), "what it sends is as it was"
    assert netemu("link", "life", "B:eth0", "--clear").returncode == 0


def test_a_link_goes_down_and_comes_up_again_with_its_addresses_and_routes():
    def routes() -> list[str]:
        told = [netemu("exec", "life", "A", "--", "ip", version, "route").stdout for version in ("-4", "-6")]
        return sorted(" ".join(told).replace("linkdown", "").split("\n"))

    before = routes()
    assert "A:eth1 is down" in netemu("link", "life", "A:eth1", "--down").stdout
    assert "172.16.0.0/16" not in " ".join(routes())
    assert netemu("link", "life", "A:eth1", "--up").returncode == 0
    assert [line.strip() for line in routes()] == [line.strip() for line in before]
    listening = "exec python3 -c 'import socket; s = socket.create_server((\"fd09::2\", 5), family=10); s.accept()'"
    with subprocess.Popen([*NETEMU, "exec", "life", "B", "--", "sh", "-c", listening]) as server:
        knock = (
            "until python3 -c 'import socket; socket.create_connection((\"fd09::2\", 5), 1)' 2>/dev/null; do :; done"
        )
        assert netemu("exec", "life", "A", "--", "sh", "-c", knock).returncode == 0
        server.wait(20)


@pytest.mark.needs("sch_netem")
def test_a_link_is_delayed_while_it_is_up():
    told = HeldLab("life").link("A", "eth1", set={"delay": "20ms", "loss": "1%"})
    assert told["properties"]["out"] == {"delay": "20ms", "loss": "1%"}
    assert "delay 20ms" in qdisc("B", "eth1").replace("20.0ms", "20ms")
    assert HeldLab("life").link("A", "eth1", clear=True)["properties"] == {}


def test_a_link_is_not_delayed_where_the_kernel_can_not_and_it_is_said_what_can():
    done = netemu("link", "life", "A:eth1", "--delay", "20ms")
    if kernel_needs.there("sch_netem"):
        assert done.returncode == 0
        assert netemu("link", "life", "A:eth1", "--clear").returncode == 0
        return
    assert done.returncode == 4
    assert "this kernel has no netem" in done.stderr
    assert "sch_netem: boot one" in done.stderr or "modprobe sch_netem" in done.stderr


@pytest.mark.parametrize("both", [("--up", "--down"), ("--in", "--out")])
def test_options_that_exclude_each_other_are_refused(both):
    done = netemu("link", "life", "A:eth1", *both)
    assert done.returncode == 2
    assert f"{both[0]} and {both[1]} exclude each other" in done.stderr


def test_an_order_that_makes_no_sense_is_refused_before_anything_is_done(tmp_path):
    done = netemu("link", "life", "A:lo", "--rate", "1mbit")
    assert done.returncode == 2
    assert "lo of host A has no link" in done.stderr
