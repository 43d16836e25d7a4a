"""A topology as nodes and edges, whatever it is drawn with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from netemu import Topology

_VXLAN_PORT = 4789
"""IANA's, and the topology's own default."""


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
class Tunnel:
    """A VXLAN tunnel: its two ends, or all ends that share a multicast group."""

    name: str
    ends: tuple[End, ...]
    shared: bool = False


@dataclass(frozen=True, slots=True)
class Shape:
    """What is drawn: hosts with what is worth saying of each, networks, edges and tunnels in the topology's order.

    `interfaces` are all that a host has, each with its addresses.
    """

    name: str
    description: str
    hosts: dict[str, str]
    networks: tuple[str, ...]
    edges: tuple[Edge, ...]
    tunnels: tuple[Tunnel, ...]
    interfaces: dict[str, dict[str, tuple[str, ...]]]


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
    tunnels = tuple(_tunnels(topology))
    drawn = {end.name for tunnel in tunnels for end in tunnel.ends}
    hosts = {name: ", ".join(_about(name, host, drawn)) for name, host in topology.hosts.items()}
    interfaces = {
        name: {interface: _addresses(told) for interface, told in host.interfaces.items()}
        for name, host in topology.hosts.items()
    }
    networks = tuple(topology.networks)
    return Shape(topology.name, topology.description, hosts, networks, tuple(edges), tunnels, interfaces)


def plain(drawn: Shape) -> dict[str, Any]:
    """The shape as JSON tells it."""
    hosts = [
        {
            "kind": "host",
            "name": host,
            "interfaces": {name: list(addresses) for name, addresses in drawn.interfaces[host].items()},
            "about": about,
        }
        for host, about in drawn.hosts.items()
    ]
    networks = [{"kind": "network", "name": network} for network in drawn.networks]
    networks += [{"kind": "vxlan", "name": tunnel.name} for tunnel in drawn.tunnels if tunnel.shared]
    edges = [
        {"kind": "link" if edge.other.interface else "network", "ends": [edge.one.name, edge.other.name]}
        for edge in drawn.edges
    ]
    for tunnel in drawn.tunnels:
        ends = [end.name for end in tunnel.ends]
        pairs = [[end, tunnel.name] for end in ends] if tunnel.shared else [ends]
        edges += [{"kind": "vxlan", "ends": pair} for pair in pairs]
    return {"lab": drawn.name, "nodes": [*hosts, *networks], "edges": edges}


def _end(topology: Topology, host: str, interface: str) -> End:
    return End(host, interface, _addresses(topology.hosts[host].interfaces[interface]))


def _addresses(interface: Any) -> tuple[str, ...]:
    return tuple(str(each) for each in interface.addresses)


def _tunnels(topology: Topology) -> Iterator[Tunnel]:
    """Each two ends of which one sends to an address of the other's host, and all ends of each multicast group."""
    hosts_of: dict[Any, list[str]] = {}
    for owner, about in topology.hosts.items():
        for each in about.interfaces.values():
            for address in each.addresses:
                hosts_of.setdefault(address.ip, []).append(owner)
    beside = _beside(topology)
    ends = [
        (name, interface, told.vxlan)
        for name, host in topology.hosts.items()
        for interface, told in host.interfaces.items()
        if told.vxlan is not None
    ]
    told: set[frozenset[tuple[str, str]]] = set()
    for host, interface, vxlan in ends:
        alike = [each for each in ends if (each[2].id, each[2].port) == (vxlan.id, vxlan.port)]
        if vxlan.group is not None:
            mine = [(name, at) for name, at, other in alike if other.group == vxlan.group]
        else:
            far = {name for name in hosts_of.get(vxlan.remote, ()) if name != host}
            far = far & beside[host] or far  # several tenants may have one address: it is meant where it is near
            mine = [(host, interface), *((name, at) for name, at, _ in alike if name in far)][:2]
        if len(mine) > 1 and (these := frozenset(mine)) not in told:
            told.add(these)
            over = f" over {vxlan.group}" if vxlan.group is not None else ""
            over = over if vxlan.port == _VXLAN_PORT else f"{over} port {vxlan.port}"
            found = tuple(_end(topology, *each) for each in mine)
            yield Tunnel(f"vxlan {vxlan.id}{over}", found, shared=vxlan.group is not None)


def _beside(topology: Topology) -> dict[str, set[str]]:
    """The hosts that share a network or a link with each."""
    found: dict[str, set[str]] = {host: set() for host in topology.hosts}
    together = [{host for host, _ in topology.members(network)} for network in topology.networks]
    together += [{endpoint.split(":", 1)[0] for endpoint in link.endpoints} for link in topology.links]
    for hosts in together:
        for host in hosts:
            found[host] |= hosts
    return found


def _about(whose: str, host: Any, drawn: set[str]) -> list[str]:
    """What a reader of a drawing wants to know of a host: of its interfaces, those that no edge shows."""
    told = ["forwards"] if host.forwarding else []
    for interface, about in host.interfaces.items():
        where = " ".join((interface, *_addresses(about)))
        if about.macvlan is not None:
            told.append(f"macvlan {where} on {about.macvlan.dev}")
        elif about.vxlan is not None and f"{whose}:{interface}" not in drawn:
            told.append(f"vxlan {about.vxlan.id} {where} to {about.vxlan.remote or about.vxlan.group}")
    told += [tool for tool in ("iptables", "ip6tables", "nft") if getattr(host, tool)]
    for name, service in host.services.items():
        ready = service.ready
        port = next((f" {kind} {getattr(ready, kind)}" for kind in ("tcp", "udp") if getattr(ready, kind, None)), "")
        told.append(name + port)
    return told
