"""Whether an interface that stands on another can have the MTU that it asks for."""

from __future__ import annotations

from collections.abc import Iterator

from netemu.topology.fault import Fault
from netemu.topology.model import Host, Topology, Vxlan

ETHERNET_MTU = 1500
_HEADROOM = {4: 50, 6: 70}
"""What a VXLAN tunnel adds to a frame: Ethernet, IP, UDP and VXLAN headers (vxlan_headroom in include/net/vxlan.h)."""


def faults(topology: Topology) -> Iterator[Fault]:
    """Every MTU that is more than what is below carries: the kernel lowers a tunnel's silently, refuses a macvlan's."""
    for host_name, host in topology.hosts.items():
        for name, interface in host.interfaces.items():
            most = _most(host, name)
            if interface.mtu is not None and most is not None and interface.mtu > most:
                below = (interface.vxlan or interface.macvlan).dev  # type: ignore[union-attr]
                path = ("hosts", host_name, "interfaces", name, "mtu")
                yield Fault(path, f"{interface.mtu} is more than {below} lets through: {most} is the most")


def _most(host: Host, name: str) -> int | None:
    """The largest MTU that what an interface stands on allows (vxlan_config_apply, macvlan_common_newlink)."""
    interface = host.interfaces.get(name)
    if interface is None:
        return None
    if interface.vxlan is not None and interface.vxlan.dev is not None:
        return _mtu(host, interface.vxlan.dev) - _HEADROOM[_version(interface.vxlan)]
    return _mtu(host, interface.macvlan.dev) if interface.macvlan is not None else None


def _mtu(host: Host, name: str) -> int:
    """The MTU that an interface has; a chain of them has an end, as verify_wires sees to it."""
    seen = set()
    taken = 0
    while name not in seen and (interface := host.interfaces.get(name)) is not None and interface.mtu is None:
        seen.add(name)
        on = interface.vxlan or interface.macvlan
        if on is None or on.dev is None:
            break
        taken += _HEADROOM[_version(interface.vxlan)] if interface.vxlan is not None else 0
        name = on.dev
    found = host.interfaces.get(name)
    return ((found.mtu if found is not None else None) or ETHERNET_MTU) - taken


def _version(vxlan: Vxlan) -> int:
    far = vxlan.remote or vxlan.group
    return far.version if far is not None else 4
