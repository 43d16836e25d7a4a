"""Interfaces, tunnels, MAC addresses and link properties that must fit each other."""

from __future__ import annotations

import pytest

from netemu.topology.keys import key_text
from netemu.topology.model import Topology
from netemu.topology.segments import segments, tunnel_number
from netemu.topology.strict import of_shape
from netemu.topology.verify import faults

UNDER = {"network": "under"}
VXLAN = {"id": 42, "dev": "eth0", "local": "10.0.0.1", "remote": "10.0.0.2"}
BACK = {"id": 42, "dev": "eth0", "local": "10.0.0.2", "remote": "10.0.0.1"}


def lab(a: dict[str, object], b: dict[str, object] | None = None, **rest: object) -> Topology:
    """A and B on one network, each with more interfaces."""
    hosts = {
        "A": {"interfaces": {"eth0": {**UNDER, "addresses": ["10.0.0.1/24"]}, **a}},
        "B": {"interfaces": {"eth0": {**UNDER, "addresses": ["10.0.0.2/24"]}, **(b or {})}},
    }
    return of_shape(Topology, {"name": "n", "networks": {"under": {}}, "hosts": hosts, **rest})


def found(topology: Topology) -> list[tuple[str, str]]:
    return [(key_text(fault.path), fault.message) for fault in faults(topology)]


def test_a_tunnel_between_two_hosts_fits_and_is_a_segment():
    topology = lab(
        {"vx": {"vxlan": VXLAN, "addresses": ["10.9.0.1/24"]}}, {"vx": {"vxlan": BACK, "addresses": ["10.9.0.2/24"]}}
    )
    assert found(topology) == []
    assert segments(topology)["vxlan 42"] == [("A", "vx"), ("B", "vx")]


def test_addresses_are_one_tunnels_own():
    topology = lab(
        {"vx": {"vxlan": VXLAN, "addresses": ["10.9.0.1/24"]}}, {"vx": {"vxlan": BACK, "addresses": ["10.9.0.1/24"]}}
    )
    assert [message for _, message in found(topology)] == ["10.9.0.1 is A:vx's address already"]


def test_tunnels_of_other_numbers_or_of_hosts_that_do_not_meet_are_segments_of_their_own():
    other = {"id": 7, "remote": "10.0.0.1"}
    apart = segments(lab({"vx": {"vxlan": VXLAN}}, {"vx": {"vxlan": other}}))
    assert (apart["vxlan 42"], apart["vxlan 7"]) == ([("A", "vx")], [("B", "vx")])
    self_made = segments(
        lab({"vx": {"vxlan": {"id": 1, "remote": "10.9.9.9"}}}, {"vx": {"vxlan": {"id": 1, "remote": "10.9.9.8"}}})
    )
    assert (self_made["vxlan 1"], self_made["vxlan 1 of B"]) == ([("A", "vx")], [("B", "vx")])


def test_a_tunnels_number_is_read_off_its_segments_name():
    assert [tunnel_number(name) for name in ("vxlan 42", "vxlan 7 of B")] == [42, 7]
    assert [tunnel_number(name) for name in ("lan", "vxlan", "vxlan-42", "link 42", "vxlan x", "")] == [None] * 6


def test_ends_of_one_multicast_group_are_one_segment():
    group = {"vxlan": {"id": 5, "group": "239.0.0.1", "dev": "eth0"}}
    assert segments(lab({"vx": group}, {"vx": group}))["vxlan 5"] == [("A", "vx"), ("B", "vx")]


def test_a_macvlan_is_on_the_segment_of_the_interface_that_it_stands_on():
    topology = lab({"mv": {"macvlan": {"dev": "eth0"}, "addresses": ["10.0.0.3/24"]}})
    assert found(topology) == []
    assert segments(topology)["under"] == [("A", "eth0"), ("B", "eth0"), ("A", "mv")]


A = "hosts.A.interfaces"


@pytest.mark.parametrize(
    ("interfaces", "key", "says"),
    [
        ({"all": UNDER}, f"{A}.all", "the kernel lets no interface be called all"),
        (
            {"vx": {"vxlan": {"id": 1, "remote": "10.0.0.9"}}},
            f"{A}.vx.vxlan.remote",
            "no host has the address 10.0.0.9",
        ),
        ({"vx": {"vxlan": {"id": 1, "remote": "10.0.0.1"}}}, f"{A}.vx.vxlan.remote", "10.0.0.1 is host 'A' itself"),
        (
            {"vx": {"vxlan": {**VXLAN, "local": "10.0.0.7"}}},
            f"{A}.vx.vxlan.local",
            "host 'A' has no address 10.0.0.7",
        ),
        (
            {"vx": {"vxlan": {**VXLAN, "dev": "eth9"}}},
            f"{A}.vx.vxlan.dev",
            "no interface 'eth9' on host 'A': there are ",
        ),
        ({"vx": {"vxlan": {**VXLAN, "dev": "vx"}}}, f"{A}.vx.vxlan.dev", "vx would stand on itself, by vx"),
        (
            {"mv": {"macvlan": {"dev": "vx"}}, "vx": {"vxlan": {**VXLAN, "dev": "mv"}}},
            f"{A}.vx.vxlan.dev",
            "vx would stand on itself, by mv",
        ),
        ({"v1": {"vxlan": VXLAN}, "v2": {"vxlan": VXLAN}}, f"{A}.v2.vxlan.id", "v1 is vxlan 42 on port 4789 already"),
        ({"mv": {"macvlan": {"dev": "eth7"}}}, f"{A}.mv.macvlan.dev", "no interface 'eth7' on host 'A'"),
        (
            {"m1": {"macvlan": {"dev": "eth0"}}, "m2": {"macvlan": {"dev": "m1"}}},
            f"{A}.m2.macvlan.dev",
            "m1 is a macvlan itself: name the interface that it stands on",
        ),
        (
            {"m1": {"macvlan": {"dev": "eth0"}}, "m2": {"macvlan": {"dev": "eth0", "mode": "passthru"}}},
            f"{A}.m2.macvlan.dev",
            "m1 and m2 share it: a passthru macvlan is alone on its interface",
        ),
        (
            {"mv": {"macvlan": {"dev": "eth0"}, "ingress": {"delay": "1ms"}}},
            f"{A}.mv.ingress",
            "a macvlan has no other end to apply it at: use egress there",
        ),
        ({"eth1": {**UNDER, "mac": "03:00:00:00:00:01"}}, f"{A}.eth1.mac", "is a group's address, not an interface's"),
        ({"eth1": {**UNDER, "mac": "00:00:00:00:00:00"}}, f"{A}.eth1.mac", "is no interface's address"),
    ],
)
def test_an_interface_that_can_not_be_made_is_told(interfaces, key, says):
    assert [(where, says in message) for where, message in found(lab(interfaces))] == [(key, True)]


def test_a_virtual_interface_is_no_links_end():
    topology = lab({"mv": {"macvlan": {"dev": "eth0"}}}, {"eth1": {}}, links=[{"endpoints": ["A:mv", "B:eth1"]}])
    assert found(topology) == [(f"{A}.mv", "is a macvlan and an end of a link too: it can be one only")]


def test_no_two_interfaces_on_a_segment_have_one_mac():
    mac = {**UNDER, "mac": "02:00:00:00:00:AA"}
    assert found(lab({"eth1": mac}, {"eth1": {**UNDER, "mac": "02:00:00:00:00:aa"}})) == [
        ("hosts.B.interfaces.eth1.mac", "02:00:00:00:00:aa is A:eth1's MAC address already")
    ]
    apart = lab({"eth1": mac}, {"eth1": {**mac, "network": "other"}}, networks={"under": {}, "other": {}})
    assert found(apart) == []


def linked(near: dict[str, object], far: dict[str, object]) -> Topology:
    return lab({"e1": near}, {"e1": far}, links=[{"endpoints": ["A:e1", "B:e1"], "delay": "1ms"}])


def test_one_direction_of_a_link_is_described_once():
    assert found(linked({"egress": {"loss": "1%"}}, {"ingress": {"rate": "1mbit"}})) == []
    assert found(linked({"ingress": {"loss": "1%"}}, {"ingress": {"loss": "1%"}})) == []
    assert found(linked({"egress": {"loss": "1%"}}, {"ingress": {"loss": "2%"}})) == [
        ("hosts.B.interfaces.e1.ingress.loss", "A:e1's egress says the loss of this direction already")
    ]
