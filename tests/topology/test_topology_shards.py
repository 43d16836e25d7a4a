"""Networks of more ports than one bridge takes."""

from __future__ import annotations

from collections import Counter

import pytest

from netemu.topology.model import Topology
from netemu.topology.plan import plan
from netemu.topology.shards import bridges, sharded
from netemu.topology.steps import BringUp, JoinBridge, MakeBridge, MakeEnd


def star(size: int, **interface: object) -> Topology:
    hosts = {f"h{number}": {"interfaces": {"eth0": {"network": "lan", **interface}}} for number in range(size)}
    return Topology.model_validate({"name": "star", "networks": {"lan": {}, "other": {}}, "hosts": hosts})


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        (1, ("bridge",)),
        (1000, ("bridge",)),
        (1001, ("bridge", "bridge2")),
        (2001, ("bridge", "bridge2", "bridge3")),
    ],
)
def test_a_network_has_as_many_bridges_as_its_ports_need(size, wanted):
    topology = star(size)
    assert bridges(topology, "lan") == wanted
    assert bridges(topology, "other") == ("bridge",)
    assert sharded(topology) == ({"lan": len(wanted)} if len(wanted) > 1 else {})


def test_every_port_is_on_a_bridge_that_is_made_and_joined_and_none_has_too_many():
    steps = plan(star(2500, mtu=9000))
    made = [step.bridge for step in steps if isinstance(step, MakeBridge) and step.host == "lan"]
    joined = [(step.bridge, step.mtu) for step in steps if isinstance(step, JoinBridge)]
    ports = Counter(step.bridge for step in steps if isinstance(step, MakeEnd) and step.port)
    up = {step.interface for step in steps if isinstance(step, BringUp) and step.host == "lan"}
    assert made == ["bridge", "bridge2", "bridge3"]
    assert joined == [("bridge2", 9000), ("bridge3", 9000)]
    assert ports == {"bridge": 1000, "bridge2": 1000, "bridge3": 500}
    assert {*made, "join2", "uplink2", "join3", "uplink3", "port1", "port2500"} <= up


def test_a_bridge_without_a_port_is_not_waited_for():
    steps = plan(star(1))
    carriers = {step.host: step.carrier for step in steps if isinstance(step, BringUp) and step.interface == "bridge"}
    assert carriers == {"lan": True, "other": False}
