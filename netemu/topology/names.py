"""Every host's name, for the /etc/hosts that all hosts of a lab have."""

from __future__ import annotations

from netemu.topology.model import Topology

_OWN = """\
127.0.0.1 localhost
::1 localhost ip6-localhost ip6-loopback
ff02::1 ip6-allnodes
ff02::2 ip6-allrouters
"""


def hosts_file(topology: Topology) -> str:
    """hosts(5) with all addresses of each host of the lab, in the order of the topology."""
    lines = [
        f"{address.ip} {name}\n"
        for name, host in topology.hosts.items()
        for interface in host.interfaces.values()
        for address in interface.addresses
    ]
    return _OWN + "".join(lines)
