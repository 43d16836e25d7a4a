"""What a schema can't say of a topology: names, addresses and links that must fit each other."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface

from netemu.topology.document import Path
from netemu.topology.expectation import ConntrackExpectation, CounterExpectation, Expectation, PacketExpectation
from netemu.topology.model import Host, Topology
from netemu.topology.points import Point

Interface = IPv4Interface | IPv6Interface


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that does not fit: where in the topology, and what."""

    path: Path
    message: str


def faults(topology: Topology) -> list[Fault]:
    """Everything about a topology that can't be built or can't be meant; empty when all fits."""
    return [
        *_names(topology),
        *_links(topology),
        *_addresses(topology),
        *_subnets(topology),
        *_routes(topology),
        *_traffic(topology),
        *expectation_faults(topology, topology.expect),
    ]


def segments(topology: Topology) -> dict[str, list[tuple[str, str]]]:
    """Each segment's members as (host, interface); networks go by their names, links by `link 0`, `link 1`."""
    members = {name: list(topology.members(name)) for name in topology.networks}
    for index, link in enumerate(topology.links):
        members[f"link {index}"] = [split_endpoint(end) for end in link.endpoints]
    return members


def split_endpoint(text: str) -> tuple[str, str]:
    """`C:cni0` to ("C", "cni0"); what has no colon gives an empty interface."""
    host, _, interface = text.partition(":")
    return host, interface


def _names(topology: Topology) -> Iterator[Fault]:
    for host_name, host in topology.hosts.items():
        if host.nft is not None and re.search(r"\btable\s+inet\s+netemu\b", host.nft):
            yield Fault(("hosts", host_name, "nft"), "the table 'inet netemu' is the taps' own: choose another name")
        for name, interface in host.interfaces.items():
            if interface.mac is not None and int(interface.mac[:2], 16) & 1:
                path: Path = ("hosts", host_name, "interfaces", name, "mac")
                yield Fault(path, f"{interface.mac} is a group's address, not an interface's")
    for name in topology.networks:
        if name in topology.hosts:
            yield Fault(("networks", name), f"'{name}' is a host's name already")
    seen: set[str] = set()
    for index, item in enumerate(topology.traffic):
        if item.name in seen:
            yield Fault(("traffic", index, "name"), f"'{item.name}' is another traffic item's name already")
        seen.add(item.name)


def _links(topology: Topology) -> Iterator[Fault]:
    linked: dict[tuple[str, str], int] = {}
    for index, link in enumerate(topology.links):
        for side, text in enumerate(link.endpoints):
            path: Path = ("links", index, "endpoints", side)
            end_host, interface = split_endpoint(text)
            if not interface:
                yield Fault(path, f"'{text}' is no link end: write HOST:INTERFACE")
            elif end_host not in topology.hosts:
                yield Fault(path, f"no host '{end_host}': there are {', '.join(topology.hosts)}")
            elif interface not in topology.hosts[end_host].interfaces:
                there = ", ".join(topology.hosts[end_host].interfaces) or "none"
                yield Fault(path, f"no interface '{interface}' on host '{end_host}': there are {there}")
            elif (end_host, interface) in linked:
                yield Fault(path, f"{text} is an end of links[{linked[end_host, interface]}] already")
            else:
                linked[end_host, interface] = index
    yield from _loose_ends(topology, linked)


def _loose_ends(topology: Topology, linked: Mapping[tuple[str, str], int]) -> Iterator[Fault]:
    for host_name, host in topology.hosts.items():
        for name, interface_ in host.interfaces.items():
            path: Path = ("hosts", host_name, "interfaces", name)
            if name == "lo":
                yield Fault(path, "lo is always there; it can't be set here")
            elif interface_.vxlan is not None or interface_.macvlan is not None:
                if (host_name, name) in linked:
                    yield Fault(path, "is a vxlan or macvlan, and an end of a link too: it can be one only")
            elif interface_.network is None and (host_name, name) not in linked:
                yield Fault(path, "leads nowhere: give it a network, or name it in links")
            elif interface_.network is not None and (host_name, name) in linked:
                yield Fault(path, f"is on network '{interface_.network}' and an end of a link too: it can be one only")
            elif interface_.network is not None and interface_.network not in topology.networks:
                there = ", ".join(topology.networks) or "none"
                yield Fault((*path, "network"), f"no network '{interface_.network}': there are {there}")


def _each_address(topology: Topology) -> Iterator[tuple[Path, str, str, Interface]]:
    for host_name, host in topology.hosts.items():
        for name, interface in host.interfaces.items():
            for index, address in enumerate(interface.addresses):
                yield ("hosts", host_name, "interfaces", name, "addresses", index), host_name, name, address


def _addresses(topology: Topology) -> Iterator[Fault]:
    owners: dict[tuple[str, str], tuple[str, str]] = {}
    segment_of = {member: name for name, members in segments(topology).items() for member in members}
    for path, host, name, address in _each_address(topology):
        net = address.network
        if net.prefixlen < net.max_prefixlen - 1 and address.version == 4:
            if address.ip == net.network_address:
                yield Fault(path, f"{address} is its network's own address, not a host's")
            elif address.ip == net.broadcast_address:
                yield Fault(path, f"{address} is its network's broadcast address, not a host's")
        segment = segment_of.get((host, name), "")
        other = owners.setdefault((segment, str(address.ip)), (host, name))
        if other != (host, name):
            yield Fault(path, f"{address.ip} is {other[0]}:{other[1]}'s address already")


def _subnets(topology: Topology) -> Iterator[Fault]:
    """Each address lies in a subnet of its network: one declared, or one that another member is in too."""
    members: dict[tuple[str, str], list[tuple[Path, Interface]]] = defaultdict(list)
    for path, host, name, address in _each_address(topology):
        members[host, name].append((path, address))
    for segment, ends in segments(topology).items():
        declared = topology.networks[segment].subnets if segment in topology.networks else ()
        for end in ends:
            others = [address for other in ends if other != end for _, address in members.get(other, ())]
            for path, address in members.get(end, ()):
                if declared:
                    if not any(address.version == net.version and address.ip in net for net in declared):
                        nets = ", ".join(map(str, declared))
                        yield Fault(path, f"{address} is outside its network '{segment}', which is {nets}")
                elif others and not any(_share_a_subnet(mine, other) for _, mine in members[end] for other in others):
                    nets = ", ".join(sorted({str(other.network) for other in others}))
                    yield Fault(path, f"{address} is outside its network '{segment}', where the others are in {nets}")


def _share_a_subnet(one: Interface, other: Interface) -> bool:
    return one.version == other.version and (one.ip in other.network or other.ip in one.network)


def _routes(topology: Topology) -> Iterator[Fault]:
    for host_name, host in topology.hosts.items():
        for index, route in enumerate(host.routes):
            path: Path = ("hosts", host_name, "routes", index)
            if route.dev is not None and route.dev not in host.interfaces:
                yield Fault((*path, "dev"), f"no interface '{route.dev}' on host '{host_name}'")
            elif route.via is not None and route.dev is None and not _on_link(host, route.via):
                yield Fault((*path, "via"), f"{route.via} is in no network of host '{host_name}'")
            elif route.via is not None and route.to != "default" and route.via.version != route.to.version:
                yield Fault((*path, "via"), f"{route.via} can't be the way to {route.to}: another IP version")


def _on_link(host: Host, via: object) -> bool:
    return any(via in address.network for interface in host.interfaces.values() for address in interface.addresses)


def _traffic(topology: Topology) -> Iterator[Fault]:
    for index, item in enumerate(topology.traffic):
        if item.source not in topology.hosts:
            there = ", ".join(topology.hosts)
            yield Fault(("traffic", index, "from"), f"no host '{item.source}': there are {there}")


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
            yield Fault(where, f"no host '{point.host}': there are {', '.join(topology.hosts)}")
        elif point.interface not in (None, "lo", *topology.hosts[point.host].interfaces):
            yield Fault(where, f"no interface '{point.interface}' on host '{point.host}'")
        elif expectation.path and point.interface is None:
            yield Fault(where, "a path is made of wire points, as in 'B:eth0 in'")
