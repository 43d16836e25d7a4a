"""Whether routes and policy rules lead out of their host: by gateways on its links, and interfaces of its own."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address

from netemu.topology.document import Path
from netemu.topology.fault import Fault, there_are
from netemu.topology.model import Host, Route, Topology
from netemu.topology.routing import table_number


def faults(topology: Topology) -> Iterator[Fault]:
    """Everything about a topology's routes and policy rules that does not fit."""
    for host_name, host in topology.hosts.items():
        seen: dict[object, int] = {}
        for index, route in enumerate(host.routes):
            path: Path = ("hosts", host_name, "routes", index)
            yield from _ways(host_name, host, route, path)
            key = (route.version, route.network, table_number(route.table), route.metric or 0)
            if (other := seen.setdefault(key, index)) != index:
                yield Fault(path, f"routes[{other}] leads to {route.to} already: give it another metric or table")
        yield from _policy_rules(host_name, host)


def _ways(host_name: str, host: Host, route: Route, path: Path) -> Iterator[Fault]:
    ways = [((*path, "nexthops", place), hop.via, hop.dev) for place, hop in enumerate(route.nexthops)]
    for where, via, dev in ways or [(path, route.via, route.dev)]:
        if dev is not None and dev not in host.interfaces and dev != "lo":
            yield Fault((*where, "dev"), f"no interface '{dev}' on host '{host_name}'")
        elif via is not None and _is_own(host, via):
            yield Fault((*where, "via"), f"{via} is host '{host_name}' itself")
        elif via is not None and dev is None and not _on_link(host, via):
            yield Fault((*where, "via"), _unreached(host_name, via))
        elif via is not None and via.version != route.version:
            yield Fault((*where, "via"), f"{via} can't be the way to {route.to}: another IP version")
        elif via is None and route.nexthops and route.version == 6:
            yield Fault(where, "an IPv6 route's nexthops need via: the kernel takes no interface alone")
    if route.source is not None and not _is_own(host, route.source):
        yield Fault((*path, "source"), f"host '{host_name}' has no address {route.source}")
    elif route.source is not None and route.source.version != route.version:
        yield Fault((*path, "source"), f"{route.source} can't be the source for {route.to}: another IP version")


def _policy_rules(host_name: str, host: Host) -> Iterator[Fault]:
    for index, rule in enumerate(host.policy_rules):
        for key, name in (("iif", rule.iif), ("oif", rule.oif)):
            if name is not None and name != "lo" and name not in host.interfaces:
                path: Path = ("hosts", host_name, "policy_rules", index, key)
                yield Fault(path, f"no interface '{name}' on host '{host_name}': {there_are(host.interfaces)}")
        if rule in host.policy_rules[:index]:
            first = host.policy_rules.index(rule)
            yield Fault(("hosts", host_name, "policy_rules", index), f"is policy_rules[{first}] once more")


def _on_link(host: Host, via: IPv4Address | IPv6Address) -> bool:
    """Whether a gateway is a neighbour: in a network of the host, or reached by an interface alone, as a route says."""
    if via.version == 6 and via.is_link_local:
        return False
    own = (address.network for interface in host.interfaces.values() for address in interface.addresses)
    said = (route.network for route in host.routes if not route.gateways and route.dev and route.table == "main")
    return any(via in network for network in (*own, *said))


def _unreached(host_name: str, via: IPv4Address | IPv6Address) -> str:
    if via.version == 6 and via.is_link_local:
        return f"{via} is a link's own: give dev as well, the interface behind which it is"
    route = f"{{to: {via}/{via.max_prefixlen}, dev: …}}"
    return f"{via} is in no network of host '{host_name}': a route to it by its interface is one, {route}"


def _is_own(host: Host, address: IPv4Address | IPv6Address) -> bool:
    return any(address == own.ip for interface in host.interfaces.values() for own in interface.addresses)
