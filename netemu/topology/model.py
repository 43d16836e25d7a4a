"""The frozen objects that a topology is made of; the topology file's schema is read off them."""

from __future__ import annotations

from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_interface,
    ip_network,
)
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StrictInt, StringConstraints, model_validator

from netemu.topology.expectation import Expectation
from netemu.topology.strict import Strict
from netemu.topology.traffic import Traffic
from netemu.topology.values import Duration, InterfaceName, MacAddress, Name, Port


def _check_written(value: Any) -> Any:
    if isinstance(value, bool | int | float):
        raise ValueError(f"'{value}' is a bare number: an address is due here")  # noqa: TRY004  pydantic wants it
    return value


def _check_address(value: Any) -> Any:
    if not isinstance(value, str):
        return _check_written(value)
    if "/" not in value:
        raise ValueError(f"'{value}' needs its prefix length, as in {value}/24")
    try:
        return ip_interface(value)
    except ValueError:
        raise ValueError(f"'{value}' is no address: write ADDRESS/PREFIX, as in 192.168.0.1/24") from None


def _check_subnet(value: Any) -> Any:
    if not isinstance(value, str) or value == "default":
        return _check_written(value)
    try:
        return ip_network(value)
    except ValueError as error:
        raise ValueError(f"'{value}' is no network: {error}") from None


Address = Annotated[IPv4Interface | IPv6Interface, BeforeValidator(_check_address)]
Subnet = Annotated[IPv4Network | IPv6Network, BeforeValidator(_check_subnet)]
Gateway = Annotated[IPv4Address | IPv6Address, BeforeValidator(_check_written)]
SysctlName = Annotated[str, StringConstraints(pattern=r"^net(\.[A-Za-z0-9_-]+)+$")]


class Network(Strict):
    """A layer-2 segment that hosts attach to: a bridge in a namespace of its own."""

    subnets: tuple[Subnet, ...] = Field(
        default=(),
        description="where its addresses must lie; without it, every interface must share a subnet with another",
    )


class Interface(Strict):
    """One interface of a host: an end of a link, or a port on a network."""

    network: Name | None = None
    addresses: tuple[Address, ...] = Field(default=(), description="with prefix length, as in 192.168.0.1/24")
    mac: MacAddress | None = None
    mtu: int | None = Field(default=None, ge=68, le=65535, strict=True)


class Route(Strict):
    """One route of a host's main table."""

    to: Annotated[Literal["default"] | IPv4Network | IPv6Network, BeforeValidator(_check_subnet)]
    via: Gateway | None = None
    dev: InterfaceName | None = None

    @model_validator(mode="after")
    def _somewhere(self) -> Route:
        if self.via is None and self.dev is None:
            raise ValueError("give via, dev or both")
        return self


class Ready(Strict):
    """How to know that a service is ready: its process listens on this port."""

    tcp: Port | None = None
    udp: Port | None = None
    within: Duration = "10s"

    @model_validator(mode="after")
    def _one_port(self) -> Ready:
        if (self.tcp is None) == (self.udp is None):
            raise ValueError("give one of tcp and udp")
        return self


class Service(Strict):
    """A process that runs on a host as long as the lab is up."""

    command: tuple[str, ...] = Field(min_length=1)
    ready: Ready | None = None


class Host(Strict):
    """A network namespace with all that belongs to it."""

    interfaces: dict[InterfaceName, Interface] = Field(default={})
    routes: tuple[Route, ...] = ()
    forwarding: bool = Field(default=False, strict=True, description="whether it routes packets between its interfaces")
    sysctls: dict[SysctlName, str | StrictInt] = Field(default={})
    iptables: str | None = Field(default=None, description="rules for iptables-restore")
    ip6tables: str | None = Field(default=None, description="rules for ip6tables-restore")
    nft: str | None = Field(default=None, description="rules for nft -f")
    services: dict[Name, Service] = Field(default={})


class Link(Strict):
    """A veth pair straight between two hosts."""

    endpoints: tuple[str, str] = Field(description="two HOST:INTERFACE, as in C:cni0")


class Topology(Strict):
    """All that a lab is to be. Two equal topologies make equal labs."""

    name: Name
    description: str = ""
    networks: dict[Name, Network] = Field(default={})
    hosts: dict[Name, Host] = Field(min_length=1)
    links: tuple[Link, ...] = ()
    traffic: tuple[Traffic, ...] = ()
    expect: tuple[Expectation, ...] = ()

    def members(self, network: str) -> tuple[tuple[str, str], ...]:
        """The (host, interface) pairs on a network, in order."""
        return tuple(
            (host_name, name)
            for host_name, host in self.hosts.items()
            for name, interface in host.interfaces.items()
            if interface.network == network
        )

    @model_validator(mode="before")
    @classmethod
    def _empty_sections_are_empty(cls, value: Any) -> Any:
        """In YAML a section whose entries are all commented out is null."""
        if not isinstance(value, dict):
            return value
        return {key: part for key, part in value.items() if part is not None or key in ("name", "hosts")}


def schema() -> dict[str, Any]:
    """The topology file's JSON Schema (draft 2020-12)."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **_only_fitting_keys(Topology.model_json_schema()),
    }


def _only_fitting_keys(node: Any) -> Any:
    """pydantic writes a key's pattern as patternProperties, which lets other keys pass."""
    if isinstance(node, list):
        return [_only_fitting_keys(item) for item in node]
    if not isinstance(node, dict):
        return node
    closed = {"additionalProperties": False} if "patternProperties" in node else {}
    return {key: _only_fitting_keys(value) for key, value in node.items()} | closed
