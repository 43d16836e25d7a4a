"""What a schema can't say: names, addresses and links that must fit each other."""

from __future__ import annotations

import pytest

from netemu.topology.keys import key_text
from netemu.topology.model import Topology
from netemu.topology.segments import segments, split_endpoint
from netemu.topology.strict import of_shape
from netemu.topology.verify import faults


def lab(**changes: object) -> Topology:
    """A and B on a network, B and C by a link; `changes` replace whole sections."""
    sections = {
        "name": "small",
        "networks": {"lan": {}},
        "hosts": {
            "A": {"interfaces": on_lan("10.0.0.1/24", "fd00::1/64")},
            "B": {"interfaces": {**on_lan("10.0.0.2/24", "fd00::2/64"), "to-c": {"addresses": ["10.1.0.1/30"]}}},
            "C": {"interfaces": {"to-b": {"addresses": ["10.1.0.2/30"]}}},
        },
        "links": [{"endpoints": ["B:to-c", "C:to-b"]}],
        "traffic": [{"name": "hello", "from": "A", "command": ["true"]}],
    }
    return of_shape(Topology, {**sections, **changes})


def on_lan(*addresses: str) -> dict[str, object]:
    return {"eth0": {"network": "lan", "addresses": list(addresses)}}


def pair(first: str, second: str, subnets: tuple[str, ...] = ()) -> Topology:
    hosts = {"A": {"interfaces": on_lan(first)}, "B": {"interfaces": on_lan(second)}}
    return lab(hosts=hosts, links=[], networks={"lan": {"subnets": subnets}})


def found(topology: Topology) -> list[tuple[str, str]]:
    return [(key_text(fault.path), fault.message) for fault in faults(topology)]


def test_a_lab_that_fits_has_no_faults():
    assert found(lab()) == []


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (("A", "1"), "'1' would be read as an address, not as a name: put a letter first"),
        (("A", "0x1f"), "'0x1f' would be read as an address, not as a name: put a letter first"),
        (("A", "localhost"), "'localhost' is every host itself: choose another name"),
        (("A", "Ip6-Loopback"), "'Ip6-Loopback' is every host itself: choose another name"),
        (("node-b", "Node-B"), "'Node-B' and 'node-b' are one name to who looks it up: case is not seen"),
    ],
)
def test_a_host_is_found_by_its_name(names, says):
    topology = lab(hosts={name: {} for name in names}, links=[], traffic=[])
    assert found(topology) == [(f"hosts.{names[1]}", says)]


def test_names_that_only_begin_as_an_address_are_names():
    assert found(lab(hosts={"1a": {}, "0xg": {}, "10-1": {}}, links=[], traffic=[])) == []


def test_segments_are_networks_by_name_and_links_by_number():
    assert segments(lab()) == {"lan": [("A", "eth0"), ("B", "eth0")], "link 0": [("B", "to-c"), ("C", "to-b")]}


@pytest.mark.parametrize(
    ("text", "parts"), [("C:cni0", ("C", "cni0")), ("C", ("C", "")), ("C:a:b", ("C", "a:b")), ("", ("", ""))]
)
def test_a_link_end_is_split_at_its_first_colon(text, parts):
    assert split_endpoint(text) == parts


@pytest.mark.parametrize(
    ("ends", "key", "says"),
    [
        (["B:to-c", "D:to-b"], "links[0].endpoints[1]", "no host 'D': there are A, B, C"),
        (["B:to-c", "C:eth9"], "links[0].endpoints[1]", "no interface 'eth9' on host 'C': there are to-b"),
        (["B:to-c", "C"], "links[0].endpoints[1]", "'C' is no link end: write HOST:INTERFACE"),
        (["B:to-c", "B:to-c"], "links[0].endpoints[1]", "B:to-c is an end of links[0] already"),
        (["B:to-c", "A:eth0"], "hosts.A.interfaces.eth0", "is on network 'lan' and an end of a link too"),
    ],
)
def test_a_link_must_lead_from_a_free_interface_to_a_free_interface(ends, key, says):
    problems = found(lab(links=[{"endpoints": ends}]))
    assert key in dict(problems)
    assert says in dict(problems)[key]


def test_an_interface_can_be_an_end_of_one_link_only():
    links = [{"endpoints": ["B:to-c", "C:to-b"]}, {"endpoints": ["B:to-c", "C:to-b"]}]
    assert [key for key, _ in found(lab(links=links))] == ["links[1].endpoints[0]", "links[1].endpoints[1]"]


def test_an_interface_must_lead_somewhere():
    keys = [key for key, message in found(lab(links=[])) if "leads nowhere" in message]
    assert keys == ["hosts.B.interfaces.to-c", "hosts.C.interfaces.to-b"]


def test_lo_can_not_be_set():
    problems = found(lab(hosts={"A": {"interfaces": {"lo": {"addresses": ["10.9.0.1/32"]}}}}, links=[]))
    assert [key for key, _ in problems] == ["hosts.A.interfaces.lo"]


def test_a_network_can_not_have_a_hosts_name():
    assert ("networks.A", "'A' is a host's name already") in found(lab(networks={"lan": {}, "A": {}}))


def test_two_traffic_items_can_not_have_one_name():
    hello = {"name": "hello", "from": "A", "command": ["true"]}
    assert [key for key, _ in found(lab(traffic=[hello, hello]))] == ["traffic[1].name"]


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("10.0.0.0/24", "10.0.0.0/24 is its network's own address, not a host's"),
        ("10.0.0.255/24", "10.0.0.255/24 is its network's broadcast address, not a host's"),
        ("10.0.0.2/24", "10.0.0.2 is B:eth0's address already"),
        ("10.0.0.2/16", "10.0.0.2 is B:eth0's address already"),
    ],
)
def test_an_address_must_be_a_hosts_own(address, says):
    a = {"interfaces": on_lan(address)}
    b = {"interfaces": on_lan("10.0.0.2/24")}
    assert found(lab(hosts={"B": b, "A": a}, links=[])) == [("hosts.A.interfaces.eth0.addresses[0]", says)]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("10.0.0.0/31", "10.0.0.1/31"),
        ("fd00::/64", "fd00::1/64"),
        ("10.0.0.1/24", "10.0.0.2/16"),
        ("10.0.0.1/32", "10.0.0.2/24"),
    ],
)
def test_addresses_that_reach_each_other_may_share_a_network(first, second):
    assert found(pair(first, second)) == []


def test_one_address_may_be_used_on_two_segments():
    hosts = {
        "A": {"interfaces": {**on_lan("10.0.0.1/24"), "eth1": {"network": "wan", "addresses": ["10.0.0.1/24"]}}},
        "B": {"interfaces": {"eth0": {"network": "wan", "addresses": ["10.0.0.2/24"]}}},
    }
    assert found(lab(networks={"lan": {}, "wan": {}}, hosts=hosts, links=[])) == []


@pytest.mark.parametrize(
    ("first", "second"), [("10.0.0.1/24", "10.0.1.2/24"), ("10.0.0.1/24", "fd00::2/64"), ("10.0.0.1/31", "10.0.0.2/31")]
)
def test_addresses_that_share_no_subnet_are_outside_their_network(first, second):
    problems = found(pair(first, second))
    assert [key for key, _ in problems] == [f"hosts.{host}.interfaces.eth0.addresses[0]" for host in "AB"]
    assert problems[0][1].startswith(f"{first} is outside its network 'lan', where the others are in ")


@pytest.mark.parametrize(
    ("first", "second"),
    [("10.0.0.1/32", "10.0.0.2/32"), ("10.0.0.1/32", "192.168.7.1/24"), ("fd00::1/128", "fe00::2/64")],
)
def test_an_address_without_a_subnet_may_be_on_any_network(first, second):
    assert found(pair(first, second)) == []
    assert found(pair(second, first)) == []


def test_a_network_may_say_that_any_address_is_in_it():
    assert found(pair("10.0.0.1/24", "192.168.7.1/24", subnets=("0.0.0.0/0",))) == []
    (first, *_) = found(pair("10.0.0.1/24", "192.168.7.1/24"))
    assert first[1].endswith("(networks.lan.subnets may say otherwise)")


def test_a_declared_subnet_decides_which_address_is_outside():
    problems = found(pair("10.0.0.1/24", "10.0.1.2/24", subnets=("10.0.1.0/24", "fd00::/64")))
    says = "10.0.0.1/24 is outside its network 'lan', which is 10.0.1.0/24, fd00::/64"
    assert problems == [("hosts.A.interfaces.eth0.addresses[0]", says)]


def test_an_interface_on_an_unknown_network_is_told_which_there_are():
    problems = found(lab(networks={"wan": {}, "dmz": {}}, links=[{"endpoints": ["B:to-c", "C:to-b"]}]))
    assert ("hosts.A.interfaces.eth0.network", "no network 'lan': there are wan, dmz") in problems


UNREACHED = "is in no network of host 'A': a route to it by its interface is one, "


@pytest.mark.parametrize(
    ("route", "key", "says"),
    [
        ({"to": "default", "via": "10.9.0.1"}, "via", f"10.9.0.1 {UNREACHED}{{to: 10.9.0.1/32, dev: …}}"),
        ({"to": "default", "via": "fd01::1"}, "via", f"fd01::1 {UNREACHED}{{to: fd01::1/128, dev: …}}"),
        (
            {"to": "default", "via": "fe80::1"},
            "via",
            "fe80::1 is a link's own: give dev as well, the interface behind which it is",
        ),
        ({"to": "fd01::/64", "via": "10.0.0.2"}, "via", "10.0.0.2 can't be the way to fd01::/64: another IP version"),
        ({"to": "default", "dev": "eth7"}, "dev", "no interface 'eth7' on host 'A'"),
    ],
)
def test_a_route_must_lead_out_of_its_host(route, key, says):
    hosts = {"A": {"interfaces": on_lan("10.0.0.1/24"), "routes": [route]}, "B": {"interfaces": on_lan("10.0.0.2/24")}}
    assert found(lab(hosts=hosts, links=[])) == [(f"hosts.A.routes[0].{key}", says)]


@pytest.mark.parametrize(
    "route",
    [
        {"to": "default", "via": "10.0.0.2"},
        {"to": "10.9.0.0/16", "dev": "eth0"},
        {"to": "10.9.0.0/16", "via": "10.9.0.1", "dev": "eth0"},
    ],
)
def test_a_route_that_leads_out_of_its_host_fits(route):
    hosts = {"A": {"interfaces": on_lan("10.0.0.1/24"), "routes": [route]}, "B": {"interfaces": on_lan("10.0.0.2/24")}}
    assert found(lab(hosts=hosts, links=[])) == []


def test_ways_of_an_ipv6_route_have_gateways():
    """fib6_config and ip6_route_multipath_add in net/ipv6/route.c."""
    route = {"to": "fd09::/64", "nexthops": [{"via": "fd00::2"}, {"dev": "eth0"}]}
    hosts = {"A": {"interfaces": on_lan("fd00::1/64"), "routes": [route]}, "B": {"interfaces": on_lan("fd00::2/64")}}
    says = "an IPv6 route's nexthops need via: the kernel takes no interface alone"
    assert found(lab(hosts=hosts, links=[])) == [("hosts.A.routes[0].nexthops[1]", says)]


def test_traffic_comes_from_a_host():
    problems = found(lab(traffic=[{"name": "hello", "from": "Z", "command": ["true"]}]))
    assert problems == [("traffic[0].from", "no host 'Z': there are A, B, C")]


PACKET = {"traffic": "hello", "packet": "request.first"}


@pytest.mark.parametrize(
    ("expectation", "key", "says"),
    [
        ({**PACKET, "traffic": "bye", "at": "A@output"}, "traffic", "no traffic item 'bye': there are hello"),
        ({**PACKET, "at": "Z@output"}, "at", "no host 'Z': there are A, B, C"),
        ({**PACKET, "at": "A:eth9 out"}, "at", "no interface 'eth9' on host 'A'"),
        ({**PACKET, "path": ["A:eth0 out", "B:eth9 in"]}, "path[1]", "no interface 'eth9' on host 'B'"),
        ({**PACKET, "path": ["A:eth0 out", "B@input"]}, "path[1]", "a path is made of wire points"),
        ({"traffic": "hello", "conntrack": "Z"}, "conntrack", "no host 'Z'"),
        ({"counter": "Z", "rule": "DNAT", "packets": 1}, "counter", "no host 'Z'"),
    ],
)
def test_an_expectation_must_be_about_what_is_there(expectation, key, says):
    ((where, message),) = found(lab(expect=[expectation]))
    assert where == f"expect[0].{key}"
    assert says in message


@pytest.mark.parametrize("at", ["A:lo out", "A:eth0 out", "C:to-b in", "C@forward"])
def test_every_interface_lo_and_every_hook_can_be_a_point(at):
    assert found(lab(expect=[{**PACKET, "at": at}])) == []


def test_every_fault_is_told_not_only_the_first():
    problems = found(lab(links=[], traffic=[{"name": "hello", "from": "Z", "command": ["true"]}]))
    assert len(problems) == 3
