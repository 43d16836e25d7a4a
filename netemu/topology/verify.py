"""What a schema can't say of a topology: everything about it that can't be built or can't be meant."""

from __future__ import annotations

import re
from collections.abc import Iterator

from netemu.topology import (
    verify_addresses,
    verify_expectations,
    verify_mtus,
    verify_names,
    verify_places,
    verify_routes,
    verify_wires,
)
from netemu.topology.document import Path
from netemu.topology.fault import Fault, there_are
from netemu.topology.model import Topology
from netemu.topology.verify_expectations import expectation_faults

__all__ = ["Fault", "expectation_faults", "faults"]


def faults(topology: Topology) -> list[Fault]:
    """Everything that does not fit; empty when all does."""
    return [
        *_names(topology),
        *verify_names.faults(topology),
        *verify_wires.faults(topology),
        *verify_mtus.faults(topology),
        *verify_addresses.faults(topology),
        *verify_routes.faults(topology),
        *verify_places.faults(topology),
        *_traffic(topology),
        *verify_expectations.expectation_faults(topology, topology.expect),
    ]


def _names(topology: Topology) -> Iterator[Fault]:
    for host_name, host in topology.hosts.items():
        if host.nft is not None and re.search(r"\btable\s+inet\s+netemu\b", host.nft):
            path: Path = ("hosts", host_name, "nft")
            yield Fault(path, "the table 'inet netemu' is the taps' own: choose another name")
    for name in topology.networks:
        if name in topology.hosts:
            yield Fault(("networks", name), f"'{name}' is a host's name already")
    seen: set[str] = set()
    for index, item in enumerate(topology.traffic):
        if item.name in seen:
            yield Fault(("traffic", index, "name"), f"'{item.name}' is another traffic item's name already")
        seen.add(item.name)


def _traffic(topology: Topology) -> Iterator[Fault]:
    for index, item in enumerate(topology.traffic):
        if item.source not in topology.hosts:
            yield Fault(("traffic", index, "from"), f"no host '{item.source}': {there_are(topology.hosts)}")
