"""The steps that a plan is made of: each something to do in one namespace."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface
from typing import Literal

from netemu.topology.document import Path
from netemu.topology.interface import Macvlan, Offload, Vxlan
from netemu.topology.model import Backend, PolicyRule, Route, Service
from netemu.topology.shaping import LinkProperties
from netemu.topology.shards import BRIDGE

Tool = Literal["iptables", "ip6tables", "nft"]


@dataclass(frozen=True, slots=True)
class Step:
    """Something to do in one namespace; `path` is where the topology asks for it."""

    host: str
    path: Path


@dataclass(frozen=True, slots=True)
class MakeHost(Step):
    """Make a host's namespace."""


@dataclass(frozen=True, slots=True)
class MakeNetwork(Step):
    """Make a network's namespace."""


@dataclass(frozen=True, slots=True)
class MakeBridge(Step):
    """Make a network's bridge, or one of its bridges, in its namespace."""

    bridge: str = BRIDGE


@dataclass(frozen=True, slots=True)
class JoinBridge(Step):
    """Join a further bridge of a network to its first."""

    bridge: str
    mtu: int


@dataclass(frozen=True, slots=True)
class SetSysctl(Step):
    """Write one sysctl; `wanted` is False for netemu's own defaults, which a kernel may lack."""

    name: str
    value: str
    wanted: bool = True


@dataclass(frozen=True, slots=True)
class MakeEnd(Step):
    """Make one end of a wire; ends with the same `wire` belong together. On a network's side, a port of its bridge."""

    interface: str
    wire: int
    mac: str | None = None
    mtu: int | None = None
    port: bool = False
    bridge: str = BRIDGE
    offloads: bool | tuple[Offload, ...] = False


@dataclass(frozen=True, slots=True)
class MakeTunnel(Step):
    """Make the end of a VXLAN tunnel."""

    interface: str
    vxlan: Vxlan
    mac: str | None = None
    mtu: int | None = None
    offloads: bool | tuple[Offload, ...] = False


@dataclass(frozen=True, slots=True)
class MakeMacvlan(Step):
    """Make a macvlan on another interface of the host."""

    interface: str
    macvlan: Macvlan
    mac: str | None = None
    mtu: int | None = None
    offloads: bool | tuple[Offload, ...] = False


@dataclass(frozen=True, slots=True)
class LoadRules(Step):
    """Load rules by the real tool, exactly as given."""

    tool: Tool
    text: str
    backend: Backend = "nft"


@dataclass(frozen=True, slots=True)
class OpenTaps(Step):
    """Bind the host's taps."""


@dataclass(frozen=True, slots=True)
class AddAddress(Step):
    """Add one address, usable at once."""

    interface: str
    address: IPv4Interface | IPv6Interface


@dataclass(frozen=True, slots=True)
class BringUp(Step):
    """Set one interface up; `carrier` is whether it will report one: lo and tunnels have none."""

    interface: str
    carrier: bool = True


@dataclass(frozen=True, slots=True)
class BringUpStacked(BringUp):
    """Set up what stands on another interface, once all wires run: what it says at once must find its way."""


@dataclass(frozen=True, slots=True)
class ShapeEnd(Step):
    """Have what one interface sends delayed, lost, held to a rate."""

    interface: str
    properties: LinkProperties


@dataclass(frozen=True, slots=True)
class AddRoute(Step):
    """Add one route."""

    route: Route


@dataclass(frozen=True, slots=True)
class AddPolicyRule(Step):
    """Add one rule of the routing policy."""

    rule: PolicyRule


@dataclass(frozen=True, slots=True)
class StartService(Step):
    """Start one service and wait until it is ready."""

    name: str
    service: Service
