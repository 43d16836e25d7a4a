"""Who shares a layer-2 segment with whom: by a network, a link or a VXLAN tunnel; a macvlan is where its device is."""

from __future__ import annotations

import re
from collections.abc import Iterator

from netemu.topology.model import Topology, Vxlan

End = tuple[str, str]
"""A host and one of its interfaces."""
_TUNNEL = re.compile(r"vxlan ([0-9]{1,8})( of .*)?")


def split_endpoint(text: str) -> End:
    """`C:cni0` to ("C", "cni0"); what has no colon gives an empty interface."""
    host, _, interface = text.partition(":")
    return host, interface


def wires(topology: Topology) -> dict[str, list[End]]:
    """The ends on each network, by its name, and of each link, by `link 0`, `link 1`."""
    members = {name: list(topology.members(name)) for name in topology.networks}
    for index, link in enumerate(topology.links):
        members[f"link {index}"] = [split_endpoint(end) for end in link.endpoints]
    return members


def segments(topology: Topology) -> dict[str, list[End]]:
    """Each segment's ends: those of the wires, and tunnels by `vxlan 42` (their number) or `vxlan 42 of HOST`."""
    members = wires(topology) | _tunnels(topology)
    segment_of = {end: name for name, ends in members.items() for end in ends}
    for host_name, host in topology.hosts.items():
        for name, interface in host.interfaces.items():
            if interface.macvlan is not None and (lower := segment_of.get((host_name, interface.macvlan.dev))):
                members[lower].append((host_name, name))
    return members


def tunnel_number(segment: str) -> int | None:
    """The number of the VXLAN tunnel that a segment is, by its name; None for one that is none."""
    told = _TUNNEL.fullmatch(segment)
    return int(told[1]) if told is not None else None


def vxlans(topology: Topology) -> Iterator[tuple[End, Vxlan]]:
    """Every VXLAN tunnel's end."""
    for host_name, host in topology.hosts.items():
        for name, interface in host.interfaces.items():
            if interface.vxlan is not None:
                yield (host_name, name), interface.vxlan


def _tunnels(topology: Topology) -> dict[str, list[End]]:
    """Ends belong together if they are of one number and port, and one's remote is an address of the other's host."""
    ends = dict(vxlans(topology))
    owners = address_owners(topology) if ends else {}
    of_host: dict[tuple[str, int, int], list[End]] = {}
    for end, vxlan in ends.items():
        of_host.setdefault((end[0], vxlan.id, vxlan.port), []).append(end)
    group = {end: end for end in ends}

    def root(end: End) -> End:
        while group[end] != end:
            end = group[end]
        return end

    meeting: dict[tuple[str, int, int], End] = {}
    for end, vxlan in ends.items():
        far = [meeting.setdefault((str(vxlan.group), vxlan.id, vxlan.port), end)] if vxlan.group is not None else []
        for host in owners.get(str(vxlan.remote), ()):
            far += of_host.get((host, vxlan.id, vxlan.port), [])
        for other in far:
            group[root(other)] = root(end)
    members: dict[End, list[End]] = {}
    for end in ends:
        members.setdefault(root(end), []).append(end)
    named: dict[str, list[End]] = {}
    for first, together in members.items():
        name = f"vxlan {ends[first].id}"
        named[f"{name} of {together[0][0]}" if name in named else name] = together
    return named


def address_owners(topology: Topology) -> dict[str, list[str]]:
    """The hosts that have each address, by its text."""
    owners: dict[str, list[str]] = {}
    for host_name, host in topology.hosts.items():
        for interface in host.interfaces.values():
            for address in interface.addresses:
                owners.setdefault(str(address.ip), []).append(host_name)
    return owners
