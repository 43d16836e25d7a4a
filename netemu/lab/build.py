"""A plan's steps carried out, kind by kind, in the plan's order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from itertools import groupby
from pathlib import Path
from typing import Any

from netemu.errors import KernelError, NetemuError, RulesError, TopologyError
from netemu.kernel.links import Links
from netemu.kernel.namespace import NetworkNamespace
from netemu.kernel.offloads import switch_off
from netemu.kernel.pidspace import PidSpace
from netemu.kernel.rules import load_rules, refused_line
from netemu.kernel.sysctl import write_sysctls
from netemu.lab.host import Host
from netemu.lab.recorder import Recorder
from netemu.lab.services import start_service
from netemu.netfilter.ruleset import complaint
from netemu.topology import plan as steps
from netemu.topology.load import Source

CARRIER_WITHIN = 5.0
"""Seconds for the kernel to report every interface running."""


class Builder:
    """Carries out steps. What it makes is closed by `stack`, in reverse order."""

    def __init__(
        self, stack: AsyncExitStack, pids: PidSpace, folder: Path, recorder: Recorder | None, source: Source
    ) -> None:
        self.stack = stack
        self.pids = pids
        self.folder = folder
        self.recorder = recorder
        self.source = source
        self.links: dict[str, Links] = {}
        self.hosts: dict[str, Host] = {}

    async def build(self, plan: Sequence[steps.Step]) -> None:
        """Carry out a whole plan. Raises NetemuError; what was made by then goes with the stack."""
        carry_out: dict[type[steps.Step], Callable[[Any], Awaitable[None]]] = {
            steps.MakeNetwork: self._networks,
            steps.MakeHost: self._hosts,
            steps.SetSysctl: self._sysctls,
            steps.MakeBridge: self._bridges,
            steps.MakeEnd: self._wires,
            steps.LoadRules: self._rules,
            steps.OpenTaps: self._taps,
            steps.AddAddress: self._addresses,
            steps.BringUp: self._up,
            steps.AddRoute: self._routes,
            steps.StartService: self._services,
        }
        for kind, group in groupby(plan, type):
            await carry_out[kind](list(group))

    def _namespace(self, name: str) -> NetworkNamespace:
        net = NetworkNamespace.create(name)
        self.stack.callback(net.close)
        links = Links(net)
        self.stack.callback(links.close)
        self.links[name] = links
        return net

    async def _networks(self, group: list[steps.MakeNetwork]) -> None:
        for step in group:
            self._namespace(step.host)

    async def _bridges(self, group: list[steps.MakeBridge]) -> None:
        for step in group:
            await self.links[step.host].add_bridge(steps.BRIDGE)

    async def _hosts(self, group: list[steps.MakeHost]) -> None:
        for step in group:
            host = Host(step.host, self._namespace(step.host), self.links[step.host], self.pids, self.folder)
            self.stack.callback(host.kill_processes)
            self.hosts[step.host] = host

    async def _sysctls(self, group: list[steps.SetSysctl]) -> None:
        for name, mine in groupby(group, lambda step: step.host):
            wanted = list(mine)
            try:
                write_sysctls(self.links[name].net, [(step.name, step.value, step.wanted) for step in wanted])
            except KernelError as error:
                at_fault = next((step for step in wanted if step.wanted and step.name in str(error)), None)
                if at_fault is None:
                    raise
                raise TopologyError(self.source.problem(str(error), at_fault.path)) from error

    async def _wires(self, group: list[steps.MakeEnd]) -> None:
        for _, pair in groupby(group, lambda step: step.wire):
            one, other = pair
            there = self.links[other.host]
            macs, mtus = (one.mac, other.mac), (one.mtu, other.mtu)
            await self._at(one, self.links[one.host].add_veth(one.interface, there, other.interface, macs, mtus))
            if other.port:
                await there.join_bridge(other.interface, steps.BRIDGE)
        for name, ends in groupby(sorted(group, key=lambda step: step.host), lambda step: step.host):
            switch_off(self.links[name].net, [step.interface for step in ends])

    async def _rules(self, group: list[steps.LoadRules]) -> None:
        await _all(self._load(step) for step in group)

    async def _load(self, step: steps.LoadRules) -> None:
        done = await load_rules(self.links[step.host].net, step.tool, step.text, step.backend)
        if done.returncode:
            line = await refused_line(step.tool, step.text, done.stderr, step.backend)
            quoted = f": {step.text.splitlines()[line - 1].strip()}" if line is not None else ""
            message = (
                f"{step.tool} refuses {'this line' if line else 'these rules'}{quoted}\n    {complaint(done.stderr)}"
            )
            raise RulesError(self.source.problem(message, step.path, line))

    async def _taps(self, _group: list[steps.OpenTaps]) -> None:
        if self.recorder is None:
            return
        self.stack.push_async_callback(self.recorder.close)
        for name, links in self.links.items():
            if name in self.hosts:
                await self.recorder.open(links.net, links)
            elif len(links.index) > 2:
                self.recorder.open_bridge(links.net, steps.BRIDGE)

    async def _addresses(self, group: list[steps.AddAddress]) -> None:
        for step in group:
            await self._at(step, self.links[step.host].add_address(step.interface, step.address))

    async def _up(self, group: list[steps.BringUp]) -> None:
        names: dict[str, list[str]] = {}
        for step in group:
            names.setdefault(step.host, []).append(step.interface)
        for host, interfaces in names.items():
            for interface in interfaces:
                self.links[host].set_up(interface)
            self.links[host].flush()
        try:
            async with asyncio.timeout(CARRIER_WITHIN):
                await _all(
                    self.links[host].until_running({name for name in interfaces if self._carries(host, name)})
                    for host, interfaces in names.items()
                )
        except TimeoutError as error:
            raise KernelError(
                f"the kernel did not report every interface running within {CARRIER_WITHIN:g} s"
            ) from error

    def _carries(self, host: str, name: str) -> bool:
        """Whether an interface will report a carrier: lo has none, a bridge only with a port."""
        return name != "lo" and (name != steps.BRIDGE or len(self.links[host].index) > 2)

    async def _routes(self, group: list[steps.AddRoute]) -> None:
        for step in group:
            route = step.route
            await self._at(step, self.links[step.host].add_route(route.to, via=route.via, dev=route.dev))

    async def _services(self, group: list[steps.StartService]) -> None:
        await _all(start_service(self.hosts[step.host], step, self.source) for step in group)

    async def _at(self, step: steps.Step, doing: Awaitable[None]) -> None:
        try:
            await doing
        except KernelError as error:
            raise TopologyError(self.source.problem(str(error), step.path)) from error


async def _all(doings: Any) -> None:
    """Do all at once; the first error of ours ends the others and is raised by itself."""
    try:
        async with asyncio.TaskGroup() as group:
            for doing in doings:
                group.create_task(doing)
    except BaseExceptionGroup as errors:
        ours = [error for error in errors.exceptions if isinstance(error, NetemuError)]
        raise (ours[0] if ours else errors.exceptions[0]) from errors
