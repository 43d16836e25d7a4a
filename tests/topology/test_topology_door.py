"""Whatever way a topology, or a part of one, comes in from Python: it is refused as a file is, and in its words."""

from __future__ import annotations

import copy
import inspect
import io
import json
from collections import OrderedDict
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_topology_complaints import WRONG, at, mappings
from test_topology_remainder import MANY, places
from whole_topology import WHOLE

import netemu
from netemu.errors import TopologyError, UsageError
from netemu.topology import expectation, hostfile, interface, model, recording, routing, service, shaping, traffic
from netemu.topology.document import read_document
from netemu.topology.load import expectations_for, load, loads
from netemu.topology.model import Host, Interface, Network, Topology
from netemu.topology.schema import schema
from netemu.topology.strict import Strict

DOORS = {
    "load": load,
    "Lab": netemu.Lab,
    "Topology": lambda document: Topology(**document),
    "model_validate": Topology.model_validate,
}
MODULES = (expectation, hostfile, interface, model, recording, routing, service, shaping, traffic)
KINDS = sorted(
    {kind for module in MODULES for _, kind in inspect.getmembers(module, inspect.isclass) if issubclass(kind, Strict)}
    - {Strict},
    key=lambda kind: kind.__name__,
)


def said(door: Any, document: Any) -> list[tuple[str, str, int | None]]:
    """Key, message and line of each problem; none if it is taken."""
    try:
        door(document)
    except TopologyError as error:
        return [(problem.key, problem.message, problem.line) for problem in error.problems]
    return []


def said_of_a_file(document: Any) -> list[tuple[str, str, None]]:
    return [(key, message, None) for key, message, _ in said(loads, json.dumps(document))]


@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)
def test_all_faults_are_told_in_one_round_whatever_door_is_taken(door):
    document = read_document(MANY).value
    found = said(door, document)
    assert sorted(found) == sorted((key, message, None) for key, message, _ in said(loads, MANY))
    assert len(found) == 10


@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)
def test_what_only_verification_finds_is_told_at_every_door(door):
    found = said(door, {"name": "n", "hosts": {"A": {"interfaces": {"eth0": {"network": "lna"}}}}})
    assert found == [("hosts.A.interfaces.eth0.network", "no network 'lna': there are none", None)]


@pytest.mark.parametrize("door", [load, netemu.Lab, Topology.model_validate])
@pytest.mark.parametrize("given_value", [None, 5, [], ["name"], {"name"}, object(), b"name: x"])
def test_what_is_no_mapping_is_refused_as_such(door, given_value):
    assert said(door, given_value) == [("", "a topology is a mapping with a name and hosts", None)]


def test_what_is_wrong_in_many_hosts_of_one_is_told_once():
    (problem,) = said(load, {"name": "n", "hosts": {"A": {"count": 3, "interfaces": {"e": {}}}}})
    assert problem[:2] == (
        "hosts.A1.interfaces.e",
        "leads nowhere: give it a network, or name it in links (so for 2 more of them)",
    )
    assert said(load, {"name": "n", "hosts": {"A": {"count": 0}}})[0][0] == "hosts.A.count"


@pytest.mark.parametrize("path", mappings(WHOLE), ids=lambda path: ".".join(map(str, path)))
def test_an_unknown_key_is_refused_at_every_depth_as_in_a_file(path):
    document = copy.deepcopy(WHOLE)
    place = at(document, path)
    key = list(place)[-1] if place else "addresses"
    place[f"{key}x"] = place.pop(key, [])
    found = said(load, document)
    assert any(f"unknown key '{key}x', did you mean '{key}'?" in message for _, message, _ in found)
    assert sorted(found) == sorted(said_of_a_file(document))


@pytest.mark.parametrize(("path", "value", "_says"), WRONG.values(), ids=WRONG)
def test_a_wrong_value_is_refused_as_in_a_file(path, value, _says):
    document = copy.deepcopy(WHOLE)
    at(document, path[:-1])[path[-1]] = value
    assert said(load, document) == said_of_a_file(document) != []


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=2),
    max_leaves=4,
)
PLACES = list(places(WHOLE))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from(PLACES), ODD), min_size=1, max_size=3))
def test_whatever_is_put_into_a_mapping_is_taken_or_refused_with_a_topology_error(changes):
    document = copy.deepcopy(WHOLE)
    for path, value in changes:
        try:
            at(document, path[:-1])[path[-1]] = value
        except (TypeError, LookupError):
            continue
    for _, message, line in said(load, document):
        assert message
        assert line is None


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_part_refuses_an_unknown_key_naming_the_nearest(kind):
    key = next(field.alias or name for name, field in kind.model_fields.items())
    for make in (kind.model_validate, lambda given_value: kind(**given_value)):
        found = {key: message for key, message, _ in said(make, {f"{key}y": 1})}
        assert found[f"{key}y"].startswith(f"unknown key '{key}y', did you mean '{key}'?")
    assert kind is Topology or kind.__name__ in schema()["$defs"]


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(KINDS), st.data())
def test_every_part_takes_what_is_given_or_refuses_it_with_a_topology_error(kind, data):
    keys = [field.alias or name for name, field in kind.model_fields.items()]
    said(kind.model_validate, data.draw(st.dictionaries(st.sampled_from(keys), ODD, max_size=3) | ODD))


def test_a_part_names_the_key_s_path_in_itself():
    found = said(lambda _: Host(interfaces={"eth0": {"adresses": []}}, routes=[{"to": "default"}]), None)
    assert [key for key, *_ in found] == ["interfaces.eth0.adresses", "routes[0]"]


def test_parts_that_are_objects_already_stand_beside_mappings():
    hosts = {"A": Host(interfaces={"eth0": Interface(network="q")}), "B": {"interfaces": {"e": {"networ": "lan"}}}}
    found = said(lambda _: Topology(name="n", networks={"lan": Network()}, hosts=hosts), None)
    assert sorted(key for key, *_ in found) == ["hosts.A.interfaces.eth0.network", "hosts.B.interfaces.e.networ"]


def iter_lists(value: Any) -> Any:
    """The same with tuples and iterators for lists."""
    if isinstance(value, dict):
        return {key: iter_lists(part) for key, part in value.items()}
    return iter(tuple(map(iter_lists, value))) if isinstance(value, list) else value


@pytest.mark.parametrize("of", [MappingProxyType, OrderedDict, iter_lists])
def test_other_mappings_and_lists_say_the_same(of):
    assert load(of(WHOLE))[0] == loads(json.dumps(WHOLE))[0]


def test_a_mapping_without_an_end_is_refused():
    hosts: dict[str, Any] = {}
    hosts["A"] = hosts
    assert said(load, {"name": "n", "hosts": hosts}) == [("", "the topology is nested too deeply", None)]
    assert said(Host.model_validate, hosts) == [("", "the topology is nested too deeply", None)]


def test_a_changed_copy_is_verified_too():
    topology = load(WHOLE)[0]
    assert topology.model_copy(update={"name": "other"}).name == "other"
    assert topology.model_copy() == topology
    assert said(lambda update: topology.model_copy(update=update), {"links": []})[0][0] == "hosts.A.interfaces.e1"
    (problem,) = said(lambda update: topology.model_copy(update=update), {"hots": {}})
    assert problem[1] == "unknown key 'hots', did you mean 'hosts'?"
    item = topology.traffic[0]
    assert item.model_copy(update={"from": "B"}) == item.model_copy(update={"source": "B"}) != item


def test_an_object_is_taken_as_it_is():
    topology = load(WHOLE)[0]
    assert Topology.model_validate(topology) is topology
    assert netemu.Lab(topology).topology is topology


def test_a_mapping_can_be_loaded_under_another_name_and_backend():
    topology, _ = load(WHOLE, name="other", backend="nft")
    assert (topology.name, topology.backend) == ("other", "nft")
    with pytest.raises(UsageError, match="is no name for a lab"):
        load(WHOLE, name="a b")


def test_json_is_taken_or_refused_alike():
    assert Topology.model_validate_json(json.dumps(WHOLE)) == load(WHOLE)[0]
    assert said(Topology.model_validate_json, '{"name": "n"}') == [("hosts", "is missing", None)]
    ((key, message, _),) = said(Host.model_validate_json, "{")
    assert key == ""
    assert message.startswith("is no JSON")


def test_an_expectation_of_one_s_own_has_the_nearest_known_key_named():
    topology = load(WHOLE)[0]
    found = said(lambda expect: expectations_for(topology, expect), [{**WHOLE["expect"][0], "ttll": 1}])
    assert found == [("expect[0].ttll", "unknown key 'ttll', did you mean 'ttl'?", None)]
    assert said(lambda expect: expectations_for(topology, expect), 5)[0][1] == "give a list of expectations"


def test_an_open_file_is_loaded_under_its_name(tmp_path):
    (tmp_path / "rules").write_text("*nat\nCOMMIT\n")
    file = tmp_path / "lab.yaml"
    file.write_text("name: n\nhosts: {A: {iptables: {file: rules}}}\n")
    with file.open() as text, file.open("rb") as data:
        assert load(text)[0] == load(data)[0] == load(file)[0]
    (problem,) = said(load, io.StringIO("name: n\nhosts: {A: {x: 1}}"))
    assert problem[0] == "hosts.A.x"
    assert problem[2] == 2
