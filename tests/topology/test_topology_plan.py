"""A topology to the ordered steps that build it."""

from __future__ import annotations

from dataclasses import fields
from itertools import groupby

import pytest

from netemu.topology.library import find
from netemu.topology.library import shipped as shipped_names
from netemu.topology.load import load
from netemu.topology.model import Topology
from netemu.topology.needs import needs
from netemu.topology.plan import plan
from netemu.topology.shards import BRIDGE
from netemu.topology.steps import (
    AddAddress,
    AddRoute,
    BringUp,
    BringUpStacked,
    LoadRules,
    MakeBridge,
    MakeEnd,
    MakeHost,
    MakeMacvlan,
    MakeNetwork,
    MakeTunnel,
    OpenTaps,
    SetSysctl,
    ShapeEnd,
    StartService,
    Step,
)
from netemu.topology.strict import of_shape

SHIPPED = [load(find(name))[0] for name in shipped_names()]
NODEPORT = load(find("nodeport"))[0]
shipped = pytest.mark.parametrize("topology", SHIPPED, ids=shipped_names())


def pair(**host: object) -> Topology:
    """One network, one host A with `host`, and a host B."""
    b = {"interfaces": {"eth0": {"network": "lan"}}}
    return of_shape(Topology, {"name": "pair", "networks": {"lan": {}}, "hosts": {"A": host, "B": b}})


def of(kind: type, topology: Topology, host: str | None = None) -> list:
    return [step for step in plan(topology) if isinstance(step, kind) and host in (None, step.host)]


def sysctls(topology: Topology, host: str) -> dict[str, str]:
    """What each sysctl of a host is in the end."""
    return {step.name: step.value for step in of(SetSysctl, topology, host)}


def place(steps: tuple[Step, ...], kind: type) -> tuple[int, int]:
    """The first and last position of a kind of step."""
    where = [position for position, step in enumerate(steps) if isinstance(step, kind)]
    return where[0], where[-1]


@shipped
def test_rules_and_taps_come_before_any_interface_is_up(topology):
    steps = plan(topology)
    first_up = place(steps, BringUp)[0]
    assert place(steps, OpenTaps)[1] < first_up
    assert all(position < first_up for position, step in enumerate(steps) if isinstance(step, LoadRules))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (MakeNetwork, MakeBridge),
        (MakeHost, SetSysctl),
        (SetSysctl, MakeEnd),
        (MakeBridge, MakeEnd),
        (MakeEnd, OpenTaps),
        (LoadRules, OpenTaps),
        (MakeEnd, AddAddress),
        (BringUp, AddRoute),
        (AddRoute, StartService),
    ],
)
def test_steps_of_one_kind_come_after_all_that_they_need(before, after):
    steps = plan(NODEPORT)
    assert place(steps, before)[1] < place(steps, after)[0]


@shipped
def test_each_wire_has_exactly_two_ends_next_to_each_other(topology):
    ends = of(MakeEnd, topology)
    for _, group in groupby(ends, key=lambda end: end.wire):
        two = list(group)
        assert len(two) == 2
        assert two[0].host != two[1].host or two[0].interface != two[1].interface
    assert sorted({end.wire for end in ends}) == list(range(len(ends) // 2))


@shipped
def test_every_interface_has_one_end_one_address_each_and_comes_up(topology):
    for name, host in topology.hosts.items():
        ends = [step.interface for step in of(MakeEnd, topology, name)]
        assert sorted(ends) == sorted(host.interfaces)
        assert sorted(step.interface for step in of(BringUp, topology, name)) == sorted([*host.interfaces, "lo"])
        addresses = {
            (interface, address) for interface in host.interfaces for address in host.interfaces[interface].addresses
        }
        assert {(step.interface, step.address) for step in of(AddAddress, topology, name)} == addresses


@shipped
def test_no_step_names_two_hosts(topology):
    places = {*topology.hosts, *topology.networks}
    for step in plan(topology):
        own = [getattr(step, field.name) for field in fields(step) if field.name not in ("path", "name")]
        assert {value for value in own if isinstance(value, str)} & places == {step.host}


@shipped
def test_a_hosts_step_says_where_the_topology_asks_for_it(topology):
    document = topology.model_dump()
    for step in plan(topology):
        assert step.path[:2] == ("hosts", step.host) or step.host in topology.networks
        inner = document
        for part in step.path:
            inner = inner[part]


def test_a_plan_is_the_same_each_time():
    assert plan(NODEPORT) == plan(load(find("nodeport"))[0])


def test_a_networks_ports_are_numbered_and_belong_to_its_bridge():
    ports = of(MakeEnd, NODEPORT, "lan")
    assert [port.interface for port in ports] == ["port1", "port2", "port3"]
    assert all(port.port for port in ports)
    assert of(BringUp, NODEPORT, "lan")[0].interface == BRIDGE


def test_a_links_ends_are_on_no_bridge():
    ends = [(end.host, end.interface, end.port) for end in of(MakeEnd, NODEPORT) if end.wire == 3]
    assert ends == [("C", "cni0", False), ("pod", "eth0", False)]


def test_an_mtu_is_set_at_both_ends_and_a_mac_at_the_hosts():
    interface = {"network": "lan", "mtu": 1400, "mac": "02:00:00:00:00:01"}
    own, port, *_ = of(MakeEnd, pair(interfaces={"eth0": interface}))
    assert (own.host, own.mtu, own.mac) == ("A", 1400, "02:00:00:00:00:01")
    assert (port.host, port.mtu, port.mac) == ("lan", 1400, None)


def test_rules_are_given_to_the_tools_exactly_as_written():
    topology = pair(iptables="*nat\n COMMIT\n", ip6tables="*raw\nCOMMIT", nft="table ip t {}\n")
    loaded = [(step.host, step.tool, step.text, step.path[-1]) for step in of(LoadRules, topology)]
    assert loaded == [
        ("A", "nft", "table ip t {}\n", "nft"),
        ("A", "iptables", "*nat\n COMMIT\n", "iptables"),
        ("A", "ip6tables", "*raw\nCOMMIT", "ip6tables"),
    ]


def test_forwarding_is_written_out_for_each_host():
    forward = {host: sysctls(NODEPORT, host)["net.ipv4.ip_forward"] for host in NODEPORT.hosts}
    assert forward == {"A": "0", "B": "1", "C": "1", "pod": "0"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("net.ipv4.conf.all.send_redirects", "0"),
        ("net.ipv4.conf.default.send_redirects", "0"),
        ("net.ipv4.conf.all.rp_filter", "0"),
        ("net.ipv6.conf.default.accept_dad", "0"),
        ("net.ipv6.conf.all.accept_ra", "0"),
    ],
)
def test_what_would_hide_the_truth_is_off_unless_asked_for(name, value):
    address = "fd00::1/64" if "ipv6" in name else "10.0.0.1/24"
    interfaces = {"eth0": {"network": "lan", "addresses": [address]}}
    assert sysctls(pair(interfaces=interfaces), "A")[name] == value
    assert sysctls(pair(interfaces=interfaces, sysctls={name: 1}), "A")[name] == "1"


def test_ipv6_sysctls_are_written_only_where_something_speaks_it():
    assert {name for name in sysctls(pair(), "A") if "ipv6" in name} == {"net.ipv6.conf.default.disable_ipv6"}
    asked = sysctls(pair(sysctls={"net.ipv6.conf.all.disable_ipv6": 0}), "A")
    assert asked["net.ipv6.conf.default.accept_ra"] == "0"


def test_only_the_topologys_own_sysctls_are_wanted():
    wanted = [
        (step.name, step.value, step.path) for step in of(SetSysctl, pair(sysctls={"net.core.x": 7})) if step.wanted
    ]
    assert wanted == [("net.core.x", "7", ("hosts", "A", "sysctls", "net.core.x"))]


@pytest.mark.parametrize(("address", "off"), [("10.0.0.1/24", True), ("fd00::1/64", False)])
def test_hosts_speak_ipv6_only_in_a_lab_with_an_ipv6_address(address, off):
    topology = pair(interfaces={"eth0": {"network": "lan", "addresses": [address]}})
    assert ("net.ipv6.conf.default.disable_ipv6" in sysctls(topology, "B")) is off
    assert sysctls(topology, "lan")["net.ipv6.conf.default.disable_ipv6"] == "1"


def test_a_networks_bridge_filters_nothing():
    for tables in ("iptables", "ip6tables", "arptables"):
        assert sysctls(pair(), "lan")[f"net.bridge.bridge-nf-call-{tables}"] == "0"


LINKED = {
    "name": "linked",
    "hosts": {"A": {"interfaces": {"e": {}}}, "B": {"interfaces": {"e": {}}}},
    "links": [{"endpoints": ["A:e", "B:e"], "delay": "5ms", "loss": "1%"}],
}


def shaped(**interfaces: dict[str, object]) -> dict[str, dict[str, str]]:
    """What each host's end does, with more said of the hosts' interfaces."""
    hosts = {name: {"interfaces": {"e": interfaces.get(name, {})}} for name in "AB"}
    topology = Topology.model_validate({**LINKED, "hosts": hosts})
    return {step.host: step.properties.given() for step in of(ShapeEnd, topology)}


def test_a_links_properties_shape_both_its_ends():
    both = {"delay": "5ms", "loss": "1%"}
    assert shaped() == {"A": both, "B": both}


def test_what_is_said_of_one_direction_is_applied_at_the_sender():
    more = {"delay": "5ms", "loss": "2%", "rate": "1mbit"}
    plain = {"delay": "5ms", "loss": "1%"}
    assert shaped(A={"egress": {"loss": "2%", "rate": "1mbit"}}) == {"A": more, "B": plain}
    assert shaped(A={"ingress": {"loss": "2%", "rate": "1mbit"}}) == {"A": plain, "B": more}
    assert shaped(A={"egress": {"loss": "2%"}}, B={"ingress": {"rate": "1mbit"}}) == {"A": more, "B": plain}


def test_on_a_network_what_comes_in_is_shaped_at_the_port():
    steps = of(ShapeEnd, pair(interfaces={"eth0": {"network": "lan", "ingress": {"rate": "1mbit"}}}))
    assert [(step.host, step.interface, step.path) for step in steps] == [
        ("lan", "port1", ("hosts", "A", "interfaces", "eth0", "ingress"))
    ]


def test_shapes_come_once_all_is_up_and_before_services():
    topology = pair(
        interfaces={"eth0": {"network": "lan", "egress": {"delay": "1ms"}}}, services={"s": {"command": ["true"]}}
    )
    steps = plan(topology)
    assert (
        place(steps, BringUp)[1]
        < place(steps, ShapeEnd)[0]
        <= place(steps, ShapeEnd)[1]
        < place(steps, StartService)[0]
    )


def test_what_stands_on_another_interface_is_made_after_it():
    interfaces = {
        "mv": {"macvlan": {"dev": "vx"}},
        "vx": {"vxlan": {"id": 1, "remote": "10.0.0.2", "dev": "eth0"}, "mtu": 1300},
        "eth0": {"network": "lan"},
        "free": {"vxlan": {"id": 2, "remote": "10.0.0.2"}},
    }
    topology = pair(interfaces=interfaces)
    made = [(type(step), step.interface) for step in plan(topology) if isinstance(step, MakeTunnel | MakeMacvlan)]
    assert made == [(MakeTunnel, "vx"), (MakeMacvlan, "mv"), (MakeTunnel, "free")]
    steps = plan(topology)
    wires = [place for place, step in enumerate(steps) if type(step) is BringUp]
    assert wires[-1] < place(steps, BringUpStacked)[0]
    carriers = {step.interface: step.carrier for step in of(BringUp, topology, "A")}
    assert carriers == {"eth0": True, "vx": False, "mv": True, "free": False, "lo": False}


@pytest.mark.parametrize(
    ("interface", "features"),
    [
        ({}, []),
        ({"addresses": ["fd00::1/64"]}, ["IPv6"]),
        ({"egress": {"rate": "1mbit", "queue": "3packets"}}, ["tbf"]),
        ({"egress": {"rate": "1mbit", "loss": "1%"}}, ["netem"]),
        ({"ingress": {"queue": "3packets"}}, ["netem"]),
        ({"ingress": {}}, []),
    ],
)
def test_what_a_topology_needs_of_the_kernel_is_named(interface, features):
    assert [need.feature for need in needs(pair(interfaces={"eth0": {"network": "lan", **interface}}))] == features


def test_each_need_is_told_once_and_where_it_is_first():
    host = {
        "interfaces": {
            "eth0": {"network": "lan"},
            "m1": {"macvlan": {"dev": "eth0"}},
            "m2": {"macvlan": {"dev": "eth0"}},
            "vx": {"vxlan": {"id": 1, "remote": "10.0.0.2"}},
        },
        "policy_rules": [{"table": 5}],
        "iptables": "*nat\nCOMMIT",
        "ip6tables": "*nat\nCOMMIT",
        "nft": "table ip t {}",
    }
    topology = pair(**host)
    assert [(need.feature, need.path[-1]) for need in needs(topology)] == [
        ("macvlan", "m1"),
        ("vxlan", "vx"),
        ("policy rules", 0),
    ]
    legacy = of_shape(Topology, {**topology.model_dump(by_alias=True), "backend": "legacy"})
    assert {need.feature for need in needs(legacy)} >= {"iptables-legacy", "ip6tables-legacy"}
