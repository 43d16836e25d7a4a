"""Datagrams longer than their links: one journey each, whoever cuts them up and puts them together again."""

from __future__ import annotations

import asyncio
import socket

import pytest

from netemu import Lab
from netemu.topology.load import loads

FRAGMENTS = """
name: fragments
hosts:
  A:
    interfaces: {eth0: {addresses: [10.0.0.2/24]}}
    routes: [{to: default, via: 10.0.0.1}]
  B:
    forwarding: true
    interfaces: {eth0: {addresses: [10.0.0.1/24]}, eth1: {addresses: [10.1.0.1/24], mtu: MTU}}
    iptables: RULES
  C:
    interfaces: {eth0: {addresses: [10.1.0.2/24], mtu: MTU}}
    routes: [{to: default, via: 10.1.0.1}]
links: [{endpoints: ["A:eth0", "B:eth0"]}, {endpoints: ["B:eth1", "C:eth0"]}]
"""
NAT = (
    '"*nat\\n-A PREROUTING -p udp --dport 7 -j DNAT --to-destination 10.1.0.2\\n'
    '-A POSTROUTING -o eth1 -j MASQUERADE\\nCOMMIT\\n"'
)
ON_THE_WAY = ["A:eth0 out", "B:eth0 in", "B:eth1 out", "C:eth0 in"]
_MTU_DISCOVER = 10


def topology(rules: str = "''", mtu: int = 1500):
    return loads(FRAGMENTS.replace("RULES", rules).replace("MTU", str(mtu)).replace("    iptables: ''\n", ""))[0]


async def sent(lab: Lab, sizes: list[int], to: str = "10.1.0.2"):
    """Datagrams of these sizes from A to C, recorded until C has them."""
    loop = asyncio.get_running_loop()
    with lab["C"].open_socket(kind=2) as sink, lab["A"].open_socket(kind=2) as source:
        sink.bind(("", 7))
        sink.setblocking(False)
        source.setsockopt(0, _MTU_DISCOVER, 0)
        async with lab.record() as record:
            for size in sizes:
                source.sendto(bytes(size), (to, 7))
                async with asyncio.timeout(10):
                    assert len(await loop.sock_recv(sink, 65536)) == size
    return record


def wires(journey) -> list[tuple[str, int | None]]:
    return [
        (str(seen.point), seen.headers.fragment[0] if seen.headers.fragment else None)
        for seen in journey.sightings
        if seen.point.stage is None
    ]


@pytest.mark.parametrize(("rules", "to"), [("''", "10.1.0.2"), (NAT, "10.0.0.1")], ids=["a router", "NAT"])
async def test_a_datagram_in_fragments_is_one_journey_from_its_socket_to_the_other(rules, to):
    """A router that tracks puts them together and cuts them up again; one that does not passes each on."""
    async with Lab(topology(rules)) as lab:
        record = await sent(lab, [4000, 4000, 100], to)
        journeys = list(record.journeys("udp"))
        assert [(each.nth, each.end.kind, str(each.end.at), each.complete) for each in journeys] == [
            (number, "delivered", "C@input.nat", True) for number in (1, 2, 3)
        ]
        assert len({each.flow for each in journeys}) == 1
        for journey in journeys[:2]:
            for point in ON_THE_WAY:
                assert [offset for name, offset in wires(journey) if name == point] == [0, 1480, 2960]
            assert journey.ends == (journey.end,)
            assert journey.certain
            assert journey.alike == 1
        assert [name for name, _ in wires(journeys[2])] == ON_THE_WAY
        first = [change.by for change in journeys[0].rewrites if change.field != "ttl"]
        assert set(first) == ({"rule"} if rules != "''" else set())
        assert record.journeys(by="unknown").ids() == ()


async def test_a_router_with_a_shorter_link_behind_it_cuts_up_what_came_whole():
    async with Lab(topology(mtu=600)) as lab:
        (journey,) = (await sent(lab, [1200])).journeys("udp")
    assert wires(journey)[:2] == [("A:eth0 out", None), ("B:eth0 in", None)]
    assert [each for each in wires(journey) if each[0] == "C:eth0 in"] == [("C:eth0 in", at) for at in (0, 576, 1152)]
    assert (journey.end.kind, journey.complete) == ("delivered", True)


async def test_fragments_are_cut_up_further_where_the_next_link_is_shorter():
    async with Lab(topology(mtu=600)) as lab:
        (journey,) = (await sent(lab, [2000])).journeys("udp")
    assert [at for name, at in wires(journey) if name == "A:eth0 out"] == [0, 1480]
    assert [at for name, at in wires(journey) if name == "C:eth0 in"] == [0, 576, 1152, 1480]
    assert (journey.end.kind, journey.complete) == ("delivered", True)


async def test_a_datagram_of_which_a_fragment_was_dropped_is_delivered_nowhere():
    rules = '"*raw\\n-A PREROUTING -f -j DROP\\nCOMMIT\\n"'  # all fragments but the first
    async with Lab(topology(rules)) as lab:
        with lab["A"].open_socket(kind=2) as source:
            async with lab.record() as record:
                source.sendto(bytes(4000), ("10.1.0.2", 7))
    (journey,) = record.journeys("udp")
    assert not journey.complete
    assert [end.kind for end in journey.ends] == ["unseen", "dropped", "dropped"]
    assert str(journey.ends[0].at) == "C@prerouting.nat"


IPV6 = """
name: fragments6
hosts:
  A:
    interfaces: {eth0: {addresses: ["fd01::2/64"]}}
    routes: [{to: default, via: "fd01::1"}]
  B:
    forwarding: true
    interfaces: {eth0: {addresses: ["fd01::1/64"]}, eth1: {addresses: ["fd02::1/64"]}}
  C:
    interfaces: {eth0: {addresses: ["fd02::2/64"]}}
    routes: [{to: default, via: "fd02::1"}]
links: [{endpoints: ["A:eth0", "B:eth0"]}, {endpoints: ["B:eth1", "C:eth0"]}]
"""


async def test_of_ipv6s_fragments_the_first_has_ports_at_hooks_too_and_none_is_made_up_for_others():
    """They are not followed: each is a packet of its own, and says where in its datagram it is."""
    loop = asyncio.get_running_loop()
    async with Lab(loads(IPV6)[0]) as lab:
        with lab["C"].open_socket(socket.AF_INET6, 2) as sink, lab["A"].open_socket(socket.AF_INET6, 2) as source:
            sink.bind(("fd02::2", 7))
            sink.setblocking(False)
            source.bind(("fd01::2", 4000))
            async with lab.record() as record:
                source.sendto(b"x" * 4000, ("fd02::2", 7))
                async with asyncio.timeout(10):
                    assert len(await loop.sock_recv(sink, 65536)) == 4000
    seen = [each for journey in record.journeys("udp") for each in journey.sightings]
    assert {(each.headers.sport, each.headers.dport) for each in seen} == {(4000, 7), (None, None)}
    told = {(str(each.point), each.headers.fragment, each.headers.dport) for each in seen}
    for point in ON_THE_WAY:
        mine = {(fragment, port) for name, fragment, port in told if name == point}
        assert mine == {((0, True), 7), ((1448, True), None), ((2896, False), None)}
    at_hooks = {(fragment, port) for name, fragment, port in told if name.startswith("B@")}
    assert at_hooks == {((0, True), 7)}  # of the others the trace tells no addresses
    assert record.journeys(by="unknown").ids() == ()
