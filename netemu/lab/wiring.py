"""A plan's steps that make namespaces and links, addresses and routes: many of them in one request each.

Requests are queued for each namespace and sent together; one that the kernel refuses is told by the step it is of.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby

from netemu.errors import KernelError, TopologyError
from netemu.kernel.links.links import Links
from netemu.kernel.links.qdisc import Shape
from netemu.kernel.links.rtnetlink import RefusedError, Request
from netemu.kernel.spaces.making import make_namespaces
from netemu.kernel.spaces.namespace import NetworkNamespace
from netemu.kernel.spaces.sysctl import ProcView, read_sysctls, write_sysctls
from netemu.topology import steps
from netemu.topology.interface import Offload
from netemu.topology.load import Source
from netemu.topology.routing import table_number
from netemu.topology.shaping import LinkProperties
from netemu.topology.shards import BRIDGE, join
from netemu.topology.units import bits_per_second, packets, seconds, share

CARRIER_WITHIN = 5.0
"""Seconds for the kernel to report every interface running, and for each thousand interfaces as many more."""
_FEW = 8
"""So many namespaces' sysctls are written without a look at what a fresh one has."""
_AT_ONCE = 32
"""Links made in one go: the event loop gets its turn in between."""


class Wiring:
    """The namespaces of a lab and what is in them. `close` lets go of them all."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.advance: Callable[[int], None] = lambda _: None
        self.links: dict[str, Links] = {}
        self._fresh: dict[str, str] | None = None
        self._asked: dict[Request, steps.Step] = {}
        self._waiting: dict[str, None] = {}
        self._up: set[tuple[str, str]] = set()

    def close(self) -> None:
        """Let go of every namespace; once is enough, twice does no harm."""
        for links in self.links.values():
            links.close()
            links.net.close()

    async def make(self, names: list[str], sysctls: Mapping[str, list[steps.SetSysctl]]) -> None:
        """Make namespaces, and write those of `sysctls` that a fresh one does not have anyway.

        The first of many says what a fresh one has.
        """
        loop = asyncio.get_running_loop()
        if self._fresh is None and len(sysctls) <= _FEW:
            self._fresh = {}
        look = self._fresh is None

        def prepare(nets: Iterator[NetworkNamespace]) -> None:
            with ProcView() as proc:
                for net in nets:
                    try:
                        self.links[net.name] = Links(net, inside=True)
                    except BaseException:
                        net.close()
                        raise
                    if (fresh := self._fresh) is None:
                        asked = {step.name for steps_of_one in sysctls.values() for step in steps_of_one}
                        fresh = self._fresh = read_sysctls(net, sorted(asked))
                    wanted = [step for step in sysctls.get(net.name, ()) if fresh.get(step.name) != step.value]
                    proc.write(net, [(step.name, step.value, step.wanted) for step in wanted], inside=True)
                    loop.call_soon_threadsafe(self.advance, 1)

        before = list(self.links)
        if look:  # before there are threads for the others
            await make_namespaces(names[:1], prepare)
        await make_namespaces(names[1:] if look else names, prepare)
        await asyncio.sleep(0)  # what the threads had to tell is told
        self.links = {name: self.links[name] for name in (*before, *names)}

    def write(self, group: Iterable[steps.SetSysctl]) -> None:
        """Write sysctls that the topology asks for. Raises TopologyError for one that can't be."""
        for name, mine in groupby(group, lambda step: step.host):
            for step in mine:
                try:
                    write_sysctls(self.links[name].net, [(step.name, step.value, step.wanted)])
                except KernelError as error:
                    raise TopologyError(self.source.problem(str(error), step.path)) from error

    def bridges(self, group: Iterable[steps.MakeBridge]) -> None:
        """Make the networks' bridges."""
        for step in group:
            self.ask(step, self.links[step.host].add_bridge(step.bridge))
            self.flush(step.host)

    def joins(self, group: Iterable[steps.JoinBridge]) -> None:
        """Join the further bridges of large networks to their first."""
        for step in group:
            links = self.links[step.host]
            there, here = join(step.bridge)
            veth = links.add_veth(there, links, here, mtus=(step.mtu, step.mtu), bridge=BRIDGE, up=True)
            self.ask(step, veth)
            self.ask(step, links.join_bridge(here, step.bridge))
            self.flush(step.host)

    async def wires(self, group: list[steps.MakeEnd]) -> None:
        """Make links from their two ends; a port joins its bridge, and is up, in the same request.

        A port needs no offload switched off: it sends on only what a host's end, where they are off, has sent.
        """
        for count, (_, pair) in enumerate(groupby(group, lambda step: step.wire), 1):
            one, other = pair
            near, far = (other, one) if other.port else (one, other)
            request = self.links[near.host].add_veth(
                near.interface,
                self.links[far.host],
                far.interface,
                (near.mac, far.mac),
                (near.mtu, far.mtu),
                bridge=near.bridge if near.port else None,
                up=near.port,
            )
            self.ask(one, request, by=near.host)
            if near.port:
                self._up.add((near.host, near.interface))
            if count % _AT_ONCE == 0:
                await self.flush_all()
                self.advance(2 * _AT_ONCE)
        await self.flush_all()
        self._offloads(end for end in group if not end.port)

    async def tunnels(self, group: list[steps.MakeTunnel]) -> None:
        """Make ends of VXLAN tunnels."""
        for step in group:
            vxlan = step.vxlan
            request = self.links[step.host].add_vxlan(
                step.interface,
                vxlan.id,
                port=vxlan.port,
                dev=vxlan.dev,
                local=vxlan.local,
                remote=vxlan.remote or vxlan.group,
                mac=step.mac,
                mtu=step.mtu,
            )
            self.ask(step, request)
        await self.flush_all()
        self._offloads(group)

    async def macvlans(self, group: list[steps.MakeMacvlan]) -> None:
        """Make macvlans."""
        for step in group:
            links, on = self.links[step.host], step.macvlan
            self.ask(step, links.add_macvlan(step.interface, on.dev, on.mode, mac=step.mac, mtu=step.mtu))
        await self.flush_all()
        self._offloads(group)

    def _offloads(self, group: Iterable[steps.MakeEnd | steps.MakeTunnel | steps.MakeMacvlan]) -> None:
        """Switch off what is to be off of interfaces that were just made."""
        made: dict[str, dict[str, tuple[Offload, ...]]] = {}
        for step in group:
            if step.offloads is not True:
                made.setdefault(step.host, {})[step.interface] = step.offloads or ()
        for name, interfaces in made.items():
            self.links[name].switch_off(interfaces)

    def addresses(self, group: Iterable[steps.AddAddress]) -> None:
        """Queue addresses: they go out with what sets their interfaces up."""
        for step in group:
            self.ask(step, self.links[step.host].add_address(step.interface, step.address))

    async def up(self, group: list[steps.BringUp]) -> None:
        """Set interfaces up, and return when every one of them can send and receive."""
        names: dict[str, list[str]] = {}
        for step in group:
            if (step.host, step.interface) not in self._up:
                self.ask(step, self.links[step.host].set_up(step.interface))
            if step.carrier:
                names.setdefault(step.host, []).append(step.interface)
        await self.flush_all()
        within = CARRIER_WITHIN * (1 + len(group) / 1000)
        try:
            async with asyncio.timeout(within):
                for count, (host, interfaces) in enumerate(names.items(), 1):
                    await self.links[host].until_running(interfaces)
                    if count % _AT_ONCE == 0:
                        await asyncio.sleep(0)
        except TimeoutError as error:
            raise KernelError(f"the kernel did not report every interface running within {within:g} s") from error

    async def routes(self, group: Iterable[steps.AddRoute]) -> None:
        """Add routes."""
        for step in group:
            route = step.route
            request = self.links[step.host].add_route(
                route.to,
                via=route.via,
                dev=route.dev,
                nexthops=[(hop.via, hop.dev, hop.weight) for hop in route.nexthops],
                kind=route.type,
                metric=route.metric,
                table=table_number(route.table),
                source=route.source,
            )
            self.ask(step, request)
        await self.flush_all()

    async def policy_rules(self, group: Iterable[steps.AddPolicyRule]) -> None:
        """Add rules of the routing policy."""
        for step in group:
            rule = step.rule
            request = self.links[step.host].add_rule(
                version=rule.version,
                source=rule.source,
                to=rule.to,
                iif=rule.iif,
                oif=rule.oif,
                mark=rule.mark,
                tos=rule.tos or 0,
                table=table_number(rule.table) if rule.table is not None else 0,
                priority=rule.priority,
                kind=rule.type,
            )
            self.ask(step, request)
        await self.flush_all()

    async def shapes(self, group: Iterable[steps.ShapeEnd]) -> None:
        """Have interfaces delay, lose, hold to a rate what they send."""
        for step in group:
            self.ask(step, self.links[step.host].shape(step.interface, kernel_shape(step.properties)))
        await self.flush_all()

    def ask(self, step: steps.Step, request: Request, by: str | None = None) -> None:
        """Remember which step a queued request is of, for the day it is refused, and in whose queue it is."""
        self._asked[request] = step
        self._waiting[by or step.host] = None

    def flush(self, name: str) -> None:
        """Send what is queued for one namespace. Raises TopologyError at the step that was refused."""
        try:
            self.links[name].flush()
        except RefusedError as error:
            if error.request not in self._asked:
                raise
            raise TopologyError(self.source.problem(str(error), self._asked[error.request].path)) from error

    async def flush_all(self) -> None:
        """Send what is queued anywhere, with a turn of the event loop now and then."""
        waiting, self._waiting = self._waiting, {}
        for count, name in enumerate(waiting, 1):
            self.flush(name)
            if count % _AT_ONCE == 0:
                await asyncio.sleep(0)
        self._asked.clear()
        await asyncio.sleep(0)


def kernel_shape(properties: LinkProperties) -> Shape:
    """A link's properties, as they are written, in the kernel's units."""

    def nanoseconds(duration: str | None) -> int:
        return round(seconds(duration) * 1e9) if duration is not None else 0

    def part(percent: str | None) -> float:
        return share(percent) if percent is not None else 0.0

    return Shape(
        delay_ns=nanoseconds(properties.delay),
        jitter_ns=nanoseconds(properties.jitter),
        loss=part(properties.loss),
        duplicate=part(properties.duplicate),
        corrupt=part(properties.corrupt),
        reorder=part(properties.reorder),
        rate=bits_per_second(properties.rate) if properties.rate is not None else None,
        queue=packets(properties.queue) if properties.queue is not None else None,
    )
