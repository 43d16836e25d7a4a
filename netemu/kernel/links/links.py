"""Bridges, veth pairs, addresses, routes and link properties of one namespace, over one rtnetlink socket in it.

Each method queues a request: `await` it, and it and all before it are carried out; or queue many, and `flush` them
in one send. An interface is given its index when it is made, so nothing has to be looked up afterwards.
"""

from __future__ import annotations

import asyncio
import errno
import sys
from collections.abc import Collection, Iterable, Mapping
from ipaddress import IPv4Interface, IPv6Interface
from typing import Literal

from netemu.kernel.links import interfaces, offloads, qdisc, routing
from netemu.kernel.links import rtnetlink as rt
from netemu.kernel.links.interfaces import End, Mode
from netemu.kernel.links.qdisc import Shape
from netemu.kernel.links.routing import Address, Hop, RouteKind, RuleKind, Subnet
from netemu.kernel.links.rtnetlink import Request, Rtnetlink
from netemu.kernel.spaces.namespace import NetworkNamespace
from netemu.topology.interface import Offload

_LOOPBACK = 1
_FIRST = 16
"""The lab's first index in a namespace: some kernels put interfaces of their own (tunl0, sit0, …) right after lo."""
_UNREACHED = {errno.ENETUNREACH: "the gateway is in no network of this host"}
_THERE = {errno.EEXIST: "it is there already"}
_VXLAN_PORT = 4789
_OPERATIONAL = bytes([interfaces.OPERATIONAL])
NextHop = tuple[Address | None, str | None, int]
"""One way of a route with several: gateway, interface, weight (from 1 on)."""


class Links:
    """The interfaces of one namespace."""

    def __init__(self, net: NetworkNamespace, *, inside: bool = False) -> None:
        """With `inside` the calling thread is in that namespace already."""
        self.net = net
        self.index: dict[str, int] = {"lo": _LOOPBACK}
        self.stacked: set[str] = set()
        """Those that stand on others of this namespace: VXLAN tunnels' ends and macvlans."""
        self._last = _FIRST - 1
        self.requests = Rtnetlink(net, inside=inside)

    def flush(self) -> None:
        """Have everything carried out that is queued. Raises RefusedError, which names the request."""
        self.requests.flush()

    def close(self) -> None:
        """Close the socket; what is queued is dropped."""
        self.requests.close()

    def names(self) -> dict[int, str]:
        """The interfaces' names by their index."""
        return {index: name for name, index in self.index.items()}

    async def all_names(self) -> dict[int, str]:
        """The names by index of all interfaces that are there now, or were made by the lab."""
        found = self.names()
        for message in self.requests.dump("interfaces", rt.GET_LINK, interfaces.which()):
            payload = message[16:]
            name = rt.attributes(payload, interfaces.HEAD)[interfaces.NAME].rstrip(b"\0").decode()
            found[interfaces.index_and_state(payload)[0]] = name
        return found

    def add_bridge(self, name: str, mtu: int | None = None, up: bool = False) -> Request:
        """A bridge without spanning tree and multicast snooping."""
        return self._make(f"bridge {name}", interfaces.bridge(End(name, self._next(name), mtu=mtu, up=up)))

    def add_veth(
        self,
        name: str,
        other: Links,
        other_name: str,
        macs: tuple[str | None, str | None] = (None, None),
        mtus: tuple[int | None, int | None] = (None, None),
        *,
        bridge: str | None = None,
        up: bool = False,
    ) -> Request:
        """A veth pair: one end here, the other in another namespace, in one request.

        With `bridge` the end here becomes a port of it; with `up` the end here is set up.

        The ends never have the same index: the kernel takes such a device for one without a lower device, and reports
        its carrier only at its once-a-second look (linkwatch_urgent_event in net/core/link_watch.c).
        """
        master = self.index[bridge] if bridge is not None else None
        here = End(name, self._next(name), macs[0], mtus[0], master, up)
        there = End(other_name, other._next(other_name, avoid=here.index), macs[1], mtus[1])
        return self._make(f"veth {name}", interfaces.veth(here, there, other.net.fd))

    def add_vxlan(
        self,
        name: str,
        number: int,
        *,
        port: int = _VXLAN_PORT,
        dev: str | None = None,
        local: Address | None = None,
        remote: Address | None = None,
        mac: str | None = None,
        mtu: int | None = None,
    ) -> Request:
        """A VXLAN interface over another; `remote` is a host's address or a multicast group (which needs `dev`)."""
        lower = self.index[dev] if dev is not None else None
        self.stacked.add(name)
        end = End(name, self._next(name), mac, mtu)
        body = interfaces.vxlan(end, number, port=port, lower=lower, local=local, remote=remote)
        return self._make(f"vxlan {name}", body)

    def add_macvlan(
        self, name: str, dev: str, mode: Mode = "bridge", *, mac: str | None = None, mtu: int | None = None
    ) -> Request:
        """A macvlan interface on top of another of this host."""
        self.stacked.add(name)
        body = interfaces.macvlan(End(name, self._next(name), mac, mtu), self.index[dev], mode)
        return self._make(f"macvlan {name}", body)

    def join_bridge(self, name: str, bridge: str) -> Request:
        """Make an interface a port of a bridge."""
        return self._change(f"{name} to {bridge}", interfaces.change(self.index[name], master=self.index[bridge]))

    def set_up(self, name: str) -> Request:
        """Set an interface up; `until_running` waits for its carrier."""
        return self._change(f"{name} up", interfaces.change(self.index[name], up=True))

    def set_down(self, name: str) -> Request:
        """Set an interface down: the other end loses its carrier, and the routes through it go."""
        return self._change(f"{name} down", interfaces.change(self.index[name], up=False))

    def set_mtu(self, name: str, mtu: int) -> Request:
        """Change an interface's MTU."""
        return self._change(f"mtu {mtu} of {name}", interfaces.change(self.index[name], mtu=mtu))

    def set_mac(self, name: str, mac: str) -> Request:
        """Change an interface's MAC address."""
        return self._change(f"mac {mac} of {name}", interfaces.change(self.index[name], mac=mac))

    def switch_off(self, wanted: Mapping[str, Collection[Offload]]) -> None:
        """Switch off, at once, every offload of these interfaces but those wanted for each. Raises KernelError."""
        offloads.switch_off(self.requests.sock, self.net.name, wanted)

    def add_address(self, name: str, address: IPv4Interface | IPv6Interface) -> Request:
        """An address that is usable at once: without duplicate address detection."""
        body = routing.address(self.index[name], address)
        return self._ask(f"address {address} on {name}", rt.NEW_ADDRESS, body, rt.CREATE | rt.EXCLUSIVE, _THERE)

    def add_route(
        self,
        to: Literal["default"] | Subnet,
        *,
        via: Address | None = None,
        dev: str | None = None,
        nexthops: Iterable[NextHop] = (),
        kind: RouteKind = "unicast",
        metric: int | None = None,
        table: int = routing.MAIN,
        source: Address | None = None,
    ) -> Request:
        """A route, by one gateway or interface, or by several `nexthops`; or one that discards."""
        body = routing.route(
            to,
            Hop(via, self._named(dev)),
            hops=tuple(Hop(gateway, self._named(way), weight) for gateway, way, weight in nexthops),
            kind=kind,
            metric=metric,
            table=table,
            source=source,
        )
        return self._ask(f"route to {to}", rt.NEW_ROUTE, body, rt.CREATE | rt.EXCLUSIVE, _UNREACHED | _THERE)

    def add_rule(
        self,
        *,
        version: Literal[4, 6] = 4,
        source: Subnet | None = None,
        to: Subnet | None = None,
        iif: str | None = None,
        oif: str | None = None,
        mark: tuple[int, int | None] | None = None,
        tos: int = 0,
        table: int = routing.MAIN,
        priority: int | None = None,
        kind: RuleKind = "lookup",
    ) -> Request:
        """A policy rule; `mark` is a firewall mark and its mask (None: all of it)."""
        selectors = {"source": source, "to": to, "iif": iif, "oif": oif, "mark": mark, "tos": tos, "table": table}
        body = routing.rule(version=version, priority=priority, kind=kind, **selectors)  # type: ignore[arg-type]
        what = f"policy rule {priority if priority is not None else ''} to {table if kind == 'lookup' else kind}"
        return self._ask(what, rt.NEW_RULE, body, rt.CREATE | rt.EXCLUSIVE, _THERE)

    def shape(self, name: str, shape: Shape) -> Request:
        """Have all that an interface sends delayed, lost, held to a rate, …; in the place of any earlier shape."""
        module = f"sch_{shape.kind}"
        index, mtu = self.index[name], self._mtu(name)
        hints = {errno.ENOENT: f"this kernel has no {module}"}
        what, flags = f"{shape.kind} on {name}", rt.CREATE | rt.REPLACE
        root = self._ask(what, rt.NEW_QDISC, qdisc.root(index, shape, mtu), flags, hints)
        if shape.kind == qdisc.TBF:
            self._ask(f"queue on {name}", rt.NEW_QDISC, qdisc.queue(index, shape, mtu), flags)
        return root

    def unshape(self, name: str) -> Request:
        """Let an interface send as a plain one again. Refused (ENOENT) where it has no shape."""
        return self._ask(f"no shape on {name}", rt.DELETE_QDISC, qdisc.no_root(self.index[name]))

    def is_there(self, name: str) -> bool:
        """Whether the kernel still has an interface: who is root on a host may delete it."""
        try:
            self.requests.ask(f"look at {name}", rt.GET_LINK, interfaces.which(self.index[name]))
        except rt.RefusedError as error:
            if error.number != errno.ENODEV:
                raise
            return False
        return True

    async def until_running(self, names: Iterable[str]) -> None:
        """Return once each of these interfaces is operationally up: able to send and receive.

        Asking for one interface makes the kernel put a change of its carrier into effect first (linkwatch_sync_dev in
        rtnl_getlink, from Linux 6.8 on); on older kernels its own message is waited for.
        """
        waiting = {self.index[name] for name in names}
        if len(waiting) > 1:
            waiting -= self._running()  # most do by now, and one look at all is cheaper than one at each
        if not (waiting := {index for index in waiting if not self._runs(index)}):
            return
        loop = asyncio.get_running_loop()
        with rt.link_events(self.net) as events:
            while waiting := {index for index in waiting if not self._runs(index)}:
                await loop.sock_recv(events, 1 << 16)

    def _runs(self, index: int) -> bool:
        payload = self.requests.ask("carrier", rt.GET_LINK, interfaces.which(index))
        return rt.first(payload, interfaces.HEAD, interfaces.OPERSTATE) == _OPERATIONAL

    def _running(self) -> set[int]:
        messages = self.requests.dump("interfaces", rt.GET_LINK, interfaces.which())
        return {
            interfaces.index_and_state(message[16:])[0]
            for message in messages
            if rt.first(message, 16 + interfaces.HEAD, interfaces.OPERSTATE) == _OPERATIONAL
        }

    def _mtu(self, name: str) -> int:
        payload = self.requests.ask(f"mtu of {name}", rt.GET_LINK, interfaces.which(self.index[name]))
        return int.from_bytes(rt.attributes(payload, interfaces.HEAD)[interfaces.MTU], sys.byteorder)

    def _named(self, dev: str | None) -> int | None:
        return self.index[dev] if dev is not None else None

    def _next(self, name: str, avoid: int = 0) -> int:
        self._last += 2 if self._last + 1 == avoid else 1
        self.index[name] = self._last
        return self._last

    def _make(self, what: str, body: bytes) -> Request:
        kind = what.partition(" ")[0]
        hints = {errno.EOPNOTSUPP: f"this kernel has no {kind}"} | _THERE
        return self._ask(what, rt.NEW_LINK, body, rt.CREATE | rt.EXCLUSIVE, hints)

    def _change(self, what: str, body: bytes) -> Request:
        return self._ask(what, rt.NEW_LINK, body)

    def _ask(self, what: str, kind: int, body: bytes, flags: int = 0, hints: dict[int, str] | None = None) -> Request:
        return self.requests.queue(what, kind, body, flags, hints)
