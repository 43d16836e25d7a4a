"""A plan's steps carried out, kind by kind, in the plan's order."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from itertools import groupby
from pathlib import Path
from typing import Any

from netemu.errors import RulesError
from netemu.kernel.links.links import Links
from netemu.kernel.machine.features import require_nf_tables
from netemu.kernel.processes.pidspace import PidSpace
from netemu.kernel.rules.loading import load_rules, refused_line
from netemu.kernel.rules.variants import Variant
from netemu.kernel.spaces.limits import require_descriptors
from netemu.lab.host import Host
from netemu.lab.names import Names
from netemu.lab.progress import Progress, Tell
from netemu.lab.recorder import Recorder
from netemu.lab.resolving import Resolving
from netemu.lab.services import Services
from netemu.lab.together import all_of
from netemu.lab.wiring import Wiring
from netemu.netfilter.ruleset import complaint
from netemu.topology import steps
from netemu.topology.load import Source
from netemu.topology.model import Topology
from netemu.topology.shards import BRIDGE

_PER_NAMESPACE = 2
"""Descriptors: the namespace, and its rtnetlink socket."""
_PER_TAPS = 15
"""At most: the taps' sockets of one host, what proves them, four of the ring of trace events (three mappings), and
three of the lane beside the ring of frames (two mappings)."""


class Builder:
    """Carries out steps. What it makes is closed by `stack`, in reverse order.

    Taps are bound on their way only to `record`; else by `open_taps`, when somebody wants to see something.
    """

    def __init__(
        self,
        stack: AsyncExitStack,
        pids: PidSpace,
        folder: Path,
        recorder: Recorder,
        topology: Topology,
        source: Source,
        record: bool,
    ) -> None:
        self.stack = stack
        self.pids = pids
        self.folder = folder
        self.recorder = recorder
        self.topology = topology
        self.source = source
        self.names = Names(topology, folder)
        self.resolving = Resolving(folder)
        self.variant = Variant(topology.backend)
        self.services = Services(source)
        self.wiring = Wiring(source)
        self.record = record
        stack.callback(self.wiring.close)
        stack.push_async_callback(recorder.close)
        self._defaults: dict[str, list[steps.SetSysctl]] = {}
        self.hosts: dict[str, Host] = {}

    async def build(self, plan: Sequence[steps.Step], tell: Tell | None = None) -> None:
        """Carry out a whole plan. Raises NetemuError; what was made by then goes with the stack."""
        progress = Progress(plan, self.record, tell)
        self.wiring.advance = progress.advance
        namespaces = sum(isinstance(step, steps.MakeNetwork | steps.MakeHost) for step in plan)
        require_descriptors(namespaces * (_PER_NAMESPACE + (_PER_TAPS if self.record else 0)))
        carry_out: dict[type[steps.Step], Callable[[Any], Awaitable[None]]] = {
            steps.MakeNetwork: self._networks,
            steps.MakeHost: self._hosts,
            steps.SetSysctl: self._sysctls,
            steps.MakeBridge: self._bridges,
            steps.JoinBridge: self._joins,
            steps.MakeEnd: self._wires,
            steps.MakeTunnel: self.wiring.tunnels,
            steps.MakeMacvlan: self.wiring.macvlans,
            steps.LoadRules: self._rules,
            steps.OpenTaps: self._taps,
            steps.AddAddress: self._addresses,
            steps.BringUp: self._up,
            steps.BringUpStacked: self._up,
            steps.AddRoute: self.wiring.routes,
            steps.AddPolicyRule: self.wiring.policy_rules,
            steps.ShapeEnd: self.wiring.shapes,
            steps.StartService: self._services,
        }
        for step in plan:
            if isinstance(step, steps.SetSysctl) and not step.wanted:
                self._defaults.setdefault(step.host, []).append(step)
        for kind, group in groupby(plan, type):
            together = list(group)
            progress.begin(together)
            await carry_out[kind](together)
            progress.finish()

    @property
    def links(self) -> dict[str, Links]:
        """Each namespace's links."""
        return self.wiring.links

    async def _networks(self, group: list[steps.MakeNetwork]) -> None:
        await self.wiring.make([step.host for step in group], self._defaults)

    async def _bridges(self, group: list[steps.MakeBridge]) -> None:
        self.wiring.bridges(group)

    async def _joins(self, group: list[steps.JoinBridge]) -> None:
        self.wiring.joins(group)

    async def _hosts(self, group: list[steps.MakeHost]) -> None:
        await self.wiring.make([step.host for step in group], self._defaults)
        for step in group:
            links = self.links[step.host]
            wanted = self.topology.hosts[step.host]
            self.hosts[step.host] = Host(
                step.host, links.net, links, self.pids, self.folder, self.names, self.resolving, self.variant, wanted
            )

    async def _sysctls(self, group: list[steps.SetSysctl]) -> None:
        self.wiring.write(step for step in group if step.wanted)

    async def _wires(self, group: list[steps.MakeEnd]) -> None:
        await self.wiring.wires(group)

    async def _rules(self, group: list[steps.LoadRules]) -> None:
        on: dict[str, list[steps.LoadRules]] = {}
        for step in group:
            on.setdefault(step.host, []).append(step)
        await all_of(self._load_in_order(mine) for mine in on.values())

    async def _load_in_order(self, group: list[steps.LoadRules]) -> None:
        for step in group:
            await self._load(step)

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
        if self.record:
            await self.open_taps()

    async def open_taps(self) -> None:
        """Bind every host's taps, and what canaries are sent from."""
        require_nf_tables()
        require_descriptors(len(self.links) * _PER_TAPS)
        await self.recorder.open([(self.links[name].net, self.links[name]) for name in self.hosts])
        for name, links in self.links.items():
            if name not in self.hosts and len(links.index) > 2:
                self.recorder.open_bridge(links, BRIDGE)

    async def _addresses(self, group: list[steps.AddAddress]) -> None:
        self.wiring.addresses(group)

    async def _up(self, group: list[steps.BringUp]) -> None:
        await self.wiring.up(group)

    async def _services(self, group: list[steps.StartService]) -> None:
        self.stack.push_async_callback(self.services.close)
        await self.services.start(self.hosts, group)
