"""Topologies of a regular shape: every host reaches every address, by routes that are worked out."""

from __future__ import annotations

import time
from ipaddress import IPv4Address, IPv6Address, ip_network
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netemu.errors import UsageError
from netemu.topology.dump import to_yaml
from netemu.topology.generate import generate
from netemu.topology.library import find, shipped
from netemu.topology.load import load, loads
from netemu.topology.model import Topology
from netemu.topology.segments import segments
from netemu.topology.verify import faults

SHAPES = ("star", "line", "ring", "tree", "mesh")


class Walk:
    """Sends packets about a topology on paper: longest prefix first, as a kernel does."""

    def __init__(self, topology: Topology) -> None:
        self.topology = topology
        self.owner = {
            (segment, address.ip): host
            for segment, ends in segments(topology).items()
            for host, name in ends
            for address in topology.hosts[host].interfaces[name].addresses
        }
        self.segment_of = {end: segment for segment, ends in segments(topology).items() for end in ends}

    def hops(self, host: str, to: IPv4Address | IPv6Address) -> int | None:
        """How many hosts a packet passes until it is where it is to be; None if it never is."""
        for count in range(len(self.topology.hosts) + 1):
            here = self.topology.hosts[host]
            if any(address.ip == to for interface in here.interfaces.values() for address in interface.addresses):
                return count
            if count and not here.forwarding:
                return None
            following = self._next(host, to)
            if following is None:
                return None
            host = following
        return None

    def _next(self, host: str, to: IPv4Address | IPv6Address) -> str | None:
        here = self.topology.hosts[host]
        connected = [
            (address.network.prefixlen, name, to)
            for name, interface in here.interfaces.items()
            for address in interface.addresses
            if to in address.network
        ]
        routed = [
            (route.network.prefixlen, self._out(host, route.via), route.via)
            for route in here.routes
            if to in route.network
        ]
        _, out, via = max([*connected, *routed], key=lambda way: way[0], default=(0, None, to))
        return self.owner.get((self.segment_of.get((host, out)), via))

    def _out(self, host: str, via: IPv4Address | IPv6Address) -> str | None:
        for name, interface in self.topology.hosts[host].interfaces.items():
            if any(via in address.network for address in interface.addresses):
                return name
        return None


def addresses(topology: Topology) -> list[IPv4Address | IPv6Address]:
    return [
        address.ip
        for host in topology.hosts.values()
        for interface in host.interfaces.values()
        for address in interface.addresses
    ]


@settings(max_examples=60, deadline=None)
@given(
    shape=st.sampled_from(SHAPES),
    size=st.integers(3, 24),
    fanout=st.integers(1, 4),
    versions=st.sampled_from([(True, False), (False, True), (True, True)]),
)
def test_every_host_reaches_every_address(shape, size, fanout, versions):
    topology = generate(shape, size, fanout=fanout, ipv4=versions[0], ipv6=versions[1])
    assert len(topology.hosts) == size
    assert faults(topology) == []
    walk = Walk(topology)
    for host in topology.hosts:
        for address in addresses(topology):
            assert walk.hops(host, address) is not None, (host, address)


@pytest.mark.parametrize(("shape", "farthest"), [("star", 1), ("line", 8), ("ring", 5), ("mesh", 2), ("tree", 6)])
def test_packets_take_the_short_way(shape, farthest):
    topology = generate(shape, 9)
    walk = Walk(topology)
    assert max(walk.hops(host, address) for host in topology.hosts for address in addresses(topology)) <= farthest


@pytest.mark.parametrize(
    ("shape", "size", "links", "routers"),
    [("star", 4, 0, 0), ("line", 4, 3, 2), ("ring", 4, 4, 4), ("tree", 7, 6, 3), ("mesh", 5, 10, 5)],
)
def test_a_shape_has_its_links_and_routers(shape, size, links, routers):
    topology = generate(shape, size)
    assert len(topology.links) == links
    assert sum(host.forwarding for host in topology.hosts.values()) == routers
    assert topology.name == f"{shape}{size}"


def test_hosts_are_named_for_what_they_do():
    assert list(generate("star", 2).hosts) == ["h1", "h2"]
    assert list(generate("line", 3).hosts) == ["r1", "r2", "r3"]
    assert list(generate("tree", 6).hosts) == ["r1", "r2", "r3", "h4", "h5", "h6"]


def test_a_long_line_is_made_in_good_time_with_few_routes_and_a_ttl_that_suffices():
    start = time.process_time()
    topology = generate("line", 200)
    assert time.process_time() - start < 3
    assert max(len(host.routes) for host in topology.hosts.values()) < 20
    assert all(host.sysctls == {"net.ipv4.ip_default_ttl": 255} for host in topology.hosts.values())
    assert not generate("line", 60).hosts["r1"].sysctls


def test_every_links_properties_are_those_that_are_asked_for():
    line = generate("line", 3, properties={"delay": "5ms"})
    assert [link.given() for link in line.links] == [{"delay": "5ms"}] * 2
    star = generate("star", 1, properties={"loss": "1%"}).hosts["h1"].interfaces["eth0"]
    assert star.egress.given() == star.ingress.given() == {"loss": "1%"}


@pytest.mark.parametrize(("ipv4", "url"), [(True, "http://10.0.0.6/"), (False, "http://[fd00::6]/")])
def test_traffic_goes_from_the_first_to_the_last(ipv4, url):
    topology = generate("line", 3, traffic=True, ipv4=ipv4, ipv6=not ipv4)
    (item,) = topology.traffic
    assert (item.source, item.http) == ("r1", url)
    assert topology.hosts["r3"].services["web"].ready.tcp == 80


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("cube", 3), "no shape 'cube': there are star, line, ring, tree, mesh"),
        (("ring", 2), "a ring of 2 hosts: 3 to 10000 can be made"),
        (("star", 10_001), "a star of 10001 hosts: 1 to 10000 can be made"),
        (("mesh", 201), "a mesh of 201 hosts: 2 to 200 can be made"),
        (("line", 300), "a line of 300: packets do not get farther than 250 hosts"),
    ],
)
def test_a_shape_that_can_not_be_is_refused(arguments, says):
    with pytest.raises(UsageError) as caught:
        generate(*arguments)
    assert str(caught.value) == says
    with pytest.raises(UsageError, match="fanout"):
        generate("tree", 3, fanout=0)
    for size in ("5", 5.0, True, None):
        with pytest.raises(UsageError, match=f"{size!r} is no size: a whole number is due"):
            generate("star", size)
    with pytest.raises(UsageError, match="neither"):
        generate("tree", 3, ipv4=False)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_generated_topology_is_written_as_a_file_that_loads_to_the_same(shape):
    topology = generate(shape, 7, ipv6=True, traffic=True, properties={"delay": "1ms", "rate": "1mbit"})
    text = to_yaml(topology)
    assert loads(text)[0] == topology
    assert max(map(len, text.splitlines())) <= 125


@pytest.mark.parametrize("name", shipped())
def test_a_shipped_topology_is_written_as_a_file_that_loads_to_the_same(name):
    topology, _ = load(find(name))
    assert loads(to_yaml(topology))[0] == topology


def test_all_that_a_topology_can_say_is_written_and_read_back():
    host = {
        "interfaces": {
            "eth0": {
                "network": "lan",
                "addresses": ["10.0.0.1/24"],
                "offloads": ["tx"],
                "egress": {"queue": "5packets"},
            },
            "mv": {"macvlan": {"dev": "eth0", "mode": "vepa"}},
            "vx": {"vxlan": {"id": 7, "group": "239.0.0.1", "dev": "eth0"}},
        },
        "routes": [{"to": "default", "nexthops": [{"via": "10.0.0.9", "weight": 2}, {"dev": "eth0"}]}],
        "policy_rules": [{"from": "10.0.0.0/24", "fwmark": "0x1/0xff", "table": 7}],
        "nft": "table ip t {\n\tchain c {\n\t}\n}\n",
        "files": {
            "/etc/text": "one\n two\n",
            "/etc/bytes": {"content": b"\xff\x00", "mode": "0600"},
            "/etc/yes": "yes",
        },
        "environment": {"A": "1", "B": "true", "C": ""},
        "user": "nobody",
        "services": {"s": {"command": ["sleep", "5"], "after": [], "restart": "always", "ready": {"log": "^up: .*"}}},
    }
    document = {
        "name": "all",
        "backend": "legacy",
        "networks": {"lan": {"subnets": ["10.0.0.0/24"]}},
        "hosts": {"A": host},
    }
    topology = Topology.model_validate(document)
    assert loads(to_yaml(topology))[0] == topology


def test_subnets_of_links_do_not_overlap():
    interfaces = [interface for host in generate("mesh", 9).hosts.values() for interface in host.interfaces.values()]
    nets = sorted({address.network for interface in interfaces for address in interface.addresses})
    assert len(nets) == 36
    assert not any(one.overlaps(other) for one, other in pairwise(nets))
    assert all(net.subnet_of(ip_network("10.0.0.0/8")) for net in nets)


def test_a_name_that_is_none_is_refused():
    with pytest.raises(UsageError, match="'a b' is no name for a lab"):
        generate("star", 2, name="a b")
