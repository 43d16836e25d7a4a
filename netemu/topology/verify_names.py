"""Whether every host can be found by its name: what a resolver takes for something else is no host's."""

from __future__ import annotations

import re
from collections.abc import Iterator

from netemu.topology.fault import Fault
from netemu.topology.model import Topology

_LOOPBACK = {"localhost", "ip6-localhost", "ip6-loopback", "ip6-allnodes", "ip6-allrouters"}
"""The names that every host's /etc/hosts has besides."""
_AN_ADDRESS = re.compile(r"\d+|0[xX][0-9a-fA-F]+", re.ASCII)
"""What inet_aton(3) reads as an IPv4 address, without asking for a name: `1` is 0.0.0.1."""


def faults(topology: Topology) -> Iterator[Fault]:
    """Every host's name that leads elsewhere, or to several hosts: resolvers see no case (RFC 4343)."""
    seen: dict[str, str] = {}
    for name in topology.hosts:
        if _AN_ADDRESS.fullmatch(name):
            yield Fault(("hosts", name), f"'{name}' would be read as an address, not as a name: put a letter first")
        elif name.lower() in _LOOPBACK:
            yield Fault(("hosts", name), f"'{name}' is every host itself: choose another name")
        other = seen.setdefault(name.lower(), name)
        if other != name:
            yield Fault(("hosts", name), f"'{name}' and '{other}' are one name to who looks it up: case is not seen")
