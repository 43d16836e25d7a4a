"""The rtnetlink messages of addresses, routes and policy rules (linux/if_addr.h, rtnetlink.h, fib_rules.h)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import Literal

from netemu.kernel.links.rtnetlink import attribute, number, text

Address = IPv4Address | IPv6Address
Subnet = IPv4Network | IPv6Network
RouteKind = Literal["unicast", "blackhole", "unreachable", "prohibit"]
RuleKind = Literal["lookup", "blackhole", "unreachable", "prohibit"]
ROUTES: dict[RouteKind, int] = {"unicast": 1, "blackhole": 6, "unreachable": 7, "prohibit": 8}
RULES: dict[RuleKind, int] = {"lookup": 1, "blackhole": 6, "unreachable": 7, "prohibit": 8}

MAIN = 254
"""The number of the main table."""
_FAMILY = {4: 2, 6: 10}
_NO_DAD = 0x02
_STATIC = 4
"""RTPROT_STATIC: by an administrator."""
_UNIVERSE, _LINK, _HOST = 0, 253, 254
_ADDRESS = struct.Struct("=BBBBI")
_ROUTE = struct.Struct("=BBBBBBBBI")
_HOP = struct.Struct("=HBBi")
_DESTINATION, _OUT, _GATEWAY, _METRIC, _PREFERRED, _HOPS, _TABLE, _VIA = 1, 4, 5, 6, 7, 9, 15, 18


@dataclass(frozen=True, slots=True)
class Hop:
    """One way of a route with several; `dev` is an interface's index, `weight` from 1 on its share."""

    via: Address | None = None
    dev: int | None = None
    weight: int = 1


def address(index: int, value: IPv4Interface | IPv6Interface) -> bytes:
    """An address that is usable at once: without duplicate address detection.

    A broadcast address is given where the subnet has one (RFC 3021: one of two addresses has none).
    """
    packed, prefix = value.ip.packed, value.network.prefixlen
    scope = _HOST if value.is_loopback else _UNIVERSE
    head = _ADDRESS.pack(_FAMILY[value.version], prefix, _NO_DAD if value.version == 6 else 0, scope, index)
    parts = [head, attribute(1, packed), attribute(2, packed)]
    if value.version == 4 and prefix < 31:
        parts.append(attribute(4, value.network.broadcast_address.packed))
    return b"".join(parts)


def _gateway(family: int, via: Address) -> bytes:
    if via.version == family:
        return attribute(_GATEWAY, via.packed)
    return attribute(_VIA, struct.pack("=H", _FAMILY[via.version]) + via.packed)


def _hops(family: int, hops: tuple[Hop, ...]) -> bytes:
    parts: list[bytes] = []
    for hop in hops:
        via = _gateway(family, hop.via) if hop.via is not None else b""
        parts += (_HOP.pack(_HOP.size + len(via), 0, hop.weight - 1, hop.dev or 0), via)
    return b"".join(parts)


def route(
    to: Literal["default"] | Subnet,
    hop: Hop,
    *,
    hops: tuple[Hop, ...] = (),
    kind: RouteKind = "unicast",
    metric: int | None = None,
    table: int = MAIN,
    source: Address | None = None,
    version: int | None = None,
) -> bytes:
    """A route: by `hop`, or by several `hops`. `version` (4 or 6) is for a default route that nothing else tells."""
    told = (part.version for part in (hop.via, *(each.via for each in hops), source) if part is not None)
    family = to.version if to != "default" else version or next(told, 4)
    near = kind == "unicast" and family == 4 and hop.via is None and not hops
    scope, small = _LINK if near else _UNIVERSE, table if table < 256 else 0
    prefix = 0 if to == "default" else to.prefixlen
    head = _ROUTE.pack(_FAMILY[family], prefix, 0, 0, small, _STATIC, scope, ROUTES[kind], 0)
    parts = [head, number(_TABLE, table)]
    if to != "default":
        parts.append(attribute(_DESTINATION, to.network_address.packed))
    if hop.via is not None:
        parts.append(_gateway(family, hop.via))
    if hop.dev is not None:
        parts.append(number(_OUT, hop.dev))
    if hops:
        parts.append(attribute(_HOPS, _hops(family, hops)))
    if metric is not None:
        parts.append(number(_METRIC, metric))
    if source is not None:
        parts.append(attribute(_PREFERRED, source.packed))
    return b"".join(parts)


def rule(
    *,
    version: int,
    source: Subnet | None = None,
    to: Subnet | None = None,
    iif: str | None = None,
    oif: str | None = None,
    mark: tuple[int, int | None] | None = None,
    tos: int = 0,
    table: int = MAIN,
    priority: int | None = None,
    kind: RuleKind = "lookup",
) -> bytes:
    """A policy rule; `mark` is a firewall mark and its mask."""
    lengths = (to.prefixlen if to is not None else 0, source.prefixlen if source is not None else 0)
    small = table if table < 256 else 0
    parts = [_ROUTE.pack(_FAMILY[version], *lengths, tos, small, 0, 0, RULES[kind], 0)]
    if kind == "lookup":
        parts.append(number(15, table))
    if to is not None:
        parts.append(attribute(1, to.network_address.packed))
    if source is not None:
        parts.append(attribute(2, source.network_address.packed))
    if iif is not None:
        parts.append(text(3, iif))
    if priority is not None:
        parts.append(number(6, priority))
    if mark is not None:
        parts.append(number(10, mark[0]))
        if mark[1] is not None:
            parts.append(number(16, mark[1]))
    if oif is not None:
        parts.append(text(17, oif))
    return b"".join(parts)
