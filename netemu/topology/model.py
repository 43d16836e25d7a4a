"""The frozen objects that a topology is made of: its networks, hosts and links, and the whole."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, StrictInt, StringConstraints, field_validator, model_validator

from netemu.topology.counting import expanded
from netemu.topology.expectation import Expectation
from netemu.topology.frozen import Frozen, FrozenDict, FrozenMapping
from netemu.topology.hostfile import HostFile, Rules
from netemu.topology.interface import Interface, Macvlan, Vxlan
from netemu.topology.recording import Recording
from netemu.topology.routing import NextHop, PolicyRule, Route
from netemu.topology.service import Ready, Service
from netemu.topology.shaping import LinkProperties
from netemu.topology.strict import Strict, plain
from netemu.topology.sysctl import dotted, twice
from netemu.topology.tracing import TracingText
from netemu.topology.traffic import Traffic
from netemu.topology.values import AbsolutePath, Environment, InterfaceName, Name, Subnet, User

__all__ = [
    "Backend",
    "Host",
    "HostFile",
    "Interface",
    "Link",
    "LinkProperties",
    "Macvlan",
    "Network",
    "NextHop",
    "PolicyRule",
    "Ready",
    "Recording",
    "Route",
    "Service",
    "Topology",
    "Traffic",
    "Vxlan",
]

SYSCTL = r"^net((\.[A-Za-z0-9_-][A-Za-z0-9_/-]*)+|(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)+)$"

SysctlName = Annotated[str, StringConstraints(pattern=SYSCTL), AfterValidator(dotted)]
"""A sysctl of a network namespace, parted by dots; a dot in an interface's name is a slash: net.ipv4.conf.eth0/1.…"""
SysctlValue = Annotated[str, StringConstraints(min_length=1)] | StrictInt

Backend = Literal["nft", "legacy"]
"""Which of iptables' two implementations loads `iptables` and `ip6tables` rules."""


class Network(Strict):
    """A layer-2 segment that hosts attach to: a bridge in a namespace of its own."""

    subnets: tuple[Subnet, ...] = Field(
        default=(),
        description="where its addresses must lie; without it, who has a subnet must share one with another",
    )


class Host(Strict):
    """A network namespace with all that belongs to it."""

    interfaces: FrozenMapping[InterfaceName, Interface] = Field(default=FrozenDict())
    routes: tuple[Route, ...] = ()
    policy_rules: tuple[PolicyRule, ...] = Field(default=(), description="which packets look in which routing table")
    forwarding: bool = Field(default=False, strict=True, description="whether it routes packets between its interfaces")
    sysctls: FrozenMapping[SysctlName, SysctlValue] = Field(default=FrozenDict())
    iptables: Rules | None = Field(default=None, description="rules for iptables-restore")
    ip6tables: Rules | None = Field(default=None, description="rules for ip6tables-restore")
    nft: Rules | None = Field(default=None, description="rules for nft -f")
    files: FrozenMapping[AbsolutePath, HostFile] = Field(
        default=FrozenDict(), description="files that its processes find there: a text, or content or file, and mode"
    )
    tmpfs: tuple[AbsolutePath, ...] = Field(
        default=(), description="folders of its own, in memory and empty at first, as in /run/frr"
    )
    environment: Environment = Field(default=FrozenDict(), description="of every process that is run on it")
    user: User | None = Field(default=None, description="who runs its services, by name or number; root unless given")
    services: FrozenMapping[Name, Service] = Field(default=FrozenDict())
    trace: TracingText = Field(
        default="all", description="which packets its hook tap traces: all, off, first N (of each connection), 1 in N"
    )

    @field_validator("sysctls", mode="before")
    @classmethod
    def _each_sysctl_once(cls, value: Any) -> Any:
        """Before its names are read: two spellings of one would be one entry then, with the later one's value."""
        if isinstance(value, dict) and (found := twice(name for name in value if isinstance(name, str))):
            raise ValueError(f"{found[0]} is {found[1]} once more")
        return value


class Link(LinkProperties):
    """A veth pair straight between two hosts; its properties hold in both directions."""

    endpoints: tuple[str, str] = Field(description="two HOST:INTERFACE, as in C:cni0")


class Topology(Strict):
    """All that a lab is to be. Two equal topologies make equal labs."""

    name: Name
    description: str = ""
    backend: Backend = Field(default="nft", description="which iptables loads the rules: nft or legacy")
    networks: FrozenMapping[Name, Network] = Field(default=FrozenDict())
    hosts: Annotated[Mapping[Name, Host], Frozen(least=1)]
    links: tuple[Link, ...] = ()
    record: Recording = Field(default=Recording(), description="how it is recorded: everything and whole unless given")
    traffic: tuple[Traffic, ...] = ()
    expect: tuple[Expectation, ...] = ()

    def members(self, network: str) -> tuple[tuple[str, str], ...]:
        """The (host, interface) pairs on a network, in order."""
        return self._members.get(network, ())

    @cached_property
    def _members(self) -> Mapping[str, tuple[tuple[str, str], ...]]:
        found: dict[str, list[tuple[str, str]]] = {}
        for host_name, host in self.hosts.items():
            for name, interface in host.interfaces.items():
                if interface.network is not None:
                    found.setdefault(interface.network, []).append((host_name, name))
        return FrozenDict({name: tuple(members) for name, members in found.items()})

    @classmethod
    def _enter(cls, value: Any, into: Self | None = None, **_options: Any) -> Self:
        """By the door that files come in by: what a schema can't say is verified as well."""
        from netemu.topology.load import enter  # not before: what opens it is made of this class

        return enter(plain(value), cls, into)[0]

    @model_validator(mode="before")
    @classmethod
    def _empty_sections_are_empty(cls, value: Any) -> Any:
        """In YAML a section whose entries are all commented out is null; and `count` makes many hosts of one."""
        if not isinstance(value, dict):
            return value
        return expanded({key: part for key, part in value.items() if part is not None or key in ("name", "hosts")})
