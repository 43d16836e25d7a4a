"""The wires of a lab that is up, changed while it is: what they do to packets, and whether an interface is up."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Mapping, Sequence
from typing import Literal

from netemu.errors import MachineError, TopologyError, UsageError
from netemu.kernel.links.rtnetlink import RefusedError
from netemu.kernel.machine.features import missing
from netemu.lab.wiring import Wiring, kernel_shape
from netemu.topology import steps
from netemu.topology.changing import changed
from netemu.topology.naming import hint
from netemu.topology.needs import Feature, shaping_needs
from netemu.topology.segments import End
from netemu.topology.shaping import LinkProperties

Way = Literal["in", "out", "both"]
RUNNING_WITHIN = 5.0
"""Seconds for the kernel to report an interface running that was set up."""
_THERE_OR_NOT_YET = {errno.EEXIST, errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTUNREACH, errno.EINVAL}
"""Why a route or an address of a host is not put back: it is there, or its other interface is down."""


class Linkage:
    """Every end of a wire: what it does to the packets that it sends, where the other end is, what was set down."""

    def __init__(self, plan: Sequence[steps.Step], wiring: Wiring) -> None:
        self.wiring = wiring
        self.properties: dict[End, LinkProperties] = {}
        self.down: set[End] = set()
        self._far: dict[End, End] = {}
        self._addresses: dict[End, list[steps.AddAddress]] = {}
        self._routes: dict[str, list[steps.AddRoute]] = {}
        ends: dict[int, End] = {}
        for step in plan:
            if isinstance(step, steps.MakeEnd):
                end = (step.host, step.interface)
                if (other := ends.setdefault(step.wire, end)) != end:
                    self._far[end], self._far[other] = other, end
            elif isinstance(step, steps.ShapeEnd):
                self.properties[step.host, step.interface] = step.properties
            elif isinstance(step, steps.AddAddress):
                self._addresses.setdefault((step.host, step.interface), []).append(step)
            elif isinstance(step, steps.AddRoute):
                self._routes.setdefault(step.host, []).append(step)
        self._turn = asyncio.Lock()

    def told(self, end: End) -> dict[str, dict[str, str]]:
        """What happens to packets that a host's interface sends (`out`) and is sent (`in`); only what is set."""
        ways = {"out": self.properties.get(end), "in": self.properties.get(self._far.get(end, ("", "")))}
        return {way: properties.given() for way, properties in ways.items() if properties is not None}

    async def shape(self, end: End, given: Mapping[str, str], way: Way = "both") -> None:
        """Set properties, of one direction or both; those that are not given stay. Raises UsageError, MachineError."""
        async with self._turn:
            wanted = {sender: changed(self.properties.get(sender), given) for sender in self._senders(end, way)}
            _require({shaping_needs(properties) for properties in wanted.values()})
            for (host, interface), properties in wanted.items():
                await self.wiring.links[host].shape(interface, kernel_shape(properties))
                self.properties[host, interface] = properties

    async def clear(self, end: End, way: Way = "both") -> None:
        """Take all properties away, of one direction or both."""
        async with self._turn:
            for host, interface in self._senders(end, way):
                if (host, interface) in self.properties:
                    await self.wiring.links[host].unshape(interface)
                    del self.properties[host, interface]

    async def set_down(self, end: End) -> None:
        """Set a host's interface down, as `ip link set down` does: its routes go with it."""
        host, interface = self.there(end)
        async with self._turn:
            await self.wiring.links[host].set_down(interface)
            self.down.add(end)

    async def set_up(self, end: End) -> None:
        """Set it up again, and give it back what the kernel took: the topology's addresses, and the host's routes.

        Returns when it can send and receive, unless the other end is down.
        """
        host, interface = self.there(end)
        async with self._turn:
            await self.wiring.links[host].set_up(interface)
            self.down.discard(end)
            for step in self._addresses.get(end, ()):
                self.wiring.addresses([step])
                await self._put_back(self.wiring.flush_all())
            for route in self._routes.get(host, ()):
                await self._put_back(self.wiring.routes([route]))
            if end in self._far and self._far[end] not in self.down:
                async with asyncio.timeout(RUNNING_WITHIN):
                    await self.wiring.links[host].until_running([interface])

    @staticmethod
    async def _put_back(doing: object) -> None:
        try:
            await doing  # type: ignore[misc]
        except TopologyError as error:
            refused = error.__cause__
            if not isinstance(refused, RefusedError) or refused.number not in _THERE_OR_NOT_YET:
                raise

    def _senders(self, end: End, way: Way) -> list[End]:
        """The ends whose sending is meant, all of them there."""
        self.there(end)
        far = self._far.get(end)
        if way == "in" and far is None:
            raise UsageError(f"{end[0]}:{end[1]} has no other end of its own here: only what it sends can be shaped")
        return [*([end] if way != "in" else []), *([self.there(far)] if way != "out" and far is not None else [])]

    def known(self, end: End) -> End:
        """The same end; UsageError if the host has no such interface."""
        host, interface = end
        if interface == "lo":
            raise UsageError(f"lo of host {host} has no link: there is nothing to shape, and it stays up")
        there = [name for name in self.wiring.links[host].index if name != "lo"]
        if interface not in there:
            raise UsageError(f"host {host} has no interface '{interface}'{hint(interface, there)}")
        return end

    def there(self, end: End) -> End:
        """The same end; UsageError if the host has no such interface, or none any more."""
        host, interface = self.known(end)
        if not self.wiring.links[host].is_there(interface):
            raise UsageError(
                f"host {host} has no {interface} any more: it was deleted there, and comes back only with a new lab"
            )
        return end


def _require(features: set[Feature]) -> None:
    if lacking := missing(features):
        raise MachineError("; ".join(f"this kernel has no {feature} ({said})" for feature, said in lacking.items()))
