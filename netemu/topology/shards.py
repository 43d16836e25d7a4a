"""A network with more ports than one bridge takes: further bridges, each joined to the first.

The kernel's limit is 1024 ports a bridge (BR_MAX_PORTS in net/bridge/br_private.h).
"""

from __future__ import annotations

from netemu.topology.model import Topology

PORTS = 1000
"""Hosts' ports on one bridge; the first has a port for each further bridge besides."""
BRIDGE = "bridge"
"""The name of a network's first bridge, inside the network's namespace."""


def bridges(topology: Topology, network: str) -> tuple[str, ...]:
    """The bridges that a network is made of, in order: `bridge`, `bridge2`, `bridge3` and so on."""
    ports = len(topology.members(network))
    return tuple(bridge_of(position) for position in range(0, max(ports, 1), PORTS))


def bridge_of(position: int) -> str:
    """The bridge of a network's port, counted from 0 on."""
    shard = position // PORTS
    return BRIDGE if shard == 0 else f"{BRIDGE}{shard + 1}"


def join(bridge: str) -> tuple[str, str]:
    """The names of the two ends of what joins a further bridge to the first: the end there, and the end here."""
    number = bridge.removeprefix(BRIDGE)
    return f"join{number}", f"uplink{number}"


def sharded(topology: Topology) -> dict[str, int]:
    """Each network that is made of several bridges, and of how many."""
    found = {network: len(bridges(topology, network)) for network in topology.networks}
    return {network: number for network, number in found.items() if number > 1}
