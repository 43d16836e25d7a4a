"""What is said of values that are not of their type: our own words, the nearest known key at every depth."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import jsonschema
import pytest
from whole_topology import WHOLE

from netemu.errors import TopologyError
from netemu.topology.dump import to_yaml
from netemu.topology.load import loads
from netemu.topology.model import Topology
from netemu.topology.schema import schema


def test_the_whole_example_is_whole():
    topology = Topology.model_validate(WHOLE)
    assert loads(to_yaml(topology))[0] == topology
    jsonschema.Draft202012Validator(schema()).validate(WHOLE)


def mappings(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The places of all mappings whose keys are the language's own."""
    here = [path] if isinstance(value, dict) and path[-1:] and path[-1] not in FREE else []
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [*here, *(place for key, each in inner for place in mappings(each, (*path, key)))]


FREE = {"networks", "hosts", "interfaces", "sysctls", "environment", "services", "files"}
"""Mappings whose keys are names that the user gives."""


def at(document: Any, path: tuple[str | int, ...]) -> Any:
    for part in path:
        document = document[part]
    return document


def complaint(document: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(TopologyError) as caught:
        loads(json.dumps(document))
    return {problem.key: problem.message for problem in caught.value.problems}


@pytest.mark.parametrize("path", mappings(WHOLE), ids=lambda path: ".".join(map(str, path)))
def test_an_unknown_key_is_refused_at_every_depth_and_the_nearest_known_one_named(path):
    document = copy.deepcopy(WHOLE)
    place = at(document, path)
    key = list(place)[-1] if place else "addresses"
    place[f"{key}x"] = place.pop(key, [])
    assert any(f"unknown key '{key}x', did you mean '{key}'?" in message for message in complaint(document).values())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema()).validate(document)


WRONG = {
    "a text for a mapping": (("hosts", "A", "interfaces", "eth0", "egress"), "10ms", "a mapping is due here"),
    "a text for a list": (("hosts", "A", "routes"), "x", "a list is due here"),
    "a word of none": (("backend",), "legcy", "'legcy' is unknown, did you mean 'legacy'?"),
    "a word like no other": (("backend",), "x", "'x' is unknown; known here: nft, legacy"),
    "an offload of none": (
        ("hosts", "A", "interfaces", "eth0", "offloads", 0),
        "tos",
        "'tos' is unknown, did you mean 'tso'?",
    ),
    "a text for a number": (
        ("hosts", "A", "interfaces", "vx", "vxlan", "id"),
        "7",
        "'7' is a text: a whole number is due here",
    ),
    "too large a number": (
        ("hosts", "A", "interfaces", "vx", "vxlan", "id"),
        2**24,
        "is too large: less than 16777216 is due",
    ),
    "too small a number": (("hosts", "A", "routes", 0, "nexthops", 0, "weight"), 0, "'0' is too small: 1 is the least"),
    "a number for a word": (
        ("hosts", "A", "services", "s", "command", 0),
        5,
        "'5' is a number: a text is due here, in quotes",
    ),
    "a truth value for a word": (
        ("hosts", "A", "services", "s", "command", 0),
        True,
        "'true' is a truth value: a text is due here, in quotes",
    ),
    "a list for a word": (("description",), ["x"], "this is a list: a text is due here"),
    "null for a word": (("hosts", "A", "services", "s", "command", 0), None, "a text is due here"),
    "an empty list": (("hosts", "A", "services", "s", "command"), [], "can't be empty"),
    "a table of none": (("hosts", "A", "policy_rules", 0, "table"), "mian", "'mian' is no routing table"),
    "a mapping for a table": (("hosts", "A", "policy_rules", 0, "table"), {"a": 1}, "is no routing table"),
    "a mark of none": (("hosts", "A", "policy_rules", 0, "fwmark"), "0x1/x", "'0x1/x' is no mark"),
    "a user of none": (("hosts", "A", "user"), True, "a user is due here, by name or number"),
    "a user of no number": (("hosts", "A", "user"), 2**32 - 1, "'4294967295' is no user: numbers are 0 to 4294967294"),
    "a user with a space": (("hosts", "A", "user"), "a b", "'a b' is no user"),
    "no unit of a share": (
        ("hosts", "A", "interfaces", "e1", "ingress", "loss"),
        1,
        "'1' is no share: write a number of 0 to 100",
    ),
    "no unit of a rate": (("links", 0, "rate"), "10", "'10' is no rate: write a number with its unit"),
    "a regular expression of none": (
        ("hosts", "A", "services", "s", "ready", "log"),
        "(",
        "'(' is no regular expression",
    ),
    "one of three ends": (("links", 0, "endpoints"), ["A:e1"], "has no entry 2"),
    "an address of none": (("hosts", "A", "interfaces", "vx", "vxlan", "remote"), "B", "'B' is no address"),
    "null for an address": (
        ("hosts", "A", "interfaces", "eth0", "addresses", 0),
        None,
        "an address with its prefix length",
    ),
    "a variable of none": (("hosts", "A", "environment"), {"1A": "x"}, "'1A' is no variable's name"),
    "a selector of none": (("expect", 0, "packet"), "request", "'request' is no packet: write request or reply"),
}


@pytest.mark.parametrize(("path", "value", "says"), WRONG.values(), ids=WRONG)
def test_a_wrong_value_is_told_in_our_words(path, value, says):
    document = copy.deepcopy(WHOLE)
    at(document, path[:-1])[path[-1]] = value
    (message,) = complaint(document).values()
    assert says in message
    assert not re.search(r"[Ii]nput should|valid (string|integer|list|dict)|pydantic|Numeral", message)


@pytest.mark.parametrize(
    "host",
    [
        {"count": 3, "interfaces": {"e{n}": {"network": "lan", "mtu": "{n+1400}", "mac": "02:00:00:00:00:{n:02x}"}}},
        {"count": 1, "services": {"s{n}": {"command": ["{n}"], "ready": {"tcp": "{n+80}", "within": "{n}s"}}}},
        {"iptables": {"file": "rules.v4"}, "files": {"/etc/x": "text", "/etc/y": {"file": "y"}}},
    ],
)
def test_the_schema_takes_what_only_a_file_can_say(host):
    document = {"name": "n", "networks": {"lan": {}}, "hosts": {"X{n}": host, "Y": {}}}
    jsonschema.Draft202012Validator(schema()).validate(document)


@pytest.mark.parametrize(
    "host",
    [
        {"count": 0},
        {"count": "3"},
        {"iptables": {"file": "x", "mode": "0600"}},
        {"interfaces": {"eth0": {"mtu": "1400"}}},
        {"interfaces": {"eth0": {"mac": "{m}"}}},
        {"files": {"etc/x": "text"}},
        {"files": {"/etc/x": {"mode": 600}}},
    ],
)
def test_the_schema_refuses_what_no_file_can_say(host):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema()).validate({"name": "n", "hosts": {"X": host}})
