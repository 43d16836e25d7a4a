"""A topology as nodes and edges, whatever it is drawn with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from netemu import Topology


@dataclass(frozen=True, slots=True)
class End:
    """Where an edge ends: an interface of a host, or a network (then `interface` is empty)."""

    node: str
    interface: str = ""
    addresses: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """`C:cni0`, or the network's name."""
        return f"{self.node}:{self.interface}" if self.interface else self.node


@dataclass(frozen=True, slots=True)
class Edge:
    """A host's interface on a network, or a link between two hosts."""

    one: End
    other: End


@dataclass(frozen=True, slots=True)
class Shape:
    """What is drawn: hosts with what is worth saying of each, networks, and edges in the topology's order."""

    name: str
    description: str
    hosts: dict[str, str]
    networks: tuple[str, ...]
    edges: tuple[Edge, ...]


def shape(topology: Topology) -> Shape:
    """The shape of a topology."""
    edges = [
        Edge(_end(topology, host, interface), End(network))
        for network in topology.networks
        for host, interface in topology.members(network)
    ]
    for link in topology.links:
        one, other = (_end(topology, *endpoint.split(":", 1)) for endpoint in link.endpoints)
        edges.append(Edge(one, other))
    hosts = {name: ", ".join(_about(host)) for name, host in topology.hosts.items()}
    return Shape(topology.name, topology.description, hosts, tuple(topology.networks), tuple(edges))


def plain(drawn: Shape) -> dict[str, Any]:
    """The shape as JSON tells it."""
    interfaces: dict[str, dict[str, list[str]]] = {host: {} for host in drawn.hosts}
    for edge in drawn.edges:
        for end in (edge.one, edge.other):
            if end.interface:
                interfaces[end.node][end.interface] = list(end.addresses)
    hosts = [
        {"kind": "host", "name": host, "interfaces": interfaces[host], "about": about}
        for host, about in drawn.hosts.items()
    ]
    networks = [{"kind": "network", "name": network} for network in drawn.networks]
    edges = [
        {"kind": "link" if edge.other.interface else "network", "ends": [edge.one.name, edge.other.name]}
        for edge in drawn.edges
    ]
    return {"lab": drawn.name, "nodes": [*hosts, *networks], "edges": edges}


def _end(topology: Topology, host: str, interface: str) -> End:
    return End(host, interface, tuple(str(each) for each in topology.hosts[host].interfaces[interface].addresses))


def _about(host: Any) -> list[str]:
    """What a reader of a drawing wants to know of a host."""
    told = ["forwards"] if host.forwarding else []
    told += [tool for tool in ("iptables", "ip6tables", "nft") if getattr(host, tool)]
    for name, service in host.services.items():
        ready = service.ready
        port = next((f" {kind} {getattr(ready, kind)}" for kind in ("tcp", "udp") if getattr(ready, kind, None)), "")
        told.append(name + port)
    return told
