"""A topology's mappings can't be changed, so that it is a value: equal, hashable, picklable."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydantic import BaseModel
from whole_topology import WHOLE

from netemu.topology.frozen import FrozenDict
from netemu.topology.library import find, shipped
from netemu.topology.load import load, loads
from netemu.topology.model import Host, Topology

CHANGES: dict[str, Callable[[Any], Any]] = {
    "set": lambda mapping: mapping.__setitem__("b", 2),
    "delete": lambda mapping: mapping.__delitem__("a"),
    "pop": lambda mapping: mapping.pop("a"),
    "pop with a default": lambda mapping: mapping.pop("b", None),
    "popitem": lambda mapping: mapping.popitem(),
    "clear": lambda mapping: mapping.clear(),
    "update": lambda mapping: mapping.update(b=2),
    "setdefault": lambda mapping: mapping.setdefault("b", 2),
    "join": lambda mapping: mapping.__ior__({"b": 2}),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_nothing_changes_a_frozen_dict(change):
    mapping = FrozenDict({"a": 1})
    with pytest.raises(TypeError, match="can't be changed"):
        change(mapping)
    assert mapping == {"a": 1}


def test_a_frozen_dict_is_otherwise_a_dict():
    mapping = FrozenDict({"a": 1, "b": 2})
    assert mapping == {"b": 2, "a": 1} == dict(mapping)
    assert json.loads(json.dumps(mapping)) == mapping
    assert type(mapping | {"c": 3}) is type(mapping.copy()) is dict
    assert repr(mapping) == "{'a': 1, 'b': 2}"


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, *(lambda value, p=p: pickle.loads(pickle.dumps(value, p)) for p in range(2, 6))]
)
def test_a_copy_is_equal_and_as_frozen(again):
    mapping = again(FrozenDict({"a": (1, 2)}))
    assert mapping == {"a": (1, 2)}
    assert type(mapping) is FrozenDict
    assert hash(mapping) == hash(FrozenDict({"a": (1, 2)}))


def values(of: Any) -> Iterator[Any]:
    """Everything that an object of a topology is made of."""
    yield of
    if isinstance(of, BaseModel):
        inner = vars(of).values()
    else:
        inner = of.values() if isinstance(of, dict) else of if isinstance(of, tuple | list) else ()
    for part in inner:
        yield from values(part)


TOPOLOGIES: dict[str, Callable[[], Topology]] = {
    **{name: (lambda name=name: load(find(name))[0]) for name in shipped()},
    "whole": lambda: Topology.model_validate(WHOLE),
    "bare": lambda: Topology(name="n", hosts={"A": Host()}),
    "renamed": lambda: load(WHOLE, name="other", backend="nft")[0],
    "copied": lambda: Topology.model_validate(WHOLE).model_copy(update={"networks": WHOLE["networks"]}),
    "counted": lambda: loads("{name: n, hosts: {A: {count: 3, environment: {A: '{n}'}}}}")[0],
}


@pytest.mark.parametrize("make", TOPOLOGIES.values(), ids=TOPOLOGIES)
def test_a_topology_is_frozen_all_through_so_that_it_can_be_looked_up_by(make):
    topology, other = make(), make()
    topology.members("lan")  # what it keeps for itself is frozen too
    for value in values(topology):
        assert not isinstance(value, list | set | bytearray)
        assert not isinstance(value, dict) or type(value) is FrozenDict
    assert {topology: "found"}[other] == "found"
    again = pickle.loads(pickle.dumps(topology))
    assert again == topology
    assert {topology: "found"}[again] == "found"
    assert all(type(value) is FrozenDict for value in values(again) if isinstance(value, dict))


def test_topologies_that_differ_deep_down_are_two():
    one, other = (load(WHOLE)[0], load(json.loads(json.dumps(WHOLE).replace('"A": "1"', '"A": "2"')))[0])
    assert len({one, other}) == 2


def test_a_topology_says_as_plain_values_what_it_is_of():
    dumped = load(WHOLE)[0].model_dump()
    dumped["hosts"]["A"]["environment"]["B"] = "2"
    assert type(dumped["hosts"]) is dict
