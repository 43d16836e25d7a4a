"""What a namespace has, as the kernel says it: interfaces, addresses, routes, policy rules and queueing disciplines.

Plain dicts, named as iproute2's JSON names them where that has a name. Read back by pyroute2's message classes, which
are imported here alone: that costs a tenth of a second.
"""

from __future__ import annotations

from typing import Any

from netemu.kernel.links import interfaces, qdisc
from netemu.kernel.links import rtnetlink as rt
from netemu.kernel.links.links import Links

_FAMILIES = {2: "inet", 10: "inet6"}
_SCOPES = {0: "global", 200: "site", 253: "link", 254: "host", 255: "nowhere"}
_PROTOCOLS = {2: "kernel", 3: "boot", 4: "static", 9: "ra"}
_TABLES = {253: "default", 254: "main", 255: "local"}
_ROUTES = {1: "unicast", 2: "local", 3: "broadcast", 4: "anycast", 5: "multicast", 6: "blackhole", 7: "unreachable"}
_ROUTES |= {8: "prohibit", 9: "throw"}
_RULES = {1: "lookup", 2: "goto", 3: "nop", 6: "blackhole", 7: "unreachable", 8: "prohibit"}
_EVERY_ADDRESS = bytes(8)
_EVERY_ROUTE = bytes(12)


def _dump(links: Links, what: str, kind: int, body: bytes) -> list[Any]:
    from pyroute2.netlink.rtnl.marshal import MarshalRtnl

    marshal = MarshalRtnl()
    return [message for raw in links.requests.dump(what, kind, body) for message in marshal.parse(raw)]


def _plain(**facts: Any) -> dict[str, Any]:
    """Only what is there."""
    return {name: value for name, value in facts.items() if value is not None}


def read_interfaces(links: Links) -> list[dict[str, Any]]:
    """Every interface: name, index, kind, mac, mtu, whether up, operational state, master."""
    found = _dump(links, "interfaces", rt.GET_LINK, interfaces.which())
    names = {message["index"]: message.get_attr("IFLA_IFNAME") for message in found}
    listed = []
    for message in found:
        info = message.get_attr("IFLA_LINKINFO")
        master = message.get_attr("IFLA_MASTER")
        listed.append(
            _plain(
                ifname=message.get_attr("IFLA_IFNAME"),
                ifindex=message["index"],
                kind=info.get_attr("IFLA_INFO_KIND") if info is not None else None,
                address=message.get_attr("IFLA_ADDRESS"),
                mtu=message.get_attr("IFLA_MTU"),
                up=bool(message["flags"] & interfaces.UP),
                operstate=message.get_attr("IFLA_OPERSTATE"),
                master=names.get(master),
                qdisc=message.get_attr("IFLA_QDISC"),
            )
        )
    return listed


def read_addresses(links: Links, names: dict[int, str]) -> list[dict[str, Any]]:
    """Every address; `names` are the interfaces' by index."""
    return [
        _plain(
            ifname=names.get(message["index"]),
            family=_FAMILIES.get(message["family"]),
            local=message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS"),
            prefixlen=message["prefixlen"],
            broadcast=message.get_attr("IFA_BROADCAST"),
            scope=_SCOPES.get(message["scope"], str(message["scope"])),
        )
        for message in _dump(links, "addresses", rt.GET_ADDRESS, _EVERY_ADDRESS)
    ]


def read_routes(links: Links, names: dict[int, str], *, local: bool = False) -> list[dict[str, Any]]:
    """Every route of every table; those of the local table (which the kernel keeps itself) only if asked for."""
    listed = []
    for message in _dump(links, "routes", rt.GET_ROUTE, _EVERY_ROUTE):
        table = message.get_attr("RTA_TABLE") or message["table"]
        if _TABLES.get(table) == "local" and not local:
            continue
        to = message.get_attr("RTA_DST")
        hops = message.get_attr("RTA_MULTIPATH")
        listed.append(
            _plain(
                dst=f"{to}/{message['dst_len']}" if to is not None else "default",
                family=_FAMILIES.get(message["family"]),
                type=_ROUTES.get(message["type"], str(message["type"])),
                gateway=_gateway(message),
                dev=names.get(message.get_attr("RTA_OIF")),
                prefsrc=message.get_attr("RTA_PREFSRC"),
                metric=message.get_attr("RTA_PRIORITY"),
                table=_TABLES.get(table, str(table)),
                protocol=_PROTOCOLS.get(message["proto"], str(message["proto"])),
                scope=_SCOPES.get(message["scope"], str(message["scope"])),
                nexthops=[
                    _plain(gateway=_gateway(hop), dev=names.get(hop["oif"]), weight=hop["hops"] + 1) for hop in hops
                ]
                if hops
                else None,
            )
        )
    return listed


def _gateway(message: Any) -> str | None:
    via = message.get_attr("RTA_VIA")
    found = message.get_attr("RTA_GATEWAY") or (via["addr"] if via else None)
    return str(found) if found is not None else None


def read_rules(links: Links) -> list[dict[str, Any]]:
    """Every policy rule, in the order of the kernel's answer: by priority in each family."""
    listed = []
    for message in _dump(links, "policy rules", rt.GET_RULE, _EVERY_ROUTE):
        if message["family"] not in _FAMILIES:
            continue  # multicast routing has rules of its own
        table = message.get_attr("FRA_TABLE") or message["table"]
        source, to = message.get_attr("FRA_SRC"), message.get_attr("FRA_DST")
        kind = _RULES.get(message["action"], str(message["action"]))
        mask = message.get_attr("FRA_FWMASK")
        listed.append(
            _plain(
                priority=message.get_attr("FRA_PRIORITY") or 0,
                family=_FAMILIES.get(message["family"]),
                src=f"{source}/{message['src_len']}" if source is not None else "all",
                dst=f"{to}/{message['dst_len']}" if to is not None else None,
                iif=message.get_attr("FRA_IIFNAME"),
                oif=message.get_attr("FRA_OIFNAME"),
                fwmark=message.get_attr("FRA_FWMARK"),
                fwmask=mask if mask not in (None, 0xFFFFFFFF) else None,
                tos=message["tos"] or None,
                type=kind,
                table=_TABLES.get(table, str(table)) if kind == "lookup" else None,
            )
        )
    return listed


def read_qdiscs(links: Links, names: dict[int, str]) -> list[dict[str, Any]]:
    """Every queueing discipline that was set: kind and how much it holds and dropped; a plain interface has none."""
    return [
        _plain(
            ifname=names.get(message["index"]),
            kind=message.get_attr("TCA_KIND"),
            root=message["parent"] == 0xFFFFFFFF,
        )
        for message in _dump(links, "queueing disciplines", rt.GET_QDISC, qdisc.every())
        if message.get_attr("TCA_KIND") != "noqueue"
    ]
