"""What expectations name that the topology does not have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from netemu.topology.document import Path
from netemu.topology.expectation import ConntrackExpectation, CounterExpectation, Expectation, PacketExpectation
from netemu.topology.fault import Fault, there_are
from netemu.topology.model import Topology
from netemu.topology.points import Point


def expectation_faults(topology: Topology, expect: Sequence[Expectation]) -> list[Fault]:
    """What expectations name that the topology does not have."""
    return list(_expectations(topology, expect))


def _expectations(topology: Topology, expect: Sequence[Expectation]) -> Iterator[Fault]:
    items = {item.name for item in topology.traffic}
    for index, expectation in enumerate(expect):
        path: Path = ("expect", index)
        if isinstance(expectation, CounterExpectation):
            if expectation.counter not in topology.hosts:
                yield Fault((*path, "counter"), f"no host '{expectation.counter}'")
            continue
        if expectation.traffic not in items:
            there = ", ".join(sorted(items)) or "none"
            yield Fault((*path, "traffic"), f"no traffic item '{expectation.traffic}': there are {there}")
        if isinstance(expectation, ConntrackExpectation):
            if expectation.conntrack not in topology.hosts:
                yield Fault((*path, "conntrack"), f"no host '{expectation.conntrack}'")
        elif isinstance(expectation, PacketExpectation):
            yield from _points(topology, path, expectation)


def _points(topology: Topology, path: Path, expectation: PacketExpectation) -> Iterator[Fault]:
    named = [((*path, "at"), expectation.at)] if expectation.at else []
    named += [((*path, "path", place), text) for place, text in enumerate(expectation.path or ())]
    for where, text in named:
        point = Point.parse(str(text))
        if point.host not in topology.hosts:
            yield Fault(where, f"no host '{point.host}': {there_are(topology.hosts)}")
        elif point.interface not in (None, "lo", *topology.hosts[point.host].interfaces):
            yield Fault(where, f"no interface '{point.interface}' on host '{point.host}'")
        elif expectation.path and point.interface is None:
            yield Fault(where, "a path is made of wire points, as in 'B:eth0 in'")
