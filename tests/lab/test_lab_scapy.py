"""A host's scapy socket: sniffing, asking and answering there, beside the lab's own record."""

from __future__ import annotations

import asyncio
import socket

import pytest

from netemu import Lab, Taps, UsageError
from netemu.topology.load import loads

PAIR = """
name: pair
hosts:
  A: {interfaces: {eth0: {addresses: [10.0.0.1/24], mac: "02:00:00:00:00:0a"}}}
  B: {interfaces: {eth0: {addresses: [10.0.0.2/24], mac: "02:00:00:00:00:0b"}}}
links: [{endpoints: ["A:eth0", "B:eth0"]}]
"""


@pytest.fixture
async def lab():
    topology, _ = loads(PAIR)
    async with Lab(topology) as made:
        yield made


def ping():
    from scapy.layers.inet import ICMP, IP
    from scapy.layers.l2 import Ether

    frame = Ether(src="02:00:00:00:00:0a", dst="02:00:00:00:00:0b")
    return frame / IP(src="10.0.0.1", dst="10.0.0.2") / ICMP(id=7, seq=1)


async def test_a_question_sent_by_sr1_is_answered_by_the_other_host_and_is_in_the_record(lab):
    async with lab.record() as record:
        with lab["A"].socket("eth0") as sock:
            answer = await asyncio.to_thread(sock.sr1, ping(), timeout=5, verbose=False)
    assert (answer["IP"].src, answer["ICMP"].type) == ("10.0.0.2", 0)
    places = [[str(seen.point) for seen in journey.sightings] for journey in record.journeys]
    assert any({"A:eth0 out", "B:eth0 in"} <= set(each) for each in places)
    assert record.lost == 0


async def test_a_sniffer_on_it_sees_both_ways_and_the_record_loses_nothing_by_it(lab):
    from scapy.sendrecv import AsyncSniffer, sendp

    sock = lab["B"].socket("eth0", filter="icmp")
    both = asyncio.Event()
    loop, seen = asyncio.get_running_loop(), []

    def take(packet) -> None:
        seen.append(packet)
        if len(seen) == 2:
            loop.call_soon_threadsafe(both.set)

    async with lab.record() as record:
        sniffer = AsyncSniffer(opened_socket=sock, prn=take, store=False)
        sniffer.start()
        with lab["A"].socket("eth0") as sender:
            sendp(ping(), socket=sender, verbose=False)
        async with asyncio.timeout(5):
            await both.wait()
        await asyncio.to_thread(sniffer.stop)
    sock.close()
    assert [packet["ICMP"].type for packet in seen] == [8, 0]
    assert seen[0].time <= seen[1].time
    assert record.lost == 0


async def test_an_interface_that_is_not_there_is_refused_with_those_that_are(lab):
    with pytest.raises(UsageError, match=r"host A has no interface 'eth1': there are lo, eth0"):
        lab["A"].socket("eth1")
    with pytest.raises(UsageError, match="filter 'nonsense'"):
        lab["A"].socket("eth0", filter="nonsense")


async def send(lab, port: int) -> None:
    with lab["A"].open_socket(kind=socket.SOCK_DGRAM) as sock:
        sock.sendto(b"x" * 1000, ("10.0.0.2", port))


async def test_a_filter_and_a_snap_length_hold_for_the_record_and_are_said():
    topology, _ = loads(PAIR)
    async with Lab(topology, taps=Taps(filter="udp port 7", snap_length=64)) as lab, lab.record() as record:
        await send(lab, 7)
        await send(lab, 8)
    wires = [seen for journey in record.journeys for seen in journey.sightings if seen.point.stage is None]
    assert {seen.headers.dport for seen in wires} == {7}
    assert {tap.note for tap in record.health if tap.tap == "wire"} == {"takes only what fits 'udp port 7'"}


@pytest.mark.parametrize(("trace", "stages"), [("off", 0), ("first 1", 1), ("1 in 2", 2), ("all", 4)])
async def test_a_host_is_traced_as_its_topology_says_and_what_is_left_out_is_said(trace, stages):
    topology, _ = loads(PAIR.replace("A: {", f"A: {{trace: {trace}, "))
    async with Lab(topology) as lab, lab.record() as record:
        with lab["A"].open_socket(kind=socket.SOCK_DGRAM) as sock:
            for _ in range(4):
                sock.sendto(b"x", ("10.0.0.2", 7))
    hooks = [seen for journey in record.journeys for seen in journey.sightings if str(seen.point) == "A@output"]
    assert len([seen for seen in hooks if seen.headers.proto == "udp"]) == stages
    (health,) = [tap for tap in record.health if (tap.tap, tap.host) == ("hooks", "A")]
    assert (bool(health.note), health.alive) == (trace != "all", True)


async def test_a_host_that_does_not_trace_has_no_hook_where_packets_come_in():
    topology, _ = loads(PAIR.replace("A: {", "A: {trace: off, "))
    async with Lab(topology, record=True) as lab:
        rules = {name: (await lab[name].run("nft", "list", "ruleset")).stdout for name in "AB"}
    assert "hook prerouting" in rules["B"]
    assert "hook prerouting" not in rules["A"]


async def test_a_record_larger_than_its_memory_bound_is_whole(tmp_path):
    topology, _ = loads(PAIR)
    async with Lab(topology, taps=Taps(memory=0, folder=str(tmp_path))) as lab, lab.record() as record:
        for _ in range(3000):
            await send(lab, 7)
    sent = [journey for journey in record.journeys if journey.first.headers.dport == 7]
    assert len(sent) == 3000
    assert record.lost == 0
    assert list(tmp_path.iterdir()) == []
