"""One interface of a host: a port on a network, an end of a link, a VXLAN tunnel's end or a macvlan."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, StrictBool, model_validator

from netemu.topology.shaping import LinkProperties
from netemu.topology.strict import Strict
from netemu.topology.values import Address, HostAddress, InterfaceName, MacAddress, Name, Port

Offload = Literal["rx", "tx", "sg", "tso", "gso", "gro"]
"""As `ethtool -K` names them."""


class Vxlan(Strict):
    """The end of a VXLAN tunnel (RFC 7348): Ethernet frames in UDP datagrams between hosts."""

    id: int = Field(ge=0, lt=2**24, strict=True, description="the tunnel's number (VNI)")
    port: Port = Field(default=4789, description="the UDP port")
    dev: InterfaceName | None = Field(default=None, description="the interface that the datagrams leave by")
    local: HostAddress | None = Field(default=None, description="the datagrams' source address")
    remote: HostAddress | None = Field(default=None, description="the other end's address")
    group: HostAddress | None = Field(default=None, description="a multicast group of all ends; needs dev")

    @model_validator(mode="after")
    def _one_way(self) -> Vxlan:
        if (self.remote is None) == (self.group is None):
            raise ValueError("give one of remote and group")
        if self.group is not None and (not self.group.is_multicast or self.dev is None):
            raise ValueError("a group is a multicast address, and needs dev")
        far = self.remote or self.group
        if self.local is not None and far is not None and self.local.version != far.version:
            raise ValueError(f"local {self.local} and {far} are of two IP versions")
        return self


class Macvlan(Strict):
    """An interface with a MAC address of its own on another interface of the host."""

    dev: InterfaceName = Field(description="the interface that it stands on")
    mode: Literal["bridge", "private", "vepa", "passthru"] = "bridge"


class Interface(Strict):
    """One interface of a host; `lo` is there without asking."""

    network: Name | None = Field(default=None, description="the network that it is a port on")
    addresses: tuple[Address, ...] = Field(default=(), description="with prefix length, as in 192.168.0.1/24")
    mac: MacAddress | None = None
    mtu: int | None = Field(default=None, ge=68, le=65535, strict=True)
    offloads: StrictBool | tuple[Offload, ...] = Field(
        default=False, description="true, false, or those that stay on; off unless you say so"
    )
    vxlan: Vxlan | None = Field(default=None, description="make it the end of a VXLAN tunnel")
    macvlan: Macvlan | None = Field(default=None, description="make it a macvlan on another interface of the host")
    egress: LinkProperties | None = Field(default=None, description="what happens to packets that leave by it")
    ingress: LinkProperties | None = Field(
        default=None, description="what happens to packets that come in by it: applied at the wire's other end"
    )

    @model_validator(mode="after")
    def _one_kind(self) -> Interface:
        given = [kind for kind in ("network", "vxlan", "macvlan") if getattr(self, kind) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)}: it can be one only")
        return self
