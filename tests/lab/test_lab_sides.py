"""NAT behind NAT on the real kernel: captures of three wires are joined as the record's own hooks prove it."""

from __future__ import annotations

import json
import struct
from collections import Counter
from pathlib import Path

import pytest

from netemu import Lab, Record, Sides, UsageError, join_files
from netemu.record.decode.points import wire_name
from netemu.record.journeys import Journeys
from netemu.topology.load import loads

SECOND = 1_000_000_000
ECHO = """import socket, threading
def serve(port):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(('', port))
    while True: s.sendto(*s.recvfrom(2000))
threading.Thread(target=serve, args=(8,)).start()
serve(7)
"""
ASK = """import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(2)
s.bind(('', 5000))
for port in (7, 8):
    for data in (b'same', b'same', b'a question of its own', b'NAME'):
        s.sendto(data, ('203.0.113.7', port))
        s.recvfrom(99)
"""
TOPOLOGY = """
name: behind
networks: {lan: {}}
hosts:
  one:
    interfaces: {eth0: {network: lan, addresses: [192.168.1.2/24]}}
    routes: [{to: default, via: 192.168.1.1}]
  two:
    interfaces: {eth0: {network: lan, addresses: [192.168.1.3/24]}}
    routes: [{to: default, via: 192.168.1.1}]
  home:
    forwarding: true
    interfaces: {eth0: {network: lan, addresses: [192.168.1.1/24]}, eth1: {addresses: [100.64.0.2/24]}}
    routes: [{to: default, via: 100.64.0.1}]
    iptables: |
      *nat
      -A POSTROUTING -o eth1 -j MASQUERADE
      COMMIT
  isp:
    forwarding: true
    interfaces: {eth0: {addresses: [100.64.0.1/24]}, eth1: {addresses: [203.0.113.1/24]}}
    iptables: |
      *nat
      -A POSTROUTING -o eth1 -p udp -j SNAT --to-source 203.0.113.1:40000-49999
      -A POSTROUTING -o eth1 -p tcp -j SNAT --to-source 203.0.113.1:40000-49999
      -A POSTROUTING -o eth1 -j MASQUERADE
      COMMIT
  server:
    interfaces: {eth0: {addresses: [203.0.113.7/24]}}
    routes: [{to: default, via: 203.0.113.1}]
    services:
      web: {command: [python3, -m, http.server, "80"], ready: {tcp: 80, within: 30s}}
      echo: {command: [python3, -c, ECHO], ready: {udp: 7}}
links: [{endpoints: ["home:eth1", "isp:eth0"]}, {endpoints: ["isp:eth1", "server:eth0"]}]
traffic:
  - {name: page-one, from: one, http: "http://203.0.113.7/"}
  - {name: page-two, from: two, http: "http://203.0.113.7/"}
  - {name: ask-one, from: one, command: [python3, -c, ASK NAME]}
  - {name: ask-two, from: two, command: [python3, -c, ASK NAME]}
  - {name: closed, from: one, udp: {to: "203.0.113.7:9", answers: 0}}
"""
WIRES = (("home", "eth0"), ("isp", "eth0"), ("server", "eth0"))
AHEAD = (0, 7200 * SECOND, -3 * SECOND)
"""How far each wire's file is made to be ahead."""


async def captured() -> Record:
    text = TOPOLOGY.replace("ECHO", json.dumps(ECHO))
    for name in ("one", "two"):
        text = text.replace("ASK NAME", json.dumps(ASK.replace("NAME", name)), 1)
    topology, _ = loads(text)
    async with Lab(topology) as lab, lab.record() as record:
        for item in topology.traffic:
            await lab.send(item.name)
    assert not record.lost
    assert not [item.fault for item in record.exchanges if item.fault]
    return record


def wire(record: Record, host: str, interface: str, ahead: int) -> tuple[bytes, list[int]]:
    """A wire's frames as a pcap file, and the journey that each is of by the record's own proof (-1: none)."""
    journeys = record.journeys
    assert isinstance(journeys, Journeys)
    capture = next(each for each in record.raw.captures if each.host == host)
    frames, seen, laid = capture.frames, journeys.seen, journeys.laid
    truth = [-1] * len(frames)
    for journey in range(len(laid)):
        for row in laid.rows[laid.offset[journey] : laid.offset[journey + 1]].tolist():
            if row < seen.wires and seen.points[seen.point[row]].host == host:
                truth[int(seen.frame[row])] = journey
    head = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, 1)
    rows, kept = [head], []
    for place in range(len(frames)):
        if wire_name(capture, int(frames.interface[place])) != interface:
            continue
        data = bytes(frames.data[frames.offset[place] : frames.offset[place + 1]])
        second, rest = divmod(int(frames.time_ns[place]) + ahead, SECOND)
        rows.append(struct.pack("<IIII", second, rest, len(data), len(data)) + data)
        kept.append(truth[place])
    return b"".join(rows), kept


@pytest.fixture
async def both(tmp_path: Path) -> tuple[Sides, list[list[int]], Record]:
    """The sides joined, for each the record's journey of each packet of its file, and the record."""
    record = await captured()
    files, truths = [], []
    for (host, interface), ahead in zip(WIRES, AHEAD, strict=True):
        data, truth = wire(record, host, interface, ahead)
        files.append(tmp_path / f"{host}.pcap")
        files[-1].write_bytes(data)
        truths.append(truth)
    return join_files(files), truths, record


def test_one_file_may_be_given_by_its_name_alone(tmp_path) -> None:
    with pytest.raises(UsageError, match=r"home\.pcapng can't be read: No such file or directory"):
        join_files(str(tmp_path / "home.pcapng"))


async def test_captures_of_nat_behind_nat_are_joined_as_the_hooks_prove_it(both) -> None:
    sides, truths, record = both
    names = sides.names
    assert names == ["home", "isp", "server"]
    whole = Counter()
    for journey in sides.journeys():
        proven = {truths[names.index(seen.side)][seen.number - 1] for seen in journey.sightings}
        assert len(proven) == 1, f"joined what the record keeps apart: {journey}"
        whole[len(journey.sightings)] += 1
        if len(journey.sightings) == len(WIRES):
            mine = record.journeys[proven.pop()]
            assert mine.first.headers.tuple == journey.sightings[0].headers.tuple
            error = mine.first.headers.proto == "icmp"  # the record keeps an ICMP error out of its connection's flow
            assert error or mine.direction == journey.direction
    assert set(whole) == {3}, "every packet that all three wires saw was joined on all three"
    assert whole[3] > 50


async def test_the_clocks_offsets_are_found_within_their_uncertainty(both) -> None:
    sides, _, _ = both
    for clock, ahead in zip(sides.clocks, AHEAD, strict=True):
        assert abs(clock.offset_ns - ahead) <= clock.uncertainty_ns
        assert clock.uncertainty_ns < SECOND // 100


async def test_both_nats_rewrites_are_told_between_the_right_sides(both) -> None:
    sides, _, _ = both
    flows = [sides.flow(id) for id in sides.joined_flows]
    assert len(flows) == 7, "two pages, two clients with two ports each, one closed port"
    for flow in flows:
        assert [(c.field, c.before_side, c.at_side) for c in flow.changes] == [
            ("src", "home", "isp"),
            ("src", "isp", "server"),
        ]
        assert not flow.assumed
        assert not flow.missing
        assert flow.tuples["server"].src == "203.0.113.1"
    closed = [flow for flow in flows if flow.tuples["home"].dport == 9]
    assert [flow.packets for flow in closed] == [{"original": 1, "reply": 1}], "the ICMP error is its reply"
