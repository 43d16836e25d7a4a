"""Delay, loss, duplication, VLANs and ipvs in a lab: what not every kernel has, so scripts/test-kernel runs it."""

from __future__ import annotations

import pytest

from netemu import Lab, Record
from netemu.topology.load import loads

ROW = """
name: row
hosts:
  A: {interfaces: {eth0: {addresses: [10.0.0.1/24]}}, routes: [{to: default, via: 10.0.0.2}]}
  B: {forwarding: true, interfaces: {eth0: {addresses: [10.0.0.2/24]}, eth1: {addresses: [10.0.1.2/24]}}}
  C:
    interfaces: {eth0: {addresses: [10.0.1.3/24]}}
    routes: [{to: default, via: 10.0.1.2}]
    services: {web: {command: [python3, -m, http.server, "80"], ready: {tcp: 80, within: 60s}}}
links: [{endpoints: ["A:eth0", "B:eth0"]}, {endpoints: ["B:eth1", "C:eth0"]}]
traffic:
  - {name: knock, from: A, udp: {to: "10.0.1.3:9", answers: 0}, within: 20s}
  - {name: web, from: A, http: "http://10.0.1.3/", within: 60s}
  - {name: balanced, from: A, http: "http://10.0.0.2:8080/", within: 60s}
expect:
  - {traffic: knock, packet: request.first, at: "C:eth0 in", dst: "10.0.1.3:9"}
"""


async def on(lab: Lab, host: str, *lines: str) -> None:
    for line in lines:
        done = await lab[host].run(*line.split())
        assert done.returncode == 0, f"{line}: {done.stderr}"


async def knocked(lab: Lab) -> Record:
    async with lab.record() as record:
        await lab.send("knock")
    return record


def seen(record: Record, point: str) -> list[int]:
    """When the datagram was seen at a point: every one that went there, in ns since the epoch."""
    return [
        sighting.time_ns or 0
        for journey in record.journeys
        for sighting in journey.sightings
        if str(sighting.point) == point and sighting.headers.dport == 9
    ]


@pytest.fixture
async def row():
    topology, _ = loads(ROW)
    async with Lab(topology) as lab:
        yield lab


@pytest.mark.needs("sch_netem")
async def test_a_delayed_packet_is_on_the_wire_by_its_delay_later(row):
    await on(row, "B", "tc qdisc add dev eth1 root netem delay 400ms")
    record = await knocked(row)
    (before,), (after,) = seen(record, "B:eth0 in"), seen(record, "B:eth1 out")
    assert 0.4e9 <= after - before < 2e9
    assert (report := row.check(record)).verdict == "pass", report.explain()


@pytest.mark.needs("sch_netem")
async def test_a_lost_packet_is_never_seen_beyond_and_nothing_is_passed_on_it(row):
    """A link that loses all loses the canaries too: its taps are not proven, and the verdict says so."""
    await on(row, "B", "tc qdisc add dev eth1 root netem loss 100%")
    record = await knocked(row)
    assert (len(seen(record, "B:eth0 in")), seen(record, "C:eth0 in")) == (1, [])
    assert row.check(record).verdict in ("fail", "unproven")


@pytest.mark.needs("sch_netem")
async def test_a_packet_that_the_link_doubles_is_seen_twice(row):
    await on(row, "B", "tc qdisc add dev eth1 root netem duplicate 100%")
    record = await knocked(row)
    assert (len(seen(record, "B:eth0 in")), len(seen(record, "C:eth0 in"))) == (1, 2)


@pytest.mark.needs("8021q")
async def test_what_goes_over_a_vlan_made_by_hand_is_answered_but_not_passed(row):
    """The lab did not make those interfaces, so what crosses them is not followed, and that is said."""
    for host, address in (("A", "10.7.0.1/24"), ("B", "10.7.0.2/24")):
        await on(row, host, "ip link add link eth0 name eth0.7 type vlan id 7", f"ip address add {address} dev eth0.7")
        await on(row, host, "ip link set eth0.7 up")
    await on(row, "A", "ip route replace default via 10.7.0.2")
    async with row.record() as record:
        exchange = await row.send("web")
    assert (exchange.result, exchange.fault) == ("200", None)
    notes = [str(tap) for tap in record.health if not tap.sound]
    assert any("the lab did not make eth0.7" in note for note in notes)


@pytest.mark.needs("ip_vs")
async def test_a_request_balanced_by_ipvs_is_answered_and_its_packets_are_seen(row):
    """ipvs rewrites without any nat rule: the request leaves B towards C, and nobody claims that a rule did it."""
    await on(row, "B", "ipvsadm -A -t 10.0.0.2:8080 -s rr", "ipvsadm -a -t 10.0.0.2:8080 -r 10.0.1.3:80 -m")
    async with row.record() as record:
        exchange = await row.send("balanced")
    assert (exchange.result, exchange.fault) == ("200", None)
    requests = [journey for journey in record.journeys if journey.first.headers.dport in (80, 8080)]
    assert any(str(sighting.point) == "C:eth0 in" for journey in requests for sighting in journey.sightings)
    assert not [change for journey in requests for change in journey.rewrites if change.by == "rule"]
