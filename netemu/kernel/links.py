"""Bridges, veth pairs, addresses and routes, over pyroute2's asyncio API.

A host's interfaces are given their index when they are made, so nothing has to be looked up afterwards.
"""

from __future__ import annotations

import asyncio
import errno
from ipaddress import IPv4Interface, IPv6Interface
from typing import Any

from pyroute2.iproute.linux import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl import RTMGRP_LINK

from netemu.errors import KernelError
from netemu.kernel.namespace import NetworkNamespace
from netemu.topology.model import Route

_LOOPBACK = 1
_NO_DAD = 0x02
_HINTS = {
    errno.EOPNOTSUPP: "this kernel does not have that kind of interface",
    errno.ENETUNREACH: "the gateway is in no network of this host",
    errno.EEXIST: "it is there already",
}


class Links:
    """The interfaces of one namespace, over one rtnetlink socket that lives in it."""

    def __init__(self, net: NetworkNamespace) -> None:
        self.net = net
        self.index: dict[str, int] = {"lo": _LOOPBACK}
        with net.entered():
            self._requests = self._socket()
            self._events = self._socket()

    @staticmethod
    def _socket() -> Any:
        link = AsyncIPRoute(ext_ack=True)
        link.socket  # noqa: B018  made here and now, in the namespace that this thread is in
        return link

    def names(self) -> dict[int, str]:
        """The interfaces' names by their index."""
        return {index: name for name, index in self.index.items()}

    async def all_names(self) -> dict[int, str]:
        """The names by index of all interfaces that are there now, or were made by the lab."""
        there = await self._ask("interfaces", self._requests.link("dump"))
        return self.names() | {message["index"]: message.get_attr("IFLA_IFNAME") for message in there}

    async def add_bridge(self, name: str) -> None:
        """A bridge without spanning tree: its ports forward at once.

        Without multicast snooping, too: a bridge that snoops joins the all-snoopers group, and its own IGMP and MLD
        reports would be in the record (br_multicast_join_snoopers in net/bridge/br_multicast.c).
        """
        index = self._next(name)
        what = {"kind": "bridge", "br_stp_state": 0, "br_mcast_snooping": 0}
        await self._ask(f"bridge {name}", self._requests.link("add", ifname=name, index=index, **what))

    async def add_veth(
        self,
        name: str,
        other: Links,
        other_name: str,
        macs: tuple[str | None, str | None] = (None, None),
        mtus: tuple[int | None, int | None] = (None, None),
    ) -> None:
        """A veth pair: one end here, the other in another namespace, in one request.

        The ends never have the same index: the kernel takes such a device for one without a lower device, and reports
        its carrier only at its once-a-second look (linkwatch_urgent_event in net/core/link_watch.c).
        """
        peer: dict[str, Any] = {"ifname": other_name, "net_ns_fd": other.net.fd}
        index = self._next(name, avoid=max(other.index.values()) + 1)
        ends: dict[str, Any] = {"ifname": name, "index": index, "kind": "veth", "peer": peer}
        for end, address, mtu in zip((ends, peer), macs, mtus, strict=True):
            if address is not None:
                end["address"] = address
            if mtu is not None:
                end["mtu"] = mtu
        await self._ask(f"veth {name}", self._requests.link("add", **ends))
        other.index[other_name] = await other._find(other_name)

    async def join_bridge(self, name: str, bridge: str) -> None:
        """Make an interface a port of a bridge."""
        request = self._requests.link("set", index=self.index[name], master=self.index[bridge])
        await self._ask(f"{name} to {bridge}", request)

    async def add_address(self, name: str, address: IPv4Interface | IPv6Interface) -> None:
        """An address that is usable at once: without duplicate address detection."""
        extra = {"flags": _NO_DAD} if address.version == 6 else {"broadcast": str(address.network.broadcast_address)}
        request = self._requests.addr(
            "add", index=self.index[name], address=str(address.ip), prefixlen=address.network.prefixlen, **extra
        )
        await self._ask(f"address {address} on {name}", request)

    async def add_route(self, route: Route) -> None:
        """A route in the main table."""
        what: dict[str, Any] = {"dst": "default" if route.to == "default" else str(route.to)}
        if route.via is not None:
            what["gateway"] = str(route.via)
            what["family"] = 10 if route.via.version == 6 else 2
        if route.dev is not None:
            what["oif"] = self.index[route.dev]
        await self._ask(f"route to {route.to}", self._requests.route("add", **what))

    async def bring_up(self, names: list[str]) -> None:
        """Set interfaces up; returns once the kernel took the requests, `until_running` waits for the carriers."""
        await asyncio.gather(
            *(self._ask(f"{name} up", self._requests.link("set", index=self.index[name], state="up")) for name in names)
        )

    async def watch(self) -> None:
        """Listen for changes of interfaces from now on; before `bring_up`, for `until_running`."""
        await self._events.bind(groups=RTMGRP_LINK)

    async def until_running(self, names: set[str]) -> None:
        """Return once each of these interfaces is operationally up, as the kernel's own messages tell."""
        waiting = {self.index[name] for name in names}
        for message in await self._ask("interfaces", self._requests.link("dump")):
            if message.get_attr("IFLA_OPERSTATE") == "UP":
                waiting.discard(message["index"])
        while waiting:
            async for message in self._events.get():
                if message["event"] == "RTM_NEWLINK" and message.get_attr("IFLA_OPERSTATE") == "UP":
                    waiting.discard(message["index"])

    def close(self) -> None:
        """Close the sockets."""
        self._requests.close()
        self._events.close()

    def _next(self, name: str, avoid: int = 0) -> int:
        index = max(self.index.values()) + 1
        self.index[name] = index + 1 if index == avoid else index
        return self.index[name]

    async def _find(self, name: str) -> int:
        found = await self._ask(f"interface {name}", self._requests.link("get", ifname=name))
        return int(found[0]["index"])

    async def _ask(self, what: str, request: Any) -> Any:
        try:
            answer = await request
            return [message async for message in answer] if hasattr(answer, "__aiter__") else answer
        except NetlinkError as error:
            hint = _HINTS.get(error.code, "")
            said = error.args[1] if len(error.args) > 1 else str(error)
            raise KernelError(f"host {self.net.name}: {what}: {said}{f': {hint}' if hint else ''}") from error
