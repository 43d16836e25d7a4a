"""The base of every object of a topology."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from netemu.errors import TopologyError
from netemu.topology import expectation, model, traffic
from netemu.topology.strict import Strict

CLASSES = sorted(
    {
        value
        for module in (expectation, model, traffic)
        for value in vars(module).values()
        if isinstance(value, type) and value.__module__ == module.__name__
    },
    key=lambda value: value.__name__,
)


@pytest.mark.parametrize("of", CLASSES)
def test_every_object_of_a_topology_is_frozen_and_strict(of):
    assert issubclass(of, Strict)


def test_an_unknown_key_is_refused():
    with pytest.raises(TopologyError, match="surprise"):
        model.Host.model_validate({"surprise": 1})


def test_a_value_can_not_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        model.Host().forwarding = True
