"""How packets end, on a real kernel: what ICMP errors quote, who got a broadcast, which packets are alike."""

from __future__ import annotations

import json
import re

import pytest

from netemu import Lab, report_json
from netemu.check.explain import Surroundings, last_seen
from netemu.check.report import journey_json
from netemu.topology.load import loads

LINE = """
name: line
hosts:
  A:
    interfaces: {eth0: {addresses: [10.0.0.2/24]}}
    routes: [{to: default, via: 10.0.0.1}]
    sysctls: {net.ipv4.neigh.eth0.retrans_time_ms: 50}
  R1:
    forwarding: true
    interfaces: {eth0: {addresses: [10.0.0.1/24]}, eth1: {addresses: [10.1.0.1/24]}}
    routes: [{to: 10.2.0.0/24, via: 10.1.0.2}, {to: 10.3.0.0/24, via: 10.1.0.2}]
    iptables: |
      *nat
      -A PREROUTING -d 10.0.0.1 -p udp --dport 7 -j DNAT --to-destination 10.3.0.2:9
      -A PREROUTING -d 10.0.0.1 -p udp --dport 33434:33500 -j DNAT --to-destination 10.3.0.2
      -A POSTROUTING -d 10.3.0.2 -p udp -j SNAT --to-source 10.1.0.1
      COMMIT
  R2:
    forwarding: true
    interfaces: {eth0: {addresses: [10.1.0.2/24]}, eth1: {addresses: [10.2.0.1/24]}}
    routes: [{to: 10.0.0.0/24, via: 10.1.0.1}, {to: 10.3.0.0/24, via: 10.2.0.2}]
    iptables: |
      *filter
      -A FORWARD -p udp --dport 1001 -j REJECT
      -A FORWARD -p udp --dport 1002 -j DROP
      COMMIT
  R3:
    forwarding: true
    interfaces: {eth0: {addresses: [10.2.0.2/24]}, eth1: {addresses: [10.3.0.1/24], mtu: 1000}}
    routes: [{to: 10.0.0.0/24, via: 10.2.0.1}, {to: 10.1.0.0/24, via: 10.2.0.1}]
  B:
    interfaces: {eth0: {addresses: [10.3.0.2/24], mtu: 1000}}
    routes: [{to: default, via: 10.3.0.1}]
links:
  - endpoints: ["A:eth0", "R1:eth0"]
  - endpoints: ["R1:eth1", "R2:eth0"]
  - endpoints: ["R2:eth1", "R3:eth0"]
  - endpoints: ["R3:eth1", "B:eth0"]
"""
SEND = """import json, socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("", 4000))
for to, port, ttl, size, wait in json.loads(sys.argv[1]):
    s.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
    s.setsockopt(socket.IPPROTO_IP, 10, 3)
    s.setsockopt(socket.IPPROTO_IP, 11, wait)  # IP_RECVERR
    s.sendto(b"x" * size, (to, port))
    if wait:
        s.settimeout(3)
        try:
            s.recvfrom(2000)
        except OSError:
            pass
"""


@pytest.fixture
async def line():
    topology, _ = loads(LINE)
    async with Lab(topology) as lab:
        yield lab


async def send(lab: Lab, host: str, *datagrams: tuple[str, int, int, int, bool]):
    """Datagrams (to, port, ttl, size, whether to wait for an error) from one socket, and the record of it."""
    async with lab.record() as record:
        done = await lab[host].run("python3", "-c", SEND, json.dumps(datagrams))
        assert done.returncode == 0, done.stderr
    return record


def requests(record):
    return [each for each in record.journeys if each.first.headers.proto == "udp"]


def told(journey):
    end = journey.end
    return (end.kind, str(end.at.host), end.why, [error.kind for error in journey.errors])


def reconciled(record):
    """Each error is told by both sides, goes against what it quotes, and is no packet of the flow."""
    for journey in record.journeys:
        if journey.quotes is not None:
            about = record.journeys[journey.quotes - 1]
            assert journey.id in [error.journey for error in about.errors]
            assert (journey.flow, journey.nth) == (about.flow, 0)
            assert journey.direction != about.direction
            assert journey.error.among == 1
        elif journey.first.headers.proto == "icmp":
            raise AssertionError(f"an error that quotes nothing: {journey}")


@pytest.mark.parametrize("through_nat", [False, True])
async def test_a_traceroute_names_the_host_at_which_each_ttl_ran_out(line, through_nat):
    to = "10.0.0.1" if through_nat else "10.3.0.2"
    record = await send(line, "A", *((to, 33434, ttl, 8, True) for ttl in (1, 2, 3, 4)))
    reconciled(record)
    assert [told(each) for each in requests(record)] == [
        ("unseen", "R1", "ttl", ["time-exceeded"]),
        ("unseen", "R2", "ttl", ["time-exceeded"]),
        ("unseen", "R3", "ttl", ["time-exceeded"]),
        ("delivered", "B", "refused", ["port-unreachable"]),
    ]


async def test_a_refusal_through_dnat_quotes_the_request_as_it_was_at_its_own_host(line):
    record = await send(line, "A", ("10.0.0.1", 7, 64, 8, True))
    reconciled(record)
    (request,) = requests(record)
    assert told(request) == ("delivered", "B", "refused", ["port-unreachable"])
    error = record.journeys[request.errors[0].journey - 1]
    assert (error.first.headers.src, error.end.at.host, error.end.kind) == ("10.3.0.2", "A", "delivered")
    (flow,) = record.flows
    assert (len(flow.packets("original")), len(flow.packets("reply")), len(flow.journeys)) == (1, 0, 2)


async def test_a_rejection_a_silent_drop_and_a_missing_route_are_told_apart(line):
    record = await send(
        line,
        "A",
        ("10.3.0.2", 1001, 64, 8, True),
        ("10.3.0.2", 1002, 64, 8, False),
        ("10.9.0.1", 1003, 64, 8, True),
    )
    reconciled(record)
    assert [told(each) for each in requests(record)] == [
        ("dropped", "R2", "rejected", ["port-unreachable"]),
        ("dropped", "R2", "rule", []),
        ("unseen", "R1", "no-route", ["net-unreachable"]),
    ]


async def test_a_packet_that_is_too_long_for_the_next_link_ends_there_by_its_mtu(line):
    record = await send(line, "A", ("10.3.0.2", 1004, 64, 1200, True))
    reconciled(record)
    (request,) = requests(record)
    assert told(request) == ("unseen", "R3", "mtu", ["fragmentation-needed"])
    assert request.errors[0].mtu == 1000


async def test_a_neighbour_that_is_not_there_is_unreachable_by_an_error_of_the_host_itself(line):
    """The error comes when ARP has given up, on lo: the packet left no wire."""
    record = await send(line, "A", ("10.0.0.77", 1005, 64, 8, True))
    reconciled(record)
    (request,) = requests(record)
    assert told(request) == ("unseen", "A", "unreachable", ["host-unreachable"])
    error = record.journeys[request.errors[0].journey - 1]
    assert {seen.point.host for seen in error.sightings} == {"A"}
    (asked,) = record.arp.exchanges(target="10.0.0.77")
    assert (str(asked.point), len(asked.requests), asked.answered) == ("A:eth0 out", 3, False)
    around = Surroundings(arp=record.arp)
    assert "could not reach the next host (nobody answered its ARP requests for 10.0.0.77)" in last_seen(
        request, around
    )
    assert journey_json(request, around=around)["ends"][0]["arp_unanswered"] == "10.0.0.77"
    answered = record.arp.exchanges(answered=True)
    assert all(each.hosts for each in answered)


LAN = """
name: lan
networks: {lan: {}}
hosts:
  A: {interfaces: {eth0: {network: lan, addresses: [10.0.0.1/24, "fd00::1/64"]}}}
  B: {interfaces: {eth0: {network: lan, addresses: [10.0.0.2/24, "fd00::2/64"]}}, SERVICES}
  C: {interfaces: {eth0: {network: lan, addresses: [10.0.0.3/24, "fd00::3/64"]}}}
"""
CAST = """import json, socket, sys
to, listens, loop, ttl, times = json.loads(sys.argv[1])
family = socket.AF_INET6 if ":" in to else socket.AF_INET
number = socket.if_nametoindex("eth0").to_bytes(4, sys.byteorder)
def asked(s, *options):
    for level, name, value in options:
        s.setsockopt(level, name, value)
with socket.socket(family, socket.SOCK_DGRAM) as s, socket.socket(family, socket.SOCK_DGRAM) as own:
    s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    ip, v6 = socket.IPPROTO_IP, socket.IPPROTO_IPV6
    here = socket.inet_aton("10.0.0.1")
    if family == socket.AF_INET:
        asked(s, (ip, socket.IP_MULTICAST_IF, here), (ip, socket.IP_MULTICAST_LOOP, loop))
        asked(s, (ip, socket.IP_MULTICAST_TTL, ttl))
    else:
        asked(s, (v6, socket.IPV6_MULTICAST_IF, number), (v6, socket.IPV6_MULTICAST_LOOP, loop))
        asked(s, (v6, socket.IPV6_MULTICAST_HOPS, ttl))
    if listens:
        own.bind(("", 5000))
        if to.startswith("239"):
            asked(own, (ip, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(to) + here))
        elif family == socket.AF_INET6:
            asked(own, (v6, socket.IPV6_JOIN_GROUP, socket.inet_pton(family, to) + number))
    for _ in range(times):
        s.sendto(b"all", (to, 5000))
    own.settimeout(5)
    for _ in range(times if listens else 0):
        own.recv(99)
"""
JOIN = json.dumps("""import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton("239.1.2.3") + socket.inet_aton("10.0.0.2"))
s.bind(("", 5000))
while True: s.recvfrom(99)
""")
MEMBER = f"services: {{member: {{command: [python3, -c, {JOIN}], ready: {{udp: 5000}}}}}}"
NOBODY = LAN.replace(", SERVICES", "")


async def cast(lab: Lab, to: str, listens: int = 0, loop: int = 1, ttl: int = 1, times: int = 1):
    """Datagrams from A to several, and the record of it; `listens`: A is a receiver itself, and got them."""
    async with lab.record() as record:
        done = await lab["A"].run("python3", "-c", CAST, json.dumps([to, listens, loop, ttl, times]))
        assert done.returncode == 0, done.stderr
    return record


def ends(journey):
    return [(end.kind, str(end.at)) for end in journey.ends]


async def test_a_broadcast_has_an_end_at_every_host_and_a_multicast_at_every_member():
    topology, _ = loads(NOBODY)
    async with Lab(topology) as lab:
        record = await cast(lab, "10.0.0.255")
        (sent,) = requests(record)
        assert (sent.certain, sent.complete) == (True, True)
        assert [(end.kind, end.at.host) for end in sent.ends] == [("delivered", host) for host in "BCA"]
        assert sent.end == sent.ends[0]
        (told,) = [each for each in report_json(lab.check(record, []))["journeys"] if each["proto"] == "udp"]
        assert [end["at"] for end in told["ends"]] == ["B@input.nat", "C@input.nat", "A@input.nat"]


async def test_a_multicast_is_delivered_to_its_members_alone():
    topology, _ = loads(LAN.replace("SERVICES", MEMBER))
    async with Lab(topology) as lab:
        (sent,) = requests(await cast(lab, "239.1.2.3"))
    assert [(end.kind, end.at.host) for end in sent.ends] == [("delivered", "B"), ("unseen", "C")]
    assert sent.certain


OTHERS = [("unseen", "B@prerouting.nat"), ("unseen", "C@prerouting.nat")]
OWN = ("delivered", "A@input.nat")


@pytest.mark.parametrize("to", ["239.1.2.3", "ff05::5"])
async def test_the_sender_of_a_multicast_is_an_end_of_its_journey_where_it_gets_a_copy(to):
    topology, _ = loads(NOBODY)
    async with Lab(topology) as lab:
        for listens, loop, ttl, expected in (
            (0, 1, 1, OTHERS),
            (0, 0, 1, OTHERS),
            (1, 1, 1, [*OTHERS, OWN]),
            (1, 1, 0, [OWN]),  # it must not leave the host
        ):
            found = requests(await cast(lab, to, listens, loop, ttl))
            assert [ends(each) for each in found] == [expected], (listens, loop, ttl)
            assert found[0].certain


@pytest.mark.parametrize("to", ["10.0.0.255", "239.1.2.3", "ff05::5", "ff02::1"])
async def test_of_packets_in_a_row_each_has_its_own_copy(to):
    topology, _ = loads(NOBODY)
    async with Lab(topology) as lab:
        for ttl in (1, 0):
            record = await cast(lab, to, 1, 1, ttl, times=8)
            found = requests(record)
            assert [(each.nth, each.certain, ends(each)[-1]) for each in found] == [(n, True, OWN) for n in range(1, 9)]
            gone = ttl or to == "10.0.0.255"
            assert {len(each.ends) for each in found} == {3 if gone else 1}
            (flow,) = [each for each in record.flows if each.original.proto == "udp"]
            assert len(flow.journeys) == 8


async def test_all_requests_of_a_broadcast_came_to_its_receiver():
    traffic = """
traffic: [{name: all, from: A, command: [python3, -c, SCRIPT, '["10.0.0.255", 1, 1, 1, 2]']}]
expect:
  - {traffic: all, packet: request.all, at: "B:eth0 in"}
  - {traffic: all, packet: request.all, at: "A@input.nat"}
  - {traffic: all, packet: request.all, path: ["A:eth0 out", "B:eth0 in", "C:eth0 in"]}
"""
    only4 = re.sub(
        r', "fd00::./64"\]}}', "]}}, sysctls: {net.ipv6.conf.eth0.disable_ipv6: 1}", NOBODY
    )  # no other packets
    topology, _ = loads(only4 + traffic.replace("SCRIPT", json.dumps(CAST)))
    async with Lab(topology) as lab:
        async with lab.record() as record:
            await lab.send("all")
        report = lab.check(record)
    assert [str(check.verdict) for check in report.checks if "request.all" in check.name] == ["pass"] * 3


async def test_packet_and_copy_are_rewritten_each_by_itself_and_the_copy_walks_the_nat_chain_first():
    """IPv4 clones before POSTROUTING: the packet finds the manip set up (nf_nat_inet_fn)."""
    rules = "iptables: '*nat\n\n-A POSTROUTING -p udp -j SNAT --to-source 10.0.0.1:6000\n\nCOMMIT\n\n'}"
    topology, _ = loads(NOBODY.replace('"fd00::1/64"]}}}', '"fd00::1/64"]}}, ' + rules))
    async with Lab(topology) as lab:
        (sent,) = requests(await cast(lab, "10.0.0.255"))
    found = [(each.place, each.field, each.after, each.by) for each in sent.rewrites]
    copied = sent.visits(sent.sightings[3].point)[1]
    assert found == [(3, "src", "10.0.0.1:6000", "conntrack"), (copied, "src", "10.0.0.1:6000", "rule")]
    assert [end.kind for end in sent.ends] == ["delivered"] * 3


PAIR = """
name: pair
hosts:
  A:
    interfaces: {eth0: {addresses: [10.0.0.1/24]}}
  B:
    interfaces: {eth0: {addresses: [10.0.0.2/24]}}
    iptables: |
      *filter
      -A INPUT -p udp --dport 7000 -m statistic --mode nth --every 2 --packet 1 -j DROP
      -A INPUT -p tcp --dport 7001 --syn -m statistic --mode nth --every 2 --packet 0 -j DROP
      COMMIT
    services: {web: {command: [python3, -m, http.server, "7001"], ready: {tcp: 7001}}}
links: [{endpoints: ["A:eth0", "B:eth0"]}]
"""


async def test_of_two_identical_datagrams_the_trace_tells_which_one_a_rule_dropped():
    topology, _ = loads(PAIR)
    async with Lab(topology) as lab:
        record = await send(lab, "A", ("10.0.0.2", 7000, 64, 8, False), ("10.0.0.2", 7000, 64, 8, False))
        sent = requests(record)
    assert [(each.alike, each.certain, each.end.why) for each in sent] == [(2, True, "refused"), (2, True, "rule")]


async def test_of_two_identical_datagrams_nothing_tells_which_one_the_wire_lost():
    """An egress filter of A's own namespace drops the second frame behind the hooks, before any wire."""
    topology, _ = loads(PAIR)
    drop = """table netdev lost {
        chain out { type filter hook egress device eth0 priority 0; udp dport 7002 numgen inc mod 2 == 1 drop; }
    }"""
    async with Lab(topology) as lab:
        done = await lab["A"].run("nft", "-f", "-", input=drop.encode())
        assert done.returncode == 0, done.stderr
        record = await send(lab, "A", ("10.0.0.2", 7002, 64, 8, False), ("10.0.0.2", 7002, 64, 8, False))
        sent = requests(record)
    assert [(each.alike, each.certain) for each in sent] == [(2, False), (2, False)]
    assert [each.end.at.host for each in sent] == ["B", "A"]


async def test_a_syn_that_was_dropped_is_sent_again_and_says_what_it_repeats():
    topology, _ = loads(PAIR)
    get = "import socket; s = socket.create_connection(('10.0.0.2', 7001), 5); s.close()"
    async with Lab(topology) as lab, lab.record() as record:
        done = await lab["A"].run("python3", "-c", get)
        assert done.returncode == 0, done.stderr
    syns = [each for each in record.journeys if each.first.headers.flags == "SYN"]
    assert [(each.end.why, each.retransmits) for each in syns] == [("rule", None), (None, syns[0].id)]
    assert not [each for each in record.journeys if each.retransmits and each not in syns]
