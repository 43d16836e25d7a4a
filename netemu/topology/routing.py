"""A host's routes and policy rules, with rtnetlink's words."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StrictInt, WithJsonSchema, model_validator

from netemu.topology.strict import Strict
from netemu.topology.values import Destination, HostAddress, InterfaceName, Subnet

_MOST_TOS = 0x1E
_MARK = re.compile(r"^(0x[0-9a-fA-F]+|\d+)(/(0x[0-9a-fA-F]+|\d+))?$")


def _check_mark(mark: str | int) -> str | int:
    match = _MARK.fullmatch(str(mark))
    if match is None or any(int(part, 0) >= 2**32 for part in (match[1], match[3] or "0")):
        raise ValueError(f"'{mark}' is no mark: write a number of 32 bits, or MARK/MASK, as in 0x10/0xf0")
    return mark


def _check_table(table: Any) -> Any:
    number = isinstance(table, int) and not isinstance(table, bool) and 0 < table < 2**32
    if not number and not (isinstance(table, str) and table in TABLES):
        raise ValueError(f"'{table}' is no routing table: write a number, or {', '.join(TABLES)}")
    return table


TABLES = {"main": 254, "local": 255, "default": 253}

Table = Annotated[
    Literal["main", "local", "default"] | Annotated[StrictInt, Field(ge=1, lt=2**32)], BeforeValidator(_check_table)
]
"""A routing table, by number, or by one of the names that every kernel has (255 is local, 254 main, 253 default)."""

Mark = Annotated[
    str | StrictInt,
    AfterValidator(_check_mark),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": _MARK.pattern}]}),
]


def table_number(table: str | int) -> int:
    """The number of a routing table (enum rt_class_t in linux/rtnetlink.h)."""
    return TABLES[table] if isinstance(table, str) else table


class NextHop(Strict):
    """One of the ways of a multipath route; flows are spread by weight."""

    via: HostAddress | None = None
    dev: InterfaceName | None = None
    weight: int = Field(default=1, ge=1, le=256, strict=True)

    @model_validator(mode="after")
    def _somewhere(self) -> NextHop:
        if self.via is None and self.dev is None:
            raise ValueError("give via, dev or both")
        return self


class Route(Strict):
    """One route of a host: out by a gateway or interface, by several, or nowhere."""

    to: Destination = Field(description="a subnet, or default")
    via: HostAddress | None = Field(default=None, description="the gateway")
    dev: InterfaceName | None = None
    metric: int | None = Field(default=None, ge=0, lt=2**32, strict=True, description="the lowest one is taken")
    table: Table = "main"
    type: Literal["unicast", "blackhole", "unreachable", "prohibit"] = "unicast"
    nexthops: tuple[NextHop, ...] = Field(default=(), description="several ways, among which flows are spread")
    source: HostAddress | None = Field(default=None, description="the source address that packets of this host get")

    @model_validator(mode="after")
    def _somewhere(self) -> Route:
        ways = [key for key in ("via", "dev", "nexthops") if getattr(self, key)]
        if self.type != "unicast" and ways:
            raise ValueError(f"a {self.type} route leads nowhere: leave out {', '.join(ways)}")
        if self.type == "unicast" and not ways:
            raise ValueError("give via, dev or both")
        if self.nexthops and len(ways) > 1:
            raise ValueError(f"{' and '.join(ways)}: give one way, or several in nexthops")
        return self

    @property
    def version(self) -> Literal[4, 6]:
        """The IP version; a default route is of its gateway's, or source's, and IPv4's if neither is given."""
        if self.to != "default":
            return self.to.version
        gateways = (self.via, self.source, *(hop.via for hop in self.nexthops))
        return next((address.version for address in gateways if address is not None), 4)

    @property
    def gateways(self) -> tuple[IPv4Address | IPv6Address, ...]:
        """The gateways that it leads by; none if it leads out of an interface straight away, or nowhere."""
        return tuple(via for via in (self.via, *(hop.via for hop in self.nexthops)) if via is not None)

    @property
    def network(self) -> IPv4Network | IPv6Network:
        """The subnet that it leads to, `0.0.0.0/0` or `::/0` for default."""
        if self.to != "default":
            return self.to
        return IPv4Network("0.0.0.0/0") if self.version == 4 else IPv6Network("::/0")


class PolicyRule(Strict):
    """One rule of a host's routing policy, as `ip rule` has them: which packets look in which table."""

    source: Subnet | None = Field(default=None, alias="from", description="packets with a source address in here")
    to: Subnet | None = Field(default=None, description="packets to an address in here")
    iif: InterfaceName | None = Field(default=None, description="packets that came in by it; lo for the host's own")
    oif: InterfaceName | None = Field(default=None, description="packets of sockets bound to it")
    fwmark: Mark | None = Field(default=None, description="packets with this mark, or MARK/MASK")
    tos: int | None = Field(default=None, ge=0, le=255, strict=True)
    table: Table | None = None
    priority: int | None = Field(default=None, ge=0, lt=2**32, strict=True, description="the lowest comes first")
    type: Literal["lookup", "blackhole", "unreachable", "prohibit"] = "lookup"
    family: Literal["ipv4", "ipv6"] | None = Field(
        default=None, description="of which packets, where from and to don't tell: ipv4 unless you say so"
    )

    @model_validator(mode="after")
    def _fits_together(self) -> PolicyRule:
        if (self.type == "lookup") != (self.table is not None):
            raise ValueError("give table" if self.type == "lookup" else f"a {self.type} rule looks in no table")
        if self.tos is not None and self.tos & 3:
            raise ValueError(f"tos {self.tos}: its two lowest bits are ECN's (RFC 3168), no rule can select by them")
        if self.tos is not None and self.tos > _MOST_TOS and self.version == 4:
            raise ValueError(f"tos {self.tos}: of IPv4's the kernel takes none beyond {_MOST_TOS:#x} (IPTOS_TOS_MASK)")
        versions = {net.version for net in (self.source, self.to) if net is not None}
        if self.family is not None:
            versions.add(4 if self.family == "ipv4" else 6)
        if len(versions) > 1:
            raise ValueError("from, to and family are of two IP versions")
        return self

    @property
    def version(self) -> Literal[4, 6]:
        """The IP version of the packets that it is about."""
        net = self.source or self.to
        if net is not None:
            return net.version
        return 6 if self.family == "ipv6" else 4

    @property
    def mark(self) -> tuple[int, int] | None:
        """The mark and its mask; all 32 bits count if no mask is given."""
        if self.fwmark is None:
            return None
        value, _, mask = str(self.fwmark).partition("/")
        return int(value, 0), int(mask, 0) if mask else 2**32 - 1
