"""The objects a topology is made of, and the schema that is read off them."""

from __future__ import annotations

import copy

import jsonschema
import pytest

from netemu.errors import TopologyError
from netemu.topology.model import Host, Interface, PolicyRule, Ready, Route, Service, Topology
from netemu.topology.schema import schema
from netemu.topology.strict import of_shape

SMALL = {
    "name": "small",
    "networks": {"lan": {"subnets": ["10.0.0.0/24"]}},
    "hosts": {
        "A": {
            "interfaces": {"eth0": {"network": "lan", "addresses": ["10.0.0.1/24"], "mtu": 1400}},
            "routes": [{"to": "default", "via": "10.0.0.2"}],
            "sysctls": {"net.ipv4.ip_default_ttl": 32},
            "services": {"web": {"command": ["true"], "ready": {"tcp": 80}}},
        }
    },
    "traffic": [{"name": "hello", "from": "A", "http": "http://10.0.0.2/"}],
    "expect": [{"traffic": "hello", "packet": "request.first", "at": "A@output", "ttl": 32}],
}


def changed(path: list[str | int], value: object) -> dict[str, object]:
    """`SMALL` with one value set at `path`."""
    document = copy.deepcopy(SMALL)
    inner = document
    for part in path[:-1]:
        inner = inner[part]
    inner[path[-1]] = value
    return document


def test_two_topologies_of_the_same_text_are_equal():
    assert Topology.model_validate(SMALL) == Topology.model_validate(copy.deepcopy(SMALL))


@pytest.mark.parametrize("section", ["networks", "links", "traffic", "expect", "description"])
def test_a_section_left_blank_is_a_section_left_out(section):
    without = {key: value for key, value in SMALL.items() if key != section}
    assert of_shape(Topology, {**SMALL, section: None}) == of_shape(Topology, without)


@pytest.mark.parametrize("section", ["name", "hosts"])
def test_a_name_and_hosts_can_not_be_blank(section):
    with pytest.raises(TopologyError, match=section):
        Topology.model_validate({**SMALL, section: None})


@pytest.mark.parametrize(
    ("of", "written"),
    [
        (Route, {"to": "default"}),
        (Ready, {}),
        (Ready, {"tcp": 80, "udp": 80}),
        (Service, {"command": []}),
        (Interface, {"mtu": 67}),
        (Interface, {"mtu": 65536}),
        (Interface, {"mac": "02:00:00:00:00:0"}),
        (Host, {"sysctls": {"kernel.panic": 1}}),
        (Host, {"sysctls": {"net/../kernel/panic": 1}}),
        (Host, {"sysctls": {"net..ip_forward": 1}}),
        (Host, {"sysctls": {"net.ipv4.conf.a/7.mtu": 1, "net/ipv4/conf/a.7/mtu": 1}}),
        (Host, {"sysctls": {"net.ipv4.ip_forward": ""}}),
        (Host, {"environment": {"A": "x\0y"}}),
        (Service, {"command": ["echo", "x\0y"]}),
        (PolicyRule, {"tos": 3, "table": 100}),
        (Topology, {"name": "x", "hosts": {}}),
    ],
)
def test_a_part_that_can_not_be_built_is_refused(of, written):
    with pytest.raises(TopologyError):
        of.model_validate(written)


def test_the_schema_is_a_valid_schema_that_names_its_draft():
    jsonschema.Draft202012Validator.check_schema(schema())
    assert schema()["$schema"].endswith("2020-12/schema")


def test_the_schema_takes_what_the_model_takes():
    Topology.model_validate(SMALL)
    jsonschema.Draft202012Validator(schema()).validate(SMALL)


REFUSED = {
    "unknown key": (["hosts", "A", "forward"], True),
    "bare number for a duration": (["traffic", 0, "within"], 3),
    "duration without unit": (["traffic", 0, "within"], "3"),
    "name with a space": (["name"], "a b"),
    "host's name with a space": (["hosts", "a b"], {}),
    "long interface name": (["hosts", "A", "interfaces", "e" * 16], {}),
    "no hosts": (["hosts"], {}),
    "number for an address": (["hosts", "A", "interfaces", "eth0", "addresses"], [5]),
    "number for a way": (["hosts", "A", "routes", 0, "via"], 5),
    "text for a list": (["hosts", "A", "interfaces", "eth0", "addresses"], "10.0.0.1/24"),
    "text for a number": (["hosts", "A", "interfaces", "eth0", "mtu"], "1400"),
    "text for true": (["hosts", "A", "forwarding"], "yes"),
    "true for a sysctl's value": (["hosts", "A", "sysctls", "net.ipv4.ip_forward"], True),
    "unknown state": (["expect", 0, "ct"], "NEW"),
}


@pytest.mark.parametrize(("path", "value"), REFUSED.values(), ids=REFUSED)
def test_the_schema_and_the_model_refuse_the_same(path, value):
    document = changed(path, value)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema()).validate(document)
    with pytest.raises(TopologyError):
        Topology.model_validate(document)


def test_an_address_needs_its_prefix_length():
    with pytest.raises(TopologyError, match="prefix length"):
        Topology.model_validate(changed(["hosts", "A", "interfaces", "eth0", "addresses"], ["10.0.0.1"]))
