"""The services of a lab: started after those that they wait for, kept ready, started again as their policy says."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
from dataclasses import dataclass
from pathlib import Path

from netemu.errors import NetemuError, ServiceError, UsageError
from netemu.kernel.processes.handle import Process
from netemu.kernel.processes.memory import memory_file
from netemu.lab.host import Host
from netemu.lab.log import Log
from netemu.lab.readiness import missing, until_ready
from netemu.lab.together import all_of
from netemu.topology.load import Source
from netemu.topology.naming import hint
from netemu.topology.steps import StartService
from netemu.topology.units import seconds

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""Seconds before a service that ended is started again: twice as long each time."""
GRACE = 2.0
"""Seconds that a service has to end by itself, asked by SIGTERM, when it is restarted by hand."""
_LINES_QUOTED = 3


@dataclass(frozen=True, slots=True)
class ServiceState:
    """How a service is: its state, its process's number here, and how it went before.

    `state` is `starting`, `ready`, `restarting` (it ended, and waits for its next start), `ended` or `failed`.
    """

    host: str
    name: str
    state: str
    pid: int | None
    restarts: int
    exit_code: int | None
    log: Path


class RunningService:
    """One service, from its first start to the lab's end."""

    def __init__(self, host: Host, step: StartService, source: Source) -> None:
        self.host = host
        self.name = step.name
        self.step = step
        self.source = source
        self.state = "starting"
        self.restarts = 0
        self.ready = asyncio.Event()
        """Set once it was ready, since it was first started or restarted by hand: what others wait for."""
        self.turn = asyncio.Lock()
        """Held by who restarts it by hand: who comes meanwhile would kill what is just getting ready."""
        self.process: Process | None = None
        self.keeper: asyncio.Task[None] | None = None
        self._ended_with: int | None = None
        self.folder = host.folder / f"{host.name}.{step.name}"
        user = step.service.user if step.service.user is not None else host.wanted.user
        self.user = str(user) if user is not None else None
        self._make_folder()
        self.log = Log(host.folder / f"{host.name}.{step.name}.log")

    def told(self) -> ServiceState:
        """How it is now."""
        process = self.process
        code = process.returncode if process is not None else None
        pid = process.pid if process is not None and code is None else None
        return ServiceState(self.host.name, self.name, self.state, pid, self.restarts, code, self.log.path)

    async def start(self) -> None:
        """Start it; returns when it is ready. Raises ServiceError."""
        self.state = "starting"
        try:
            await self._become_ready()
        except BaseException:
            self.state = "failed"
            if self.process is not None:
                self.process.kill()
            raise
        self.state = "ready"
        self.ready.set()
        self.keeper = asyncio.create_task(self._keep(), name=f"service {self.host.name}:{self.name}")

    def within(self) -> float | None:
        """Seconds in which it has to be ready; None if it is as soon as it was started."""
        ready = self.step.service.ready
        return seconds(ready.within) if ready is not None else None

    async def _become_ready(self) -> None:
        ready = self.step.service.ready
        try:
            async with asyncio.timeout(self.within()):
                while not await self._attempt():  # noqa: ASYNC110  it waits for its process, this is a pause
                    await asyncio.sleep(FIRST_PAUSE)
        except TimeoutError as error:
            assert ready is not None
            ended = f"; it ended {self.restarts} times, with exit code {self._ended_with}" if self.restarts else ""
            raise self._problem(f"was not ready within {ready.within}: {missing(ready)}{ended}") from error

    async def stop(self) -> None:
        """End it, by SIGTERM first (tidying up takes its time), and start it no more."""
        if self.keeper is not None:
            self.keeper.cancel()
            await asyncio.gather(self.keeper, return_exceptions=True)
            self.keeper = None
        if self.process is not None:
            self.process.stop()
            try:
                async with asyncio.timeout(GRACE):
                    await self.process.wait()
            except TimeoutError:
                self.process.kill()
                await self.process.wait()
        self.ready.clear()
        self.state = "ended"

    async def _attempt(self) -> bool:
        """Start its process; True once it is ready, False if it ended before and is to be started again."""
        ready = self.step.service.ready
        environment = self.host.plain_environment(self.step.service.environment, self.user)
        readiness = None
        if ready is not None:
            shown = until_ready(self.host, ready, self.log, environment, self.user, self.folder)
            readiness = asyncio.ensure_future(shown)
        try:
            process = self.process = await self._process(environment)
            if readiness is None:
                return True
            ending = asyncio.ensure_future(process.wait())
            try:
                await asyncio.wait({ending, readiness}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                ending.cancel()
            if readiness.done():
                self._must_be_known(readiness)
                return True
        finally:
            if readiness is not None:
                readiness.cancel()
                await asyncio.gather(readiness, return_exceptions=True)
        if not self._again():
            raise self._problem(f"ended with exit code {process.returncode}")
        self.restarts, self._ended_with = self.restarts + 1, process.returncode
        return False

    def _must_be_known(self, readiness: asyncio.Future[None]) -> None:
        try:
            readiness.result()
        except UsageError as error:
            asked = self.step.service.ready
            kind = "log" if asked is not None and asked.log is not None else "command"
            raise ServiceError(self.source.problem(str(error), (*self.step.path, "ready", kind))) from error

    async def _process(self, environment: dict[str, str]) -> Process:
        with memory_file() as nothing:
            streams = (nothing.fileno(), self.log.writer, self.log.writer)
            try:
                return await self.host.start_process(
                    self.step.service.command, streams, environment, self.folder, self.user
                )
            except UsageError as error:
                raise ServiceError(self.source.problem(str(error), (*self.step.path, "command"))) from error

    async def _keep(self) -> None:
        """Wait for its end, and start it again where its policy says so, after a pause that grows."""
        pause = FIRST_PAUSE
        while self.process is not None:
            await self.process.wait()
            if not self._again() or self.host.pids.is_gone:
                self.state = "ended" if self.process.returncode == 0 else "failed"
                return
            self.state = "restarting"
            await asyncio.sleep(pause)
            self.state = "starting"
            pause = min(pause * 2, LONGEST_PAUSE)
            self.restarts += 1
            try:
                async with asyncio.timeout(self.within()):
                    if not await self._attempt():
                        continue
            except (NetemuError, TimeoutError):
                if self.host.pids.is_gone:
                    self.state = "failed"
                    return
                if self.process.returncode is None:
                    self.process.kill()
                continue
            self.state = "ready"

    def _again(self) -> bool:
        assert self.process is not None
        policy = self.step.service.restart
        return policy == "always" or (policy == "on-failure" and self.process.returncode != 0)

    def _make_folder(self) -> None:
        """A folder of its own, its user's where that user is known on this machine."""
        self.folder.mkdir(mode=0o700)
        if self.user is not None:
            with contextlib.suppress(KeyError, OSError):  # the host's own user, or one of no number here: it looks on
                os.chown(self.folder, int(self.user) if self.user.isdigit() else pwd.getpwnam(self.user).pw_uid, -1)

    def _problem(self, what: str) -> ServiceError:
        lines = self.log.last_lines(_LINES_QUOTED)
        quoted = "".join(f"\n    {line}" for line in lines) if lines else ", and wrote nothing"
        return ServiceError(
            self.source.problem(f"service {self.name} on {self.host.name} {what}{quoted}", self.step.path)
        )


class Services:
    """All services of a lab; `close` when done."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.running: dict[tuple[str, str], RunningService] = {}

    async def start(self, hosts: dict[str, Host], steps: list[StartService]) -> None:
        """Start all, each when those that it waits for are ready; returns when all are. Raises ServiceError."""
        for step in steps:
            self.running[step.host, step.name] = RunningService(hosts[step.host], step, self.source)
        await all_of([self._after(one) for one in self.running.values()])

    async def restart(self, host: str, name: str | None = None) -> None:
        """End one service of a host, or all of them, and start them again; returns when they are ready.

        Who asks while they are being restarted waits for that first.

        Raises ServiceError, and leaves them as they are, if one of those that they come after has failed.
        """
        chosen = [one for (where, what), one in self.running.items() if where == host and name in (None, what)]
        if not chosen:
            there = [what for where, what in self.running if where == host]
            if name is None or not there:
                raise UsageError(f"host {host} has no services")
            raise UsageError(f"host {host} has no service '{name}'{hint(name, there)}")
        async with contextlib.AsyncExitStack() as turns:
            for one in chosen:  # in the topology's order, so that no two wait for each other
                await turns.enter_async_context(one.turn)
            await all_of([self._there_for(one, chosen) for one in chosen])
            for one in chosen:
                await one.stop()
            await all_of([self._after(one) for one in chosen])

    def states(self) -> list[ServiceState]:
        """How each service is, in the order of the topology."""
        return [one.told() for one in self.running.values()]

    def take_logs(self, host: str) -> None:
        """Have what a host's services wrote by now in their logs."""
        for (where, _), one in self.running.items():
            if where == host:
                one.log.take()

    async def close(self) -> None:
        """Watch over none any more; their processes end with the lab."""
        for one in self.running.values():
            if one.keeper is not None:
                one.keeper.cancel()
        await asyncio.gather(*(one.keeper for one in self.running.values() if one.keeper), return_exceptions=True)
        for one in self.running.values():
            one.log.close()

    def _before(self, one: RunningService) -> list[RunningService]:
        """Those that a service comes after."""
        places = [other.rpartition(":") for other in one.step.service.after]
        return [self.running[host or one.host.name, name] for host, _, name in places]

    async def _there_for(self, one: RunningService, chosen: list[RunningService]) -> None:
        """Return when what a service comes after has been ready, but for what is `chosen` too. Raises ServiceError."""
        for other in self._before(one):
            if other in chosen:
                continue
            try:
                async with asyncio.timeout(other.within() or LONGEST_PAUSE):
                    if other.state != "failed":
                        await other.ready.wait()
            except TimeoutError:
                pass
            if other.state == "failed" or not other.ready.is_set():
                is_not = "has failed" if other.state == "failed" else "is not ready"
                name = f"{other.host.name}:{other.name}"
                said = f"service {one.name} on {one.host.name} comes after {name}, which {is_not}: restart that first"
                raise ServiceError(self.source.problem(said, (*one.step.path, "after")))

    async def _after(self, one: RunningService) -> None:
        for other in self._before(one):
            await other.ready.wait()
        await one.start()
