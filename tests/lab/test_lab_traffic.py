"""Which packets are whose: of traffic items that are sent one after the other, also what no wire ever saw."""

from __future__ import annotations

import json

from netemu import Lab, Verdict
from netemu.lab import searching
from netemu.topology.load import loads

SENDS = """import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
try: s.sendto(b'x', (sys.argv[1], 99))
except PermissionError: pass
"""
ITEMS = """
name: items
hosts:
  a:
    interfaces: {eth0: {addresses: [10.0.0.1/24]}}
    iptables: |
      *filter
      -A OUTPUT -d 10.0.0.3 -j DROP
      COMMIT
  b: {interfaces: {eth0: {addresses: [10.0.0.2/24]}}}
links: [{endpoints: ["a:eth0", "b:eth0"]}]
traffic:
  - {name: heard, from: a, command: [python3, -c, SENDS, 10.0.0.2]}
  - {name: no-neighbour, from: a, command: [python3, -c, SENDS, 10.0.0.77]}
  - {name: dropped, from: a, command: [python3, -c, SENDS, 10.0.0.3]}
  - {name: heard-again, from: a, command: [python3, -c, SENDS, 10.0.0.2]}
expect:
  - {traffic: heard, packet: request.all, path: ["a:eth0 out", "b:eth0 in"]}
  - {traffic: no-neighbour, packet: request.all, at: a@output, dst: "10.0.0.77:99"}
  - {traffic: dropped, packet: request.all, at: a@output, dst: "10.0.0.3:99"}
  - {traffic: heard-again, packet: request.all, path: ["a:eth0 out", "b:eth0 in"]}
""".replace("SENDS", json.dumps(SENDS))


async def test_a_packet_that_no_wire_saw_is_its_own_items_and_no_others():
    topology, _ = loads(ITEMS)
    async with Lab(topology) as lab:
        report = await lab.prove()
    assert report.verdict is Verdict.PASS, report.explain()
    named = {item.name: report.record.journeys("udp", traffic=item.name) for item in topology.traffic}
    ends = {name: [journey.end.kind for journey in found if journey.quotes is None] for name, found in named.items()}
    assert ends == {
        "heard": ["delivered"],
        "no-neighbour": ["unseen"],
        "dropped": ["dropped"],
        "heard-again": ["delivered"],
    }


async def test_what_is_asked_of_a_dropped_packet_is_answered_by_that_packet():
    topology, _ = loads(ITEMS)
    async with Lab(topology) as lab:
        report = await lab.prove()
        wrong = {"traffic": "dropped", "packet": "request.all", "at": "a@output", "dst": "10.0.0.2:99"}
        (check,) = [
            each for each in lab.check(report.record, [wrong]).checks if each.name.startswith("dropped request")
        ]
    assert check.verdict is Verdict.FAIL
    assert check.actual["dst"] == "10.0.0.3:99"


PLAIN = """
name: plain
hosts:
  a:
    environment: {TOLD: "yes"}
    services: {one: {command: [sleep, infinity], ready: {command: [sh, -c, 'test -z "$CALLERS"']}}}
traffic:
  - {name: variables, from: a, command: [sh, -c, 'test -z "$CALLERS" && test "$TOLD" = yes']}
  - {name: programs, from: a, command: [sh, -c, 'test "$PATH" = SERVICES']}
  - {name: folder, from: a, command: [sh, -c, 'test -z "$(ls -A)" && echo > mine && test ! -e CALLED/mine']}
""".replace("SERVICES", searching.PLAIN["PATH"])


async def test_a_command_has_nothing_of_who_called_netemu(monkeypatch, tmp_path):
    monkeypatch.setenv("CALLERS", "own")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "theirs").touch()
    topology, _ = loads(PLAIN.replace("CALLED", str(tmp_path)))
    async with Lab(topology) as lab:
        report = await lab.prove()
    assert {item.name: item.fault for item in report.record.exchanges} == dict.fromkeys(
        ("variables", "programs", "folder")
    )
