"""A lab: a topology brought to life, and everything that was made for it.

Nothing of a lab outlives the process that holds it: namespaces are held by descriptors, processes live in a PID
namespace of the lab's own. `async with` takes it down in order; a kill takes it down as well.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from netemu.check.lab import check_lab
from netemu.check.report import Report
from netemu.errors import UsageError
from netemu.kernel.processes.pidspace import PidSpace
from netemu.kernel.spaces.userspace import enter_user_namespace
from netemu.lab.build import Builder
from netemu.lab.folder import BASE, NETNS, LabFolder, base, holder_of
from netemu.lab.host import Host
from netemu.lab.leftovers import wipe_name
from netemu.lab.limits import limit_reached
from netemu.lab.linkage import Linkage
from netemu.lab.needs import require_all, require_places
from netemu.lab.progress import Tell
from netemu.lab.recorder import Recorder
from netemu.lab.remarks import remarks
from netemu.lab.services import Services
from netemu.lab.taps import Taps
from netemu.lab.traffic import send
from netemu.lab.users import require_users
from netemu.record.exchange import Exchange
from netemu.record.record import Record, build_record
from netemu.topology.built import built
from netemu.topology.expectation import Expectation
from netemu.topology.given import Given, given
from netemu.topology.load import Source, renamed
from netemu.topology.model import Topology
from netemu.topology.naming import hint
from netemu.topology.plan import plan
from netemu.topology.segments import segments
from netemu.topology.tracing import Tracing

DOWN_WITHIN = 10.0
"""Seconds that taking a lab down may take before a cancelled caller is let go."""


class Lab:
    """`async with Lab("nodeport") as lab`: up inside, gone after. Not for use from two tasks at once.

    `topology` is a shipped topology's name, a file, a mapping that says the same, or a `Topology` (with the `source`
    that `load` gave beside it, if it came from there). `name` is the lab's, if not its topology's. With `named`, the
    lab claims its name on this machine, and its hosts appear to `ip netns` as LAB-HOST. With `record`, taps are bound
    before any interface is up, as they are without it where the topology has traffic or expectations; else the first
    record binds them, so that a lab nobody records pays for none. `taps` says how it is recorded, or else the
    topology's `record`; where neither says anything, everything is, and whole. `progress` is called with how many
    things are made and how many there are to make.

    Raises TopologyError, MachineError, or another NetemuError; nothing is left then.
    """

    def __init__(
        self,
        topology: Given,
        *,
        name: str | None = None,
        named: bool = False,
        record: bool = False,
        progress: Tell | None = None,
        source: Source | None = None,
        taps: Taps | None = None,
    ) -> None:
        self.topology, found = given(topology)
        self.source = source if source is not None and isinstance(topology, Topology) else found
        if name is not None:
            self.topology = renamed(self.topology, name)
        self.named = named
        self.hosts: dict[str, Host] = {}
        self.timing_ms: dict[str, float] = {}
        self.folder: LabFolder | None = None
        self.pids: PidSpace | None = None
        self._taps_source: Source | None = None
        tracing = {name: Tracing.parse(host.trace) for name, host in self.topology.hosts.items()}
        if taps is None:
            taps = Taps.of(self.topology.record, self.source.document.file if self.source.document else None)
            self._taps_source = self.source
        self.recorder = Recorder(taps, tracing)
        self.services = Services(self.source)
        self.linkage: Linkage | None = None
        self._unnamed: dict[str, str] = {}
        self._stack = AsyncExitStack()
        self._recording: Record | None = None
        self._taps_from_start = record or bool(self.topology.traffic or self.topology.expect)
        self._progress = progress
        self._open_taps: Callable[[], Awaitable[None]] | None = None

    def __getitem__(self, host: str) -> Host:
        """A host by its name; UsageError if there is none."""
        if not self.hosts:
            raise UsageError(f"lab {self.topology.name} is not up")
        if host not in self.hosts:
            raise UsageError(f"lab {self.topology.name} has no host '{host}'{hint(host, list(self.topology.hosts))}")
        return self.hosts[host]

    async def __aenter__(self) -> Self:
        start = time.perf_counter()
        try:
            await self._build()
        except BaseException as error:
            await self.down()
            if (reached := limit_reached(error)) is not None:
                raise reached from error
            raise
        self.timing_ms["up"] = (time.perf_counter() - start) * 1000
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.down()

    async def _build(self) -> None:
        enter_user_namespace()
        self.recorder.how.prove(self._taps_source, len(self.topology.hosts))
        steps = plan(self.topology)
        require_all(steps, self.source, taps=self._taps_from_start)
        require_users(self.topology, self.source)
        require_places(self.topology, self.source)
        self._stack.callback(self._give_folder_back)
        self.pids = PidSpace()
        self._stack.push_async_callback(self.pids.close)
        self.folder = LabFolder(self.pids)
        if self.named:
            wipe_name(self.topology.name)
            self.folder.claim(self.topology.name)
        builder = Builder(
            self._stack, self.pids, self.folder.path, self.recorder, self.topology, self.source, self._taps_from_start
        )
        await builder.build(steps, self._progress)
        self.hosts, self._open_taps = builder.hosts, builder.open_taps
        self.services = builder.services
        self.linkage = Linkage(steps, builder.wiring)
        if self.named and base() == BASE:
            self._show_to_ip_netns()

    def _show_to_ip_netns(self) -> None:
        """Symlinks that `ip netns exec LAB-HOST` finds: they lead to this process's descriptors."""
        NETNS.mkdir(mode=0o755, exist_ok=True)
        assert self.folder is not None
        assert self.pids is not None
        names = {
            host.name: (NETNS / f"{self.topology.name}-{host.name}", f"/proc/{os.getpid()}/fd/{host.net.fd}")
            for host in self.hosts.values()
        }
        self.folder.note_names(names.values())
        for host, (link, target) in names.items():
            self.pids.remove_after(link=link, target=target)
            try:
                link.symlink_to(target)
            except FileExistsError:  # somebody else's namespace has that name; the lab does not need its own
                self._unnamed[host] = f"{link} is {holder_of(link)}"

    def _give_folder_back(self) -> None:
        if self.folder is not None:
            self.folder.close()

    async def restart(self, host: str, service: str | None = None) -> None:
        """End a host's services, or one of them, and start them again; returns when they are ready."""
        await self.services.restart(self[host].name, service)

    async def down(self) -> None:
        """Take everything down; once is enough, twice does no harm. A cancelled caller waits until it is done."""
        start = time.perf_counter()
        self._open_taps = None
        closing = asyncio.ensure_future(self._stack.aclose())
        cancelled: asyncio.CancelledError | None = None
        while not closing.done() and time.perf_counter() - start < DOWN_WITHIN:
            try:
                await asyncio.wait({closing}, timeout=DOWN_WITHIN)
            except asyncio.CancelledError as error:
                cancelled = error  # however often: what was made is taken down first
        self.hosts = {}
        self.timing_ms["down"] = (time.perf_counter() - start) * 1000
        if closing.done():
            closing.result()
        if cancelled is not None:
            raise cancelled

    @asynccontextmanager
    async def record(self, *, since_up: bool = False) -> AsyncIterator[Record]:
        """Record what happens inside the `with`; the yielded record is filled in when it ends, and is empty until then.

        With `since_up` it begins with what was seen since the taps were bound: before any interface was up where the
        lab was built with taps. A lab without taps gets them now.
        """
        if self._recording is not None:
            raise UsageError(f"lab {self.topology.name} is being recorded already: end that record first")
        record = self._recording = Record()
        try:
            if not self.recorder.taps and self._open_taps is not None:
                try:
                    await self._open_taps()
                except BaseException:
                    await self.recorder.close()
                    raise
            await self.recorder.begin(forget=not since_up)
            yield record
            captures = await self.recorder.end()
        finally:
            self._recording = None
        segment_of = {member: name for name, members in segments(self.topology).items() for member in members}
        made = build_record(captures, segment_of, record.exchanges, self.topology.name, built(self.topology))
        for name in Record.__slots__:
            setattr(record, name, getattr(made, name))

    async def stop_recording(self) -> None:
        """Take the taps away until the next record: an idle lab that nobody records should not pay for them."""
        await self.recorder.close()

    async def send(self, name: str) -> Exchange:
        """Send one traffic item of the topology; inside `record`, it is noted there."""
        item = next((item for item in self.topology.traffic if item.name == name), None)
        if item is None:
            there = [item.name for item in self.topology.traffic]
            raise UsageError(f"lab {self.topology.name} has no traffic item '{name}'{hint(name, there)}")
        since = await self.recorder.told(item.source)
        exchange = await send(self[item.source], item)
        exchange = replace(exchange, events=(since, await self.recorder.told(item.source)))
        if self._recording is not None:
            self._recording.exchanges.append(exchange)
        return exchange

    def check(self, record: Record, expect: Sequence[Expectation | Mapping[str, Any]] | None = None) -> Report:
        """Hold expectations against a record: the topology's own, unless others are given.

        Others are objects, or mappings as in a topology file. Raises TopologyError on one that this lab can't meet:
        an unknown key, host, traffic item or point.
        """
        return check_lab(self.topology, record, expect)

    async def prove(self) -> Report:
        """Send all traffic of the topology, record it, and check it: what `netemu up` and `netemu run` do."""
        start = time.perf_counter()
        record = Record()
        if self._taps_from_start:
            async with self.record(since_up=True) as record:
                for item in self.topology.traffic:
                    await self.send(item.name)
        sent = time.perf_counter()
        report = self.check(record)
        self.timing_ms["traffic"] = (sent - start) * 1000
        self.timing_ms["check"] = (time.perf_counter() - sent) * 1000
        report.timing_ms.update(self.timing_ms)
        return replace(report, remarks=self.remarks())

    def remarks(self) -> tuple[str, ...]:
        """What of it is not as one may think, a sentence each: services that failed, what a host could not be given."""
        known_as = self.topology.name if self.named else None
        return remarks(known_as, self.hosts.values(), self.services.states(), self._unnamed)
