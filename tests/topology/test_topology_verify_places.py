"""Files that a host can have, services that wait for each other, routes and addresses of the host's own."""

from __future__ import annotations

import time

import pytest

from netemu.topology.keys import key_text
from netemu.topology.model import Topology
from netemu.topology.strict import of_shape
from netemu.topology.verify import faults

ON_LAN = {"network": "lan"}


def lab(a: dict[str, object], b: dict[str, object] | None = None) -> Topology:
    """A and B on one network, with these keys each."""
    hosts = {
        "A": {"interfaces": {"eth0": {**ON_LAN, "addresses": ["10.0.0.1/24", "fd00::1/64"]}}, **a},
        "B": {"interfaces": {"eth0": {**ON_LAN, "addresses": ["10.0.0.2/24", "fd00::2/64"]}}, **(b or {})},
    }
    return of_shape(Topology, {"name": "n", "networks": {"lan": {}}, "hosts": hosts})


def found(topology: Topology) -> list[tuple[str, str]]:
    return [(key_text(fault.path), fault.message) for fault in faults(topology)]


def services(**after: list[str]) -> dict[str, object]:
    return {"services": {name: {"command": ["true"], "after": others} for name, others in after.items()}}


def test_services_may_wait_for_each_other_across_hosts():
    assert found(lab(services(a=[], b=["a", "B:c"], d=["b"]), services(c=["A:a"]))) == []


@pytest.mark.parametrize(
    ("a", "b", "key", "says"),
    [
        ({"x": ["y"]}, {}, "hosts.A.services.x.after[0]", "no service 'y' on host 'A': there are x"),
        ({"x": ["B:y"]}, {"z": []}, "hosts.A.services.x.after[0]", "no service 'y' on host 'B': there are z"),
        ({"x": ["C:y"]}, {}, "hosts.A.services.x.after[0]", "no host 'C': there are A, B"),
        ({"x": ["x"]}, {}, "hosts.A.services.x.after[0]", "they wait for each other: A:x after A:x"),
        (
            {"o": ["x"], "x": ["y"], "y": ["B:z"]},
            {"z": ["A:x"]},
            "hosts.B.services.z.after[0]",
            "they wait for each other: A:x after A:y after B:z after A:x",
        ),
    ],
)
def test_services_that_wait_for_what_never_comes_are_told(a, b, key, says):
    assert found(lab(services(**a), services(**b))) == [(key, says)]


@pytest.mark.parametrize(
    ("files", "key", "says"),
    [
        ({"/etc/../x": ""}, "/etc/../x", "write its place without '..'"),
        ({"/proc/sys/x": ""}, "/proc/sys/x", "/proc/sys/x is the kernel's: no file can be placed there"),
        ({"/etc/x": "", "/etc//x": ""}, "/etc//x", "is /etc/x once more"),
        ({"/etc/x": "", "/etc/x/y": ""}, "/etc/x/y", "/etc/x is a file, it can't be a folder too"),
    ],
)
def test_a_file_that_can_not_be_placed_is_told(files, key, says):
    assert found(lab({"files": files})) == [(f"hosts.A.files.{key}", says)]


@pytest.mark.parametrize(
    ("routes", "key", "says"),
    [
        ([{"to": "10.9.0.0/24", "via": "10.0.0.1"}], "[0].via", "10.0.0.1 is host 'A' itself"),
        (
            [{"to": "default", "nexthops": [{"via": "10.0.0.2"}, {"via": "10.7.0.2"}]}],
            "[0].nexthops[1].via",
            "10.7.0.2 is in no network of host 'A': a route to it by its interface is one, {to: 10.7.0.2/32, dev: …}",
        ),
        ([{"to": "default", "nexthops": [{"dev": "eth5"}]}], "[0].nexthops[0].dev", "no interface 'eth5' on host 'A'"),
        (
            [{"to": "default", "nexthops": [{"via": "10.0.0.2"}, {"via": "fd00::2"}]}],
            "[0].nexthops[1].via",
            "fd00::2 can't be the way to default: another IP version",
        ),
        (
            [{"to": "default", "via": "10.0.0.2", "source": "10.0.0.7"}],
            "[0].source",
            "host 'A' has no address 10.0.0.7",
        ),
        (
            [{"to": "fd09::/64", "via": "fd00::2", "source": "10.0.0.1"}],
            "[0].source",
            "10.0.0.1 can't be the source for fd09::/64: another IP version",
        ),
        (
            [{"to": "default", "via": "10.0.0.2"}, {"to": "0.0.0.0/0", "type": "blackhole", "table": 254}],
            "[1]",
            "routes[0] leads to 0.0.0.0/0 already: give it another metric or table",
        ),
    ],
)
def test_a_route_that_can_not_be_is_told(routes, key, says):
    assert found(lab({"routes": routes})) == [(f"hosts.A.routes{key}", says)]


def test_routes_apart_by_metric_table_or_version_fit():
    to = {"to": "default"}
    routes = [
        {**to, "via": "10.0.0.2"},
        {**to, "via": "10.0.0.2", "metric": 5},
        {**to, "via": "10.0.0.2", "table": 100},
        {**to, "via": "fd00::2", "source": "fd00::1"},
        {"to": "10.9.0.0/16", "nexthops": [{"via": "10.0.0.2"}, {"dev": "eth0", "weight": 3}]},
    ]
    assert found(lab({"routes": routes})) == []


@pytest.mark.parametrize(
    ("rules", "key", "says"),
    [
        ([{"iif": "eth3", "table": 1}], "[0].iif", "no interface 'eth3' on host 'A': there are eth0"),
        ([{"oif": "eth3", "table": 1}], "[0].oif", "no interface 'eth3' on host 'A': there are eth0"),
        ([{"iif": "lo", "table": 1}, {"iif": "lo", "table": 1}], "[1]", "is policy_rules[0] once more"),
    ],
)
def test_a_policy_rule_that_can_not_be_is_told(rules, key, says):
    assert found(lab({"policy_rules": rules})) == [(f"hosts.A.policy_rules{key}", says)]


@pytest.mark.parametrize(
    ("interface", "key", "says"),
    [
        ({"addresses": ["10.0.0.1/24", "10.0.0.1/16"]}, "addresses[1]", "10.0.0.1 is there twice"),
        ({"addresses": ["239.1.1.1/24"]}, "addresses[0]", "239.1.1.1/24 is a group's address"),
        ({"addresses": ["0.0.0.0/0"]}, "addresses[0]", "0.0.0.0/0 is no host's address"),
        ({"mtu": 1000, "addresses": ["fd00::1/64"]}, "addresses[0]", "IPv6 needs an MTU of 1280 at least, this"),
    ],
)
def test_an_address_that_no_host_can_have_is_told(interface, key, says):
    hosts = {"A": {"interfaces": {"eth0": {**ON_LAN, **interface}}}}
    topology = of_shape(Topology, {"name": "n", "networks": {"lan": {}}, "hosts": hosts})
    ((where, message),) = found(topology)
    assert where == f"hosts.A.interfaces.eth0.{key}"
    assert says in message


def test_a_thousand_hosts_on_a_network_are_verified_in_good_time():
    host = {"interfaces": {"eth0": {**ON_LAN, "addresses": ["10.0.{n//250}.{n%250+1}/16"]}}, "count": 1000}
    topology = of_shape(Topology, {"name": "n", "networks": {"lan": {}}, "hosts": {"X": host}})
    start = time.process_time()
    assert found(topology) == []
    assert time.process_time() - start < 2
