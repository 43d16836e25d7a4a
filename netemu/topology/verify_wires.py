"""Whether interfaces lead somewhere: links' ends, networks, tunnels, and what is said of their properties and MACs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from netemu.topology.document import Path
from netemu.topology.fault import Fault, there_are
from netemu.topology.model import Host, Topology
from netemu.topology.segments import End, address_owners, segments, split_endpoint

_RESERVED = {"all", "default"}
"""Names that the kernel gives no interface (sysctl_dev_name_is_allowed in include/net/neighbour.h and net/ipv4)."""


def faults(topology: Topology) -> Iterator[Fault]:
    """Everything about a topology's interfaces and links that does not fit."""
    linked: dict[End, int] = {}
    yield from _links(topology, linked)
    for host_name, host in topology.hosts.items():
        for name in host.interfaces:
            yield from _interface(topology, host_name, name, linked)
        yield from _stacks(host_name, host)
        yield from _tunnels(host_name, host)
    yield from _remotes(topology)
    yield from _macs(topology)
    yield from _properties(topology)


def _links(topology: Topology, linked: dict[End, int]) -> Iterator[Fault]:
    for index, link in enumerate(topology.links):
        for side, text in enumerate(link.endpoints):
            path: Path = ("links", index, "endpoints", side)
            host, interface = split_endpoint(text)
            if not interface:
                yield Fault(path, f"'{text}' is no link end: write HOST:INTERFACE")
            elif host not in topology.hosts:
                yield Fault(path, f"no host '{host}': {there_are(topology.hosts)}")
            elif interface not in topology.hosts[host].interfaces:
                there = there_are(topology.hosts[host].interfaces)
                yield Fault(path, f"no interface '{interface}' on host '{host}': {there}")
            elif (host, interface) in linked:
                yield Fault(path, f"{text} is an end of links[{linked[host, interface]}] already")
            else:
                linked[host, interface] = index


def _interface(topology: Topology, host_name: str, name: str, linked: Mapping[End, int]) -> Iterator[Fault]:
    interface = topology.hosts[host_name].interfaces[name]
    path: Path = ("hosts", host_name, "interfaces", name)
    virtual = "vxlan" if interface.vxlan is not None else "macvlan" if interface.macvlan is not None else None
    if name == "lo":
        yield Fault(path, "lo is always there; it can't be set here")
    elif name in _RESERVED:
        yield Fault(path, f"the kernel lets no interface be called {name}")
    elif virtual is not None:
        if (host_name, name) in linked:
            yield Fault(path, f"is a {virtual} and an end of a link too: it can be one only")
        if interface.ingress is not None:
            yield Fault((*path, "ingress"), f"a {virtual} has no other end to apply it at: use egress there")
    elif interface.network is None and (host_name, name) not in linked:
        yield Fault(path, "leads nowhere: give it a network, or name it in links")
    elif interface.network is not None and (host_name, name) in linked:
        yield Fault(path, f"is on network '{interface.network}' and an end of a link too: it can be one only")
    elif interface.network is not None and interface.network not in topology.networks:
        yield Fault((*path, "network"), f"no network '{interface.network}': {there_are(topology.networks)}")


def _stacks(host_name: str, host: Host) -> Iterator[Fault]:
    """What an interface stands on is there, and not itself, nor on it in turn."""
    lower: dict[str, str] = {}
    for name, interface in host.interfaces.items():
        for kind, on in (("vxlan", interface.vxlan), ("macvlan", interface.macvlan)):
            if on is not None and on.dev is not None:
                path: Path = ("hosts", host_name, "interfaces", name, kind, "dev")
                lower[name] = on.dev
                if on.dev not in host.interfaces:
                    yield Fault(path, f"no interface '{on.dev}' on host '{host_name}': {there_are(host.interfaces)}")
                elif _comes_back(name, lower):
                    yield Fault(path, f"{name} would stand on itself, by {on.dev}")
                elif kind == "macvlan" and host.interfaces[on.dev].macvlan is not None:
                    yield Fault(path, f"{on.dev} is a macvlan itself: name the interface that it stands on")


def _comes_back(name: str, lower: Mapping[str, str]) -> bool:
    seen, here = {name}, lower.get(name)
    while here is not None and here not in seen:
        seen.add(here)
        here = lower.get(here)
    return here == name


def _tunnels(host_name: str, host: Host) -> Iterator[Fault]:
    """No two of a host's tunnels are the same one; a passthru macvlan is alone on its device."""
    tunnels: dict[object, str] = {}
    alone: dict[str, list[str]] = {}
    for name, interface in host.interfaces.items():
        path: Path = ("hosts", host_name, "interfaces", name)
        if (vxlan := interface.vxlan) is not None:
            other = tunnels.setdefault((vxlan.id, vxlan.port), name)
            if other != name:
                yield Fault((*path, "vxlan", "id"), f"{other} is vxlan {vxlan.id} on port {vxlan.port} already")
            own = {address.ip for each in host.interfaces.values() for address in each.addresses}
            if vxlan.local is not None and vxlan.local not in own:
                yield Fault((*path, "vxlan", "local"), f"host '{host_name}' has no address {vxlan.local}")
            if vxlan.remote in own:
                yield Fault((*path, "vxlan", "remote"), f"{vxlan.remote} is host '{host_name}' itself")
        if interface.macvlan is not None:
            alone.setdefault(interface.macvlan.dev, []).append(name)
    for names in alone.values():
        if len(names) > 1 and any(_mode(host, name) == "passthru" for name in names):
            path = ("hosts", host_name, "interfaces", names[1], "macvlan", "dev")
            yield Fault(path, f"{' and '.join(names)} share it: a passthru macvlan is alone on its interface")


def _mode(host: Host, name: str) -> str:
    macvlan = host.interfaces[name].macvlan
    return macvlan.mode if macvlan is not None else ""


def _remotes(topology: Topology) -> Iterator[Fault]:
    owners: Mapping[str, list[str]] | None = None
    for host_name, host in topology.hosts.items():
        for name, interface in host.interfaces.items():
            if interface.vxlan is not None and interface.vxlan.remote is not None:
                owners = address_owners(topology) if owners is None else owners
                if str(interface.vxlan.remote) not in owners:
                    path: Path = ("hosts", host_name, "interfaces", name, "vxlan", "remote")
                    yield Fault(path, f"no host has the address {interface.vxlan.remote}")


def _macs(topology: Topology) -> Iterator[Fault]:
    for ends in segments(topology).values():
        owners: dict[str, End] = {}
        for host_name, name in ends:
            host = topology.hosts.get(host_name)
            interface = host.interfaces.get(name) if host is not None else None
            if interface is None or interface.mac is None:
                continue
            path: Path = ("hosts", host_name, "interfaces", name, "mac")
            if int(interface.mac[:2], 16) & 1:
                yield Fault(path, f"{interface.mac} is a group's address, not an interface's")
            elif not int(interface.mac.replace(":", ""), 16):
                yield Fault(path, f"{interface.mac} is no interface's address")
            other = owners.setdefault(interface.mac.lower(), (host_name, name))
            if other != (host_name, name):
                yield Fault(path, f"{interface.mac} is {other[0]}:{other[1]}'s MAC address already")


def _properties(topology: Topology) -> Iterator[Fault]:
    """One direction of a link is described once: by the sender's egress or by the receiver's ingress."""
    for link in topology.links:
        for text, far_text in (link.endpoints, link.endpoints[::-1]):
            (host, name), (far_host, far_name) = split_endpoint(text), split_endpoint(far_text)
            here = topology.hosts[host].interfaces.get(name) if host in topology.hosts else None
            there = topology.hosts[far_host].interfaces.get(far_name) if far_host in topology.hosts else None
            if here is None or there is None or here.egress is None or there.ingress is None:
                continue
            for key in here.egress.given().keys() & there.ingress.given().keys():
                path: Path = ("hosts", far_host, "interfaces", far_name, "ingress", key)
                yield Fault(path, f"{text}'s egress says the {key} of this direction already")
