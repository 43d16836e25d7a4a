"""What a topology can say, on the real kernel: tunnels, macvlans, routes, policy rules, offloads, link properties."""

from __future__ import annotations

import array
import asyncio
import fcntl
import socket
import struct
import time

import pytest

from netemu import Lab, generate
from netemu.errors import MachineError, TopologyError
from netemu.topology.model import Topology

ROUTER = {
    "name": "language",
    "networks": {"lan": {}},
    "hosts": {
        "A": {
            "interfaces": {
                "eth0": {"network": "lan", "addresses": ["10.0.0.1/24", "10.0.9.1/24", "fd00::1/64"], "mtu": 1400},
                "vx": {"vxlan": {"id": 42, "dev": "eth0", "remote": "10.0.0.2"}, "addresses": ["10.42.0.1/24"]},
            },
            "routes": [
                {"to": "10.8.0.0/16", "nexthops": [{"via": "10.0.0.2", "weight": 3}, {"via": "10.0.0.3"}]},
                {"to": "10.7.0.0/16", "type": "blackhole", "metric": 7},
                {"to": "10.6.0.0/16", "via": "10.0.0.2", "table": 100, "source": "10.0.9.1"},
                {"to": "fd07::/64", "type": "unreachable"},
            ],
            "policy_rules": [
                {"from": "10.0.9.0/24", "table": 100, "priority": 50},
                {"fwmark": "0x10/0xf0", "table": "main", "priority": 60},
                {"family": "ipv6", "iif": "eth0", "type": "prohibit", "priority": 70},
            ],
        },
        "B": {
            "interfaces": {
                "eth0": {"network": "lan", "addresses": ["10.0.0.2/24", "10.0.9.2/24", "fd00::2/64"]},
                "vx": {"vxlan": {"id": 42, "remote": "10.0.0.1"}, "addresses": ["10.42.0.2/24"]},
            }
        },
        "C": {
            "interfaces": {
                "eth0": {"network": "lan", "addresses": ["10.0.0.3/24"], "offloads": ["gso", "tx"]},
                "mv": {"macvlan": {"dev": "eth0"}, "addresses": ["10.3.0.3/24"], "mac": "02:00:00:00:00:07"},
            }
        },
        "D": {
            "interfaces": {"eth0": {"network": "lan", "addresses": ["10.3.0.4/24", "10.0.0.4/24"], "offloads": True}}
        },
    },
}


@pytest.fixture
async def lab():
    async with Lab(Topology.model_validate(ROUTER)) as lab:
        yield lab


async def said(lab, host: str, *command: str) -> str:
    done = await lab[host].run(*command)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def reaches(one, other, address: str) -> None:
    """A datagram from one host comes to an address of the other."""
    loop = asyncio.get_running_loop()
    with one.open_socket(kind=socket.SOCK_DGRAM) as sender, other.open_socket(kind=socket.SOCK_DGRAM) as receiver:
        receiver.bind((address, 7))
        await loop.sock_sendto(sender, b"hello", (address, 7))
        assert await asyncio.wait_for(loop.sock_recv(receiver, 100), 10) == b"hello"


async def test_a_gateway_behind_an_interface_without_a_subnet_is_reached_as_a_route_says():
    """As Calico's pods have it; whichever route is written first, and again when the interface was down."""
    routes = [
        *({"to": "default", "via": "169.254.1.1"}, {"to": "169.254.1.1/32", "dev": "eth0"}),
        *({"to": "::/0", "via": "fd99::1"}, {"to": "fd99::1/128", "dev": "eth0"}),
    ]
    pod = {"interfaces": {"eth0": {"addresses": ["10.1.0.1/32", "fd01::1/128"]}}, "routes": routes}
    hosts = {"A": pod, "B": {"interfaces": {"eth0": {"addresses": ["169.254.1.1/32", "fd99::1/128"]}}}}
    document = {"name": "calico", "hosts": hosts, "links": [{"endpoints": ["A:eth0", "B:eth0"]}]}
    async with Lab(document) as lab:
        there = [await said(lab, "A", "ip", family, "route", "show", "default") for family in ("-4", "-6")]
        assert [text.split(" dev ")[0] for text in there] == ["default via 169.254.1.1", "default via fd99::1"]
        assert lab.linkage is not None
        await lab.linkage.set_down(("A", "eth0"))
        await lab.linkage.set_up(("A", "eth0"))
        assert [await said(lab, "A", "ip", family, "route", "show", "default") for family in ("-4", "-6")] == there


async def test_routes_of_every_kind_are_the_kernels(lab):
    main = await said(lab, "A", "ip", "route")
    assert "blackhole 10.7.0.0/16" in main
    assert "metric 7" in main
    assert "nexthop via 10.0.0.2 dev eth0 weight 3" in main
    assert "nexthop via 10.0.0.3 dev eth0 weight 1" in main
    assert "10.6.0.0/16 via 10.0.0.2 dev eth0 proto static src 10.0.9.1" in await said(
        lab, "A", "ip", "route", "show", "table", "100"
    )
    assert "unreachable fd07::/64" in await said(lab, "A", "ip", "-6", "route")


async def test_policy_rules_are_the_kernels(lab):
    rules = await said(lab, "A", "ip", "rule")
    assert "50:	from 10.0.9.0/24 lookup 100" in rules
    assert "60:	from all fwmark 0x10/0xf0 lookup main" in rules
    assert "70:	from all iif eth0 prohibit" in await said(lab, "A", "ip", "-6", "rule")


async def test_a_tunnel_carries_packets(lab):
    await reaches(lab["A"], lab["B"], "10.42.0.2")
    assert "vxlan id 42 remote 10.0.0.2 dev eth0" in await said(lab, "A", "ip", "-d", "link", "show", "vx")


async def test_a_macvlan_carries_packets(lab):
    await reaches(lab["D"], lab["C"], "10.3.0.3")
    assert "02:00:00:00:00:07" in await said(lab, "C", "ip", "link", "show", "mv")


async def test_offloads_are_those_that_the_topology_leaves_on(lab):
    commands = {"tx": 0x16, "tso": 0x1E, "gso": 0x23, "gro": 0x2B}  # ETHTOOL_G… of linux/ethtool.h

    def on(host: str) -> set[str]:
        with lab[host].open_socket() as control:
            return {name for name, command in commands.items() if asked(control, command)}

    def asked(control: socket.socket, command: int) -> int:
        value = array.array("I", [command, 0])
        fcntl.ioctl(control, 0x8946, struct.pack("16sP16x", b"eth0", value.buffer_info()[0]))
        return value[1]

    assert on("A") == set()
    assert on("C") == {"tx", "gso"}
    assert {"tx", "tso", "gso"} <= on("D")


def limited(**properties: object) -> Topology:
    """A and B by a link; `properties` are of the link, or of A's or B's end."""
    link = {key: value for key, value in properties.items() if key not in ("A", "B")}
    hosts = {
        name: {"interfaces": {"e": {"addresses": [f"10.0.0.{number}/24"], **properties.get(name, {})}}}
        for number, name in enumerate("AB", 1)
    }
    links = [{"endpoints": ["A:e", "B:e"], **link}]
    return Topology.model_validate({"name": "limited", "hosts": hosts, "links": links})


async def shapes(lab) -> list[str]:
    return [(await said(lab, host, "tc", "qdisc", "show", "dev", "e")).split()[1] for host in "AB"]


async def test_a_links_properties_hold_in_both_directions():
    async with Lab(limited(rate="1mbit", queue="50packets")) as lab:
        assert await shapes(lab) == ["tbf", "tbf"]
        assert "rate 1Mbit" in await said(lab, "A", "tc", "qdisc", "show", "dev", "e")


@pytest.mark.parametrize(("end", "key", "shaped"), [("A", "egress", 0), ("A", "ingress", 1), ("B", "ingress", 0)])
async def test_an_interfaces_properties_hold_in_one_direction(end, key, shaped):
    async with Lab(limited(**{end: {key: {"rate": "2mbit"}}})) as lab:
        found = await shapes(lab)
        assert found[shaped] == "tbf"
        assert found[1 - shaped] != "tbf"


async def test_what_is_said_of_one_direction_goes_over_what_is_said_of_the_link():
    async with Lab(limited(rate="1mbit", A={"egress": {"rate": "3mbit"}})) as lab:
        assert "rate 3Mbit" in await said(lab, "A", "tc", "qdisc", "show", "dev", "e")
        assert "rate 1Mbit" in await said(lab, "B", "tc", "qdisc", "show", "dev", "e")


async def test_packets_to_a_host_on_a_network_are_held_to_its_ingress():
    hosts = {
        name: {"interfaces": {"e": {"network": "lan", "addresses": [f"10.0.0.{number}/24"], **more}}}
        for number, (name, more) in enumerate({"A": {}, "B": {"ingress": {"rate": "80kbit"}}}.items(), 1)
    }
    async with Lab(Topology.model_validate({"name": "n", "networks": {"lan": {}}, "hosts": hosts})) as lab:
        receiver = lab["B"].open_socket(kind=socket.SOCK_DGRAM)
        receiver.bind(("10.0.0.2", 7))
        sender = lab["A"].open_socket(kind=socket.SOCK_DGRAM)
        loop = asyncio.get_running_loop()
        with receiver, sender:
            start = time.perf_counter()
            for _ in range(10):
                await loop.sock_sendto(sender, bytes(1000), ("10.0.0.2", 7))
            for _ in range(10):
                await asyncio.wait_for(loop.sock_recv(receiver, 2000), 30)
            assert time.perf_counter() - start > 0.5, "10 kB at 10 kB/s, less a bucket of two frames"


@pytest.mark.parametrize(
    ("feature", "ask"),
    [("netem", limited(delay="10ms", loss="1%")), ("tbf", limited(rate="1mbit"))],
)
async def test_a_feature_that_the_kernel_lacks_is_told_before_anything_is_built(monkeypatch, feature, ask):
    monkeypatch.setattr("netemu.lab.needs.missing", lambda wanted: dict.fromkeys(wanted, "not so"))
    monkeypatch.setattr("netemu.lab.lab.Builder", None)
    with pytest.raises(MachineError) as caught:
        await Lab(ask).__aenter__()
    assert str(caught.value) == f"links[0]: this kernel has no {feature} (not so)"
    assert caught.value.exit_code == 4


async def test_what_the_kernel_refuses_is_told_at_its_place():
    routes = [{"to": "10.1.0.0/24", "via": "10.0.0.2"}, {"to": "10.2.0.0/24", "via": "10.99.0.1", "dev": "e"}]
    document = limited().model_dump(by_alias=True)
    document["hosts"]["A"]["routes"] = routes
    with pytest.raises(TopologyError, match=r"^hosts\.A\.routes\[1\]: .*10\.2\.0\.0/24"):
        async with Lab(Topology.model_validate(document)):
            pass


@pytest.mark.parametrize("shape", ["star", "line", "ring", "tree", "mesh"])
async def test_a_generated_lab_comes_up_and_its_ends_reach_each_other(shape):
    async with Lab(generate(shape, 6, ipv6=True, traffic=True)) as lab:
        report = await lab.prove()
        assert report.verdict == "pass", report.explain()
        for host in list(lab.topology.hosts.values())[1:]:
            for interface in host.interfaces.values():
                for address in interface.addresses:
                    await reachable(lab, str(address.ip))


async def reachable(lab, address: str) -> None:
    """The first host is answered from an address, whoever has it: a refusal is an answer."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with next(iter(lab.hosts.values())).open_socket(family) as sock, pytest.raises(ConnectionRefusedError):
        await asyncio.wait_for(asyncio.get_running_loop().sock_connect(sock, (address, 9)), 10)


SLOW = {"rate": "200kbit", "queue": "500packets"}


async def test_a_record_ends_when_no_link_holds_a_packet_back_any_more():
    """Twenty datagrams of 1,000 bytes take nearly a second at 200 kbit/s: all of them are in the record, whole."""
    topology = generate("line", 3, properties=SLOW)
    async with Lab(topology) as lab:
        async with lab.record() as record:
            with lab["r1"].open_socket(kind=socket.SOCK_DGRAM) as sender:
                for _ in range(20):
                    await asyncio.get_running_loop().sock_sendto(sender, bytes(1000), ("10.0.0.6", 9))
        assert all(tap.sound for tap in record.health), [str(tap) for tap in record.health]
        arrived = [
            journey
            for journey in record.journeys
            for sighting in journey.sightings
            if (str(sighting.point), sighting.headers.dport) == ("r3:eth0 in", 9)
        ]
        assert len(arrived) == 20
        assert all(journey.complete for journey in arrived)


@pytest.mark.needs("sch_netem")
async def test_a_link_that_loses_some_packets_still_proves_its_taps():
    async with Lab(generate("line", 3, properties={"loss": "30%", "delay": "20ms"})) as lab:
        async with lab.record() as record:
            pass
        assert all(tap.sound for tap in record.health), [str(tap) for tap in record.health]


@pytest.mark.needs("sch_netem")
async def test_a_delayed_exchange_is_recorded_whole():
    async with Lab(generate("line", 3, properties={"delay": "100ms", "jitter": "10ms"}, traffic=True)) as lab:
        report = await lab.prove()
        assert report.verdict == "pass", report.explain()
        assert "netem" in await said(lab, "r2", "tc", "qdisc", "show", "dev", "eth1")
