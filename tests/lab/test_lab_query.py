"""A live lab's record, asked: conntrack's events with mark and zone, packets at hooks, latency, text and words."""

from __future__ import annotations

import sys

import pytest

from netemu import Lab, Record, report_json
from netemu.topology.load import loads

ROW = """
name: marked
hosts:
  A: {interfaces: {eth0: {addresses: [10.0.0.1/24]}}, routes: [{to: default, via: 10.0.0.2}]}
  B:
    forwarding: true
    interfaces: {eth0: {addresses: [10.0.0.2/24]}, eth1: {addresses: [10.0.1.2/24]}}
    iptables: |
      *raw
      -A PREROUTING -p udp -j CT --zone 5
      COMMIT
      *mangle
      -A FORWARD -p udp -j CONNMARK --set-mark 0x2a
      COMMIT
  C:
    interfaces: {eth0: {addresses: [10.0.1.3/24]}}
    routes: [{to: default, via: 10.0.1.2}]
    services:
      echo:
        ready: {udp: 5353}
        command:
          - python3
          - -c
          - |
            import socket
            echo = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            echo.bind(("", 5353))
            while True:
                echo.sendto(*echo.recvfrom(2048))
links: [{endpoints: ["A:eth0", "B:eth0"]}, {endpoints: ["B:eth1", "C:eth0"]}]
traffic: [{name: ask, from: A, udp: {to: "10.0.1.3:5353", answers: 1}}]
"""

FLUSH = """
import socket, struct
sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
sock.send(struct.pack("=IHHII", 20, 1 << 8 | 2, 5, 1, 0) + bytes(4))
assert struct.unpack_from("=i", sock.recv(4096), 16) == (0,)
"""
"""IPCTNL_MSG_CT_DELETE without a tuple: what `conntrack -F` sends. It is acknowledged once all entries are gone."""


@pytest.fixture
async def record():
    topology, _ = loads(ROW)
    async with Lab(topology) as lab:
        async with lab.record() as made:
            await lab.send("ask")
            done = await lab["B"].run(sys.executable, "-c", FLUSH)
            assert done.returncode == 0, done.stderr
            await lab.send("ask")
        yield made, report_json(lab.check(made))


async def test_an_entrys_life_is_told_with_its_mark_and_zone(record: tuple[Record, dict]):
    events = record[0].conntrack(at="B", proto="udp", dport=5353)
    first = events[0].entry
    life = [event for event in events if event.entry.id == first.id]
    assert [event.kind for event in life] == ["new", "update", "destroy"]
    assert {(event.entry.mark, event.entry.zone) for event in life} == {(0x2A, 5)}
    assert first.original.destination == "10.0.1.3:5353"
    assert first.timeout is not None
    assert "seen-reply" in life[1].entry.status_names
    assert "dying" in life[2].entry.status_names


async def test_what_is_in_the_table_at_the_end_is_told_as_its_dump(record: tuple[Record, dict]):
    (dumped,) = record[0].conntrack(kind="dump", dst="10.0.1.3:5353", mark=0x2A, zone=5)
    (begun,) = record[0].conntrack(kind="new", id=dumped.entry.id)
    assert (begun.host, begun.entry.original) == ("B", dumped.entry.original)
    assert record[0].conntrack(at="A") == []


async def test_the_data_frame_tells_the_mark_and_zone_of_each_packets_entry(record: tuple[Record, dict]):
    frame = record[0].frame
    hooks = frame.filter((frame["host"] == "B") & frame["ct_state"].is_in(["new", "established"]))
    assert hooks.height
    assert set(hooks.select("ct_mark", "ct_zone").rows()) == {(0x2A, 5)}
    others = frame.filter(frame["ct_state"].is_null() | (frame["ct_state"] == "untracked"))
    assert set(others.select("ct_mark", "ct_zone").rows()) == {(None, None)}


async def test_flows_in_the_report_tell_mark_and_zone(record: tuple[Record, dict]):
    assert {(flow["host"], flow["mark"], flow["zone"]) for flow in record[1]["flows"]} == {("B", 0x2A, 5)}


async def test_the_frame_tells_a_mark_that_an_nft_rule_set():
    rules = """    nft: |
      table ip marking { chain forward { type filter hook forward priority 0; udp dport 5353 ct mark set 7; }; }
"""
    begin, end = ROW.index("    iptables: |"), ROW.index("  C:\n")
    topology, _ = loads(ROW[:begin] + rules + ROW[end:])
    async with Lab(topology) as lab, lab.record() as record:
        await lab.send("ask")
    frame = record.frame.filter(record.frame["point"] == "B@forward")
    assert frame.select("proto", "ct_direction", "ct_mark", "ct_zone").rows() == [
        ("udp", "original", 7, 0),
        ("udp", "reply", 7, 0),
    ]


async def test_packets_are_found_by_text_and_words_and_given_as_scapy_has_them(record: tuple[Record, dict]):
    asked = record[0].journeys("udp dst port 5353", at="B@forward", traffic="ask", direction="original")
    assert len(asked) == 2
    (wire, *_) = record[0].sightings("udp dst port 5353", at="C:eth0 in")
    (hook, *_) = record[0].sightings("udp dst port 5353", at="B@forward")
    assert (wire.packet()["UDP"].dport, bytes(wire.packet())) == (5353, wire.data)
    assert (hook.packet()["IP"].dst, hook.packet()["UDP"].dport, hook.packet().ttl) == ("10.0.1.3", 5353, 63)


async def test_it_takes_time_to_pass_a_router(record: tuple[Record, dict]):
    through = record[0].latency("B:eth0 in", "B:eth1 out", traffic="ask", direction="original")
    assert (through.n, through.missing) == (2, 0)
    assert through.min is not None
    assert 0 < through.min <= through.median <= through.max < 1_000_000_000
