"""Whether addresses fit: each a host's own on its segment, and in a subnet that others there are in too."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network

from netemu.topology.document import Path
from netemu.topology.fault import Fault
from netemu.topology.model import Topology
from netemu.topology.segments import End, segments

Interface = IPv4Interface | IPv6Interface
Subnet = IPv4Network | IPv6Network

_LEAST_IPV6_MTU = 1280
"""RFC 8200 section 5; on a smaller one the kernel switches IPv6 off (addrconf_notify in net/ipv6/addrconf.c)."""


def faults(topology: Topology) -> Iterator[Fault]:
    """Everything about a topology's addresses that does not fit."""
    yield from _addresses(topology)
    yield from _subnets(topology)


def _each_address(topology: Topology) -> Iterator[tuple[Path, End, Interface]]:
    for host_name, host in topology.hosts.items():
        for name, interface in host.interfaces.items():
            for index, address in enumerate(interface.addresses):
                yield ("hosts", host_name, "interfaces", name, "addresses", index), (host_name, name), address


def _addresses(topology: Topology) -> Iterator[Fault]:
    owners: dict[tuple[str, str], End] = {}
    segment_of = {member: name for name, members in segments(topology).items() for member in members}
    for path, end, address in _each_address(topology):
        if message := _not_a_hosts(address):
            yield Fault(path, f"{address} {message}")
        mtu = topology.hosts[end[0]].interfaces[end[1]].mtu
        if address.version == 6 and mtu is not None and mtu < _LEAST_IPV6_MTU:
            yield Fault(path, f"IPv6 needs an MTU of {_LEAST_IPV6_MTU} at least, this interface's is {mtu}")
        key = (segment_of.get(end, ""), str(address.ip))
        if key not in owners:
            owners[key] = end
        elif owners[key] == end:
            yield Fault(path, f"{address.ip} is there twice")
        else:
            yield Fault(path, f"{address.ip} is {':'.join(owners[key])}'s address already")


def _not_a_hosts(address: Interface) -> str:
    net = address.network
    if address.ip.is_multicast:
        return "is a group's address, not a host's"
    if address.ip.is_unspecified:
        return "is no host's address"
    if address.version == 4 and net.prefixlen < net.max_prefixlen - 1:
        if address.ip == net.network_address:
            return "is its network's own address, not a host's"
        if address.ip == net.broadcast_address:
            return "is its network's broadcast address, not a host's"
    return ""


def _subnets(topology: Topology) -> Iterator[Fault]:
    """Each address lies in a subnet of its network: one declared, or one that another member is in too.

    Where none is declared, an address without a subnet (/32, /128) may be anywhere: a route says how it is reached.
    """
    members: dict[End, list[tuple[Path, Interface]]] = defaultdict(list)
    for path, end, address in _each_address(topology):
        members[end].append((path, address))
    for segment, ends in segments(topology).items():
        declared = topology.networks[segment].subnets if segment in topology.networks else ()
        way = f" (networks.{segment}.subnets may say otherwise)" if segment in topology.networks else ""
        shared = _Shared({end: [address for _, address in members.get(end, ())] for end in ends})
        for end in ends:
            for path, address in members.get(end, ()):
                if declared:
                    if not any(address.version == net.version and address.ip in net for net in declared):
                        nets = ", ".join(map(str, declared))
                        yield Fault(path, f"{address} is outside its network '{segment}', which is {nets}")
                elif not _is_single(address.network) and not shared.fits(end):
                    nets = ", ".join(sorted(shared.others(end)))
                    yield Fault(
                        path, f"{address} is outside its network '{segment}', where the others are in {nets}{way}"
                    )


class _Shared:
    """The addresses on one segment, by the subnets that they name."""

    def __init__(self, addresses: dict[End, list[Interface]]) -> None:
        self.addresses = addresses
        self.named: dict[Subnet, set[End]] = {}
        for end, own in addresses.items():
            for address in own:
                self.named.setdefault(address.network, set()).add(end)
        self.within = {
            net: {
                end
                for end, own in addresses.items()
                if any(address.version == net.version and address.ip in net for address in own)
            }
            for net in self.named
        }

    def fits(self, end: End) -> bool:
        """Whether one of its addresses is in a subnet that another names, or the other way round; or it is alone."""
        if not self.others(end):
            return True
        own_nets = {address.network for address in self.addresses[end]}
        return any(self.within[net] - {end} for net in own_nets) or any(
            ends - {end} and end in self.within[net] for net, ends in self.named.items()
        )

    def others(self, end: End) -> set[str]:
        """The subnets that others name."""
        return {str(net) for net, ends in self.named.items() if ends - {end} and not _is_single(net)}


def _is_single(net: Subnet) -> bool:
    return net.prefixlen == net.max_prefixlen
