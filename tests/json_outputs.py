"""What every command prints with --json, of labs that have one of everything: for the test of docs/json.md."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

from sides_scene import SECOND, Packet, Way, nat

NODEPORT = Path(__file__).parent.parent / "topologies" / "nodeport.yaml"
NETEMU = [sys.executable, "-m", "netemu"]
ROUTED = """
name: routed
networks: {lan: {}}
hosts:
  A:
    interfaces: {eth0: {network: lan, addresses: [10.0.0.2/24, "fd00::2/64"]}, eth1: {addresses: [10.2.0.1/30]}}
    routes:
      - {to: default, via: 10.0.0.1}
      - {to: 10.9.0.0/24, nexthops: [{via: 10.0.0.1, weight: 2}, {via: 10.2.0.2}], metric: 7, source: 10.0.0.2}
    policy_rules: [{from: 10.0.0.2, to: 10.8.0.0/16, iif: lo, oif: eth0, fwmark: 4/6, tos: 16, table: 100}]
  B:
    forwarding: true
    interfaces:
      eth0: {network: lan, addresses: [10.0.0.1/24]}
      eth1: {addresses: [10.1.0.1/24]}
      eth2: {addresses: [10.2.0.2/30]}
    iptables: |
      *raw
      -A PREROUTING -p udp --dport 9 -j CT --zone 7
      COMMIT
      *nat
      -A POSTROUTING -o eth1 -j MASQUERADE
      COMMIT
      *mangle
      -A FORWARD -j CONNMARK --set-mark 5
      COMMIT
  C:
    interfaces: {eth0: {addresses: [10.1.0.2/24]}}
    routes: [{to: default, via: 10.1.0.1}]
    services: {sink: {command: [sleep, inf]}}
links: [{endpoints: ["B:eth1", "C:eth0"], rate: 100mbit}, {endpoints: ["A:eth1", "B:eth2"]}]
traffic:
  - {name: refused, from: A, udp: {to: "10.1.0.2:9", answers: 0}}
  - name: long
    from: A
    command: [python3, -c, "import socket as s; s.socket(2, 2).sendto(bytes(3000), ('10.1.0.2', 9))"]
expect:
  - {traffic: refused, packet: request.first, at: "C:eth0 in", ttl: 64}
"""
"""A router that marks and zones, an ICMP error, fragments, a check that fails, routes and policy rules of all kinds."""
TUNNEL = """
name: tunnel
networks: {lan: {}}
hosts:
  B:
    interfaces:
      eth0: {network: lan, addresses: [10.0.0.1/24]}
      vx: {vxlan: {id: 42, remote: 10.0.0.2}, addresses: [10.42.0.1/24]}
  C:
    interfaces:
      eth0: {network: lan, addresses: [10.0.0.2/24]}
      vx: {vxlan: {id: 42, remote: 10.0.0.1}, addresses: [10.42.0.2/24]}
traffic: [{name: through, from: B, udp: {to: "10.42.0.2:9", answers: 0}}]
"""


def told(*arguments: object, code: int = 0) -> Any:
    """What a command prints: one value. Its exit code must be as expected."""
    return json.loads(printed(*arguments, code=code))


def printed(*arguments: object, code: int = 0) -> str:
    command = [*NETEMU, *(str(each) for each in arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def watched(lab: str, point: str, code: int) -> list[Any]:
    """What `watch` prints while the lab's traffic is sent once more."""
    with subprocess.Popen(
        [*NETEMU, "watch", lab, "--json", "-c", "2", *point.split()], stdout=-1, stderr=-1, text=True
    ) as running:
        assert running.stderr is not None
        assert running.stdout is not None
        assert "watching" in running.stderr.readline()
        printed("check", lab, code=code)
        return [json.loads(line) for line in running.stdout]


def captured(lab: str, folder: Path, *points: str) -> list[Path]:
    """Captures of a lab's traffic at some points, each a file."""
    files = [folder / f"side{number}.pcapng" for number in range(len(points))]
    running = [
        subprocess.Popen([*NETEMU, "capture", lab, point, "-w", str(file), "-c", "4", "tcp"], stderr=-1, text=True)
        for point, file in zip(points, files, strict=True)
    ]
    for each in running:
        assert each.stderr is not None
        assert "capturing" in each.stderr.readline()
    printed("check", lab)
    for each in running:
        each.communicate(timeout=60)
    return files


def made_up(folder: Path) -> list[Path]:
    """Captures before and behind a NAT that maps two connections alike; of one a packet is lost between them."""
    made = Way(2, Random(1))
    for number, server in enumerate(("198.51.100.7", "198.51.100.8")):
        flow = nat("udp", ("192.168.1.2", 5000), (server, 53), ("203.0.113.9", 61000))
        for place in range(6):
            packet = Packet("udp", ("", 0), ("", 0), bytes([number, place]) * 9, ip_id=100 * number + place)
            lost = 0 if number == 0 and place == 4 else None
            made.send(flow, 10**18 + place * SECOND // 10, packet, reply=place % 2 == 1, lost_after=lost)
    files = [folder / f"{name}.pcap" for name in ("home", "isp")]
    for file, data in zip(files, made.captures(), strict=True):
        file.write_bytes(data)
    return files


def killed(lab: str, file: Path) -> bool:
    """Leave what a lab leaves that was killed with its process 1."""
    printed("up", file)
    (holder,) = (each["pid"] for each in told("ls", "--json") if each["lab"] == lab)
    for child in Path(f"/proc/{holder}/task/{holder}/children").read_text().split():
        os.kill(int(child), signal.SIGKILL)
    ending = os.pidfd_open(holder)
    try:
        os.kill(holder, signal.SIGKILL)
        return bool(select.select([ending], [], [], 30)[0])
    finally:
        os.close(ending)


def outputs(folder: Path) -> dict[str, list[Any]]:
    """What each command printed, by its name; `folder` is for files."""
    nodeport, routed = folder / "nodeport.yaml", folder / "routed.yaml"
    tunnel, broken, kept = folder / "tunnel.yaml", folder / "broken.yaml", folder / "kept.netemu"
    nodeport.write_text(NODEPORT.read_text())
    routed.write_text(ROUTED)
    tunnel.write_text(TUNNEL)
    broken.write_text("name: broken\nhosts: {A: {interface: {}}}\n")
    found: dict[str, list[Any]] = {}
    try:
        found["up"] = [told("up", nodeport, "--json"), told("up", routed, "--json", code=1)]
        found["run"] = [told("run", tunnel, "--json", "--record", kept)]
        found["check"] = [told("check", tunnel, "--record", kept, "--json"), told("check", "routed", "--json", code=1)]
        found["watch"] = [*watched("nodeport", "tcp", 0), *watched("routed", "icmp or udp", 1)]
        found["ls"] = [told("ls", "--json")]
        found["show"] = [told("show", "nodeport", "--json"), told("show", "routed", "--json")]
        found["restart"] = [told("restart", "nodeport", "pod", "--json")]
        found["link"] = [told("link", "routed", "C:eth0", "--json")]
        found["graph"] = [told("graph", "nodeport", "--json")]
        found["journeys"] = [told("journeys", *captured("nodeport", folder, "A:eth0", "pod:eth0"), "--json")]
        found["journeys"].append(told("journeys", *made_up(folder), "--json"))
        found["wipe"] = (
            [told("wipe", "--dry-run", "--json"), told("wipe", "--json")] if killed("tunnel", tunnel) else []
        )
    finally:
        found["down"] = [told("down", "nodeport", "routed", "--json"), told("down", "no-such", "--json", code=2)]
    found["validate"] = [told("validate", nodeport, "--json"), told("validate", broken, "--json", code=2)]
    found["doctor"] = [told("doctor", "--json")]
    return found
