"""Datagrams longer than their links: one journey each, whoever cuts them up and puts them together again."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys

import pytest
from scapy.layers.inet import IP, UDP, fragment
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment, fragment6

from netemu import Lab, join_files
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
_ICMP6_FILTER = 1
_ALL_BUT_REPLIES, _ALL_BUT_TIME_EXCEEDED = (
    b"".join((0xFFFFFFFF ^ (word == kind // 32) << kind % 32).to_bytes(4, sys.byteorder) for word in range(8))
    for kind in (129, 3)
)
"""RFC 3542, 3.2: a bit for each type that is kept back; 129 is an echo reply."""


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
            assert journey.since_ns == journey.start_ns
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
    ip6tables: ROUTER
  C:
    interfaces: {eth0: {addresses: ["fd02::2/64"]}}
    routes: [{to: default, via: "fd02::1"}]
    ip6tables: SERVER
links: [{endpoints: ["A:eth0", "B:eth0"]}, {endpoints: ["B:eth1", "C:eth0"]}]
"""
NAT66 = (
    '"*nat\\n-A PREROUTING -p udp --dport 7 -j DNAT --to-destination fd02::2\\n'
    '-A POSTROUTING -o eth1 -j MASQUERADE\\nCOMMIT\\n"'
)
TRACKS = '"*filter\\n-A INPUT -m conntrack --ctstate INVALID -j DROP\\nCOMMIT\\n"'


def topology6(router: str = "", server: str = ""):
    text = IPV6.replace("    ip6tables: ROUTER\n", f"    ip6tables: {router}\n" if router else "")
    return loads(text.replace("    ip6tables: SERVER\n", f"    ip6tables: {server}\n" if server else ""))[0]


async def sent6(lab: Lab, payloads: list[bytes], to: str = "fd02::2"):
    """The same over IPv6."""
    loop = asyncio.get_running_loop()
    with lab["C"].open_socket(socket.AF_INET6, 2) as sink, lab["A"].open_socket(socket.AF_INET6, 2) as source:
        sink.bind(("::", 7))
        sink.setblocking(False)
        source.bind(("fd01::2", 4000))
        async with lab.record() as record:
            for payload in payloads:
                source.sendto(payload, (to, 7))
                async with asyncio.timeout(10):
                    assert await loop.sock_recv(sink, 65536) == payload
    return record


def fragments(journey, point: str) -> list[tuple[tuple[int, bool] | None, int | None]]:
    return [(seen.headers.fragment, seen.headers.dport) for seen in journey.sightings if str(seen.point) == point]


IN_PARTS = [((0, True), 7), ((1448, True), None), ((2896, False), None)]
WHOLE = [(None, 7)]


@pytest.mark.parametrize(
    ("router", "server", "to", "at_b", "at_c"),
    [
        ("", "", "fd02::2", IN_PARTS, IN_PARTS),
        (NAT66, "", "fd01::1", WHOLE, IN_PARTS),
        ("", TRACKS, "fd02::2", IN_PARTS, WHOLE),
    ],
    ids=["a router", "NAT66", "a server that tracks"],
)
async def test_an_ipv6_datagram_in_fragments_is_one_journey(router, server, to, at_b, at_c):
    """Who tracks puts them together before its first stage; another server does it behind its last one."""
    async with Lab(topology6(router, server)) as lab:
        record = await sent6(lab, [b"a" * 4000, b"b" * 4000, b"c" * 100], to)
        journeys = list(record.journeys("udp"))
        assert [(each.nth, each.end.kind, str(each.end.at), each.complete) for each in journeys] == [
            (number, "delivered", "C@input.nat", True) for number in (1, 2, 3)
        ]
        assert len({each.flow for each in journeys}) == 1
        for journey in journeys[:2]:
            for point in ON_THE_WAY:
                assert fragments(journey, point) == IN_PARTS
            assert fragments(journey, "A@output") == WHOLE
            assert fragments(journey, "B@forward") == at_b
            assert fragments(journey, "C@input") == at_c
            assert journey.since_ns == journey.start_ns
            assert journey.ends == (journey.end,)
            assert journey.certain
        assert {each.headers.dst for each in record.journeys("udp")[0].sightings} == {to, "fd02::2"}
        first = [change.by for change in journeys[0].rewrites if change.field != "ttl"]
        assert set(first) == ({"rule"} if router else set())
        assert record.journeys(by="unknown").ids() == ()
        assert record.journeys("udp", at="C:eth0").ids() == record.journeys("udp", at="A@output").ids()
        assert {seen.packet().dst for seen in record.sightings("udp", at="B@forward")} == {"fd02::2"}
        assert b"".join(record.pcapng())


async def test_an_ipv6_echo_in_fragments_is_answered_in_fragments():
    loop = asyncio.get_running_loop()
    async with Lab(topology6()) as lab:
        with lab["A"].open_socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as ping:
            ping.setsockopt(socket.IPPROTO_ICMPV6, _ICMP6_FILTER, _ALL_BUT_REPLIES)
            async with lab.record() as record:
                ping.sendto(bytes([128, 0, 0, 0, 0, 1, 0, 1]) + bytes(3000), ("fd02::2", 0))
                async with asyncio.timeout(10):
                    assert len(await loop.sock_recv(ping, 65536)) == 3008
        asked, answered = record.journeys("icmp6 and greater 1400")
    assert [(each.end.kind, str(each.end.at), each.complete) for each in (asked, answered)] == [
        ("delivered", "C@input.nat", True),
        ("delivered", "A@input.nat", True),
    ]
    assert (asked.flow, asked.direction, answered.direction) == (answered.flow, "original", "reply")


async def test_an_ipv6_datagram_of_which_a_fragment_was_dropped_is_delivered_nowhere():
    rules = '"*raw\\n-A PREROUTING -m frag --fraglast -j DROP\\nCOMMIT\\n"'
    async with Lab(topology6(rules)) as lab:
        with lab["A"].open_socket(socket.AF_INET6, 2) as source:
            async with lab.record() as record:
                source.sendto(bytes(4000), ("fd02::2", 7))
    (journey,) = record.journeys("udp")
    assert not journey.complete
    assert [(end.kind, end.at.host) for end in journey.ends] == [("unseen", "C"), ("unseen", "C"), ("dropped", "B")]
    assert "--fraglast" in journey.ends[2].turn.text


ERRORS = """
name: errors
hosts:
  A:
    interfaces: {eth0: {addresses: [10.0.0.2/24, "fd01::2/64"]}}
    routes: [{to: default, via: 10.0.0.1}, {to: default, via: "fd01::1"}]
  B:
    forwarding: true
    sysctls: {net.ipv6.icmp.ratelimit: 0}
    interfaces: {eth0: {addresses: [10.0.0.1/24, "fd01::1/64"]}}
    routes: [{to: default, via: 10.0.0.2}, {to: default, via: "fd01::2"}]
links: [{endpoints: ["A:eth0", "B:eth0"]}]
"""


@pytest.mark.parametrize(
    ("family", "traced", "quoted"),
    [
        (socket.AF_INET, True, [1]),
        (socket.AF_INET, False, [1]),
        (socket.AF_INET6, True, [1, 1, 1]),
        (socket.AF_INET6, False, [1, 2, 3]),
    ],
)
async def test_errors_that_quote_fragments_are_of_the_datagram(family, traced, quoted):
    """A router where the last hop ends answers IPv4's first fragment, and each of IPv6's (icmp_send, icmp6_send).

    Where no trace of the sender ties the fragments together, each is a journey.
    """
    text = ERRORS if traced else ERRORS.replace("  A:\n", "  A:\n    trace: off\n")
    async with Lab(loads(text)[0]) as lab, lab.record() as record:
        with lab["A"].open_socket(family, 2) as source:
            if family == socket.AF_INET:
                source.setsockopt(0, socket.IP_TTL, 1)
                source.setsockopt(0, _MTU_DISCOVER, 0)
            else:
                source.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 1)
            source.sendto(bytes(4000), ("10.9.0.2" if family == socket.AF_INET else "fd09::2", 7))
    sent = record.journeys("udp")
    said = [each for each in record.journeys() if each.error is not None]
    assert [sent.ids().index(each.quotes) + 1 for each in said] == quoted
    assert {(each.error.kind, each.error.host) for each in said} == {("time-exceeded", "B")}
    assert [each.flow for each in said] == [sent[place - 1].flow for place in quoted]
    assert {sent[place - 1].end.why for place in quoted} == {"ttl"}


def waits_a_second(text: str, sysctl: str):
    """C forgets what it has of a packet after a second."""
    return loads(text.replace("  C:\n", f"  C:\n    sysctls: {{{sysctl}: 1}}\n"))[0]


async def forgotten(errors: socket.socket) -> None:
    """Wait until C says that it no longer waits for fragments."""
    async with asyncio.timeout(10):
        await asyncio.get_running_loop().sock_recv(errors, 4096)


async def test_an_ipv6_fragment_that_comes_when_its_host_no_longer_waits_delivers_nothing():
    text = IPV6.replace("    ip6tables: ROUTER\n", "").replace("    ip6tables: SERVER\n", "")
    one, other = (
        [
            bytes(part)
            for part in fragment6(
                IPv6(src="fd01::2", dst="fd02::2")
                / IPv6ExtHdrFragment(id=ident)
                / UDP(sport=4000, dport=7)
                / bytes(2000),
                1280,
            )
        ]
        for ident in (1, 2)
    )
    async with Lab(waits_a_second(text, "net.ipv6.ip6frag_time")) as lab:
        a = lab["A"]
        with (
            a.open_socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw,
            a.open_socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as errors,
            lab["C"].open_socket(socket.AF_INET6, 2) as sink,
        ):
            errors.setsockopt(socket.IPPROTO_ICMPV6, _ICMP6_FILTER, _ALL_BUT_TIME_EXCEEDED)
            sink.bind(("::", 7))
            for each in (errors, sink):
                each.setblocking(False)
            async with lab.record() as record:
                raw.sendto(one[0], ("fd02::2", 0))
                await forgotten(errors)
                for part in (one[1], *other):
                    raw.sendto(part, ("fd02::2", 0))
                async with asyncio.timeout(10):
                    assert len(await asyncio.get_running_loop().sock_recv(sink, 65536)) == 2000
                with pytest.raises(BlockingIOError):
                    sink.recv(65536)
    ends = [journey.end.kind for journey in record.journeys if journey.first.headers.proto == "udp"]
    assert ends == ["unseen", "unseen", "reassembled", "delivered"]


async def test_an_ipv4_fragment_that_its_host_forgot_is_not_of_the_next_datagram_with_its_id():
    """C forgets two, one after the other; of the first one all comes again when its timer must long have run out."""
    text = FRAGMENTS.replace("    iptables: RULES\n", "").replace("MTU", "1500")
    one, other = (
        [
            bytes(part)
            for part in fragment(IP(src="10.0.0.2", dst="10.1.0.2", id=ident) / UDP(dport=7) / bytes(2000), 1480)
        ]
        for ident in (1, 2)
    )
    async with Lab(waits_a_second(text, "net.ipv4.ipfrag_time")) as lab:
        a = lab["A"]
        with (
            a.open_socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw,
            a.open_socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as errors,
            lab["C"].open_socket(kind=2) as sink,
        ):
            sink.bind(("", 7))
            for each in (errors, sink):
                each.setblocking(False)
            async with lab.record() as record:
                for first in (one[0], other[0]):
                    raw.sendto(first, ("10.1.0.2", 0))
                    await forgotten(errors)
                for part in one:
                    raw.sendto(part, ("10.1.0.2", 0))
                async with asyncio.timeout(10):
                    assert len(await asyncio.get_running_loop().sock_recv(sink, 65536)) == 2000
    ends = [journey.end.kind for journey in record.journeys if journey.first.headers.proto == "udp"]
    assert ends == ["unseen", "unseen", "reassembled", "delivered"]


def wire(record, host: str) -> bytes:
    """What one host's wire tap saw of A's and C's datagrams on eth0, as a pcap file."""
    capture = next(each for each in record.raw.captures if each.host == host)
    rows = [struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, 1)]
    rows += [
        struct.pack("<IIII", *divmod(frame.time_ns, 10**9), *[len(frame.data)] * 2) + frame.data
        for frame in capture.frames
        if capture.interfaces[frame.interface] == "eth0"
    ]
    return b"".join(rows)


@pytest.mark.parametrize("version", [4, 6])
async def test_captures_of_both_sides_of_a_nat_have_fragments_in_their_datagrams_flow(tmp_path, version):
    if version == 4:
        async with Lab(topology(NAT)) as lab:
            record = await sent(lab, [4000, 4000, 100], "10.0.0.1")
    else:
        async with Lab(topology6(NAT66)) as lab:
            record = await sent6(lab, [bytes(4000), b"x" * 4000, bytes(100)], "fd01::1")
    for host in "AC":
        (tmp_path / f"{host}.pcap").write_bytes(wire(record, host))
    sides = join_files([tmp_path / "A.pcap", tmp_path / "C.pcap"])
    flows = [sides.flow(id) for id in range(1, sides.flow_count + 1)]
    (flow,) = (flow for flow in flows if {each.proto for each in flow.tuples.values()} == {"udp"})
    assert list(flow.tuples) == ["A", "C"]
    assert flow.packets["original"] == 7
    assert flow.tuples["C"].dport == 7
    assert {change.field for change in flow.changes} == {"dst", "src"}
    for journey in sides.journeys(flow.id):
        assert [seen.side for seen in journey.sightings] == ["A", "C"]
        one, other = (seen.headers.fragment for seen in journey.sightings)
        assert one == other
