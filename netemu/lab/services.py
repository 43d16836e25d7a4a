"""A host's services: started, and waited for until they are ready."""

from __future__ import annotations

import asyncio
from pathlib import Path

from netemu.errors import ServiceError, UsageError
from netemu.kernel.listening import Listening
from netemu.kernel.memory import memory_file
from netemu.lab.host import Host
from netemu.topology.load import Source
from netemu.topology.model import Ready
from netemu.topology.plan import StartService
from netemu.topology.units import seconds

ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": "/"}
"""What a service finds in its environment: the same whoever brings the lab up."""
_LINES_QUOTED = 3


async def start_service(host: Host, step: StartService, source: Source) -> None:
    """Start one service in a folder of its own; returns when it is ready. Raises ServiceError."""
    log = host.folder / f"{host.name}.{step.name}.log"
    folder = host.folder / f"{host.name}.{step.name}"
    folder.mkdir(mode=0o700)
    await host.settle()
    with log.open("wb") as output, memory_file() as nothing:
        streams = (nothing.fileno(), output.fileno(), output.fileno())
        try:
            process = await host.pids.start(
                step.service.command,
                streams,
                host=host.name,
                folder=folder,
                environment=host.environment(ENVIRONMENT, step.service.environment),
            )
        except UsageError as error:
            raise ServiceError(source.problem(str(error), (*step.path, "command"))) from error
    ready = step.service.ready
    if ready is None:
        return
    ending = asyncio.ensure_future(process.wait())
    readiness = asyncio.ensure_future(_ready(host, ready))
    try:
        within = seconds(ready.within)
        await asyncio.wait({ending, readiness}, timeout=within, return_when=asyncio.FIRST_COMPLETED)
        if readiness.done():
            readiness.result()
            return
        what = (
            f"ended with exit code {process.returncode}"
            if ending.done()
            else f"was not ready within {ready.within}: nothing listens on {_port(ready)}"
        )
        raise ServiceError(source.problem(f"service {step.name} on {host.name} {what}{_quote(log)}", step.path))
    finally:
        for task in (ending, readiness):
            task.cancel()
        await asyncio.gather(ending, readiness, return_exceptions=True)


async def _ready(host: Host, ready: Ready) -> None:
    listening = Listening(host.net, "tcp" if ready.tcp is not None else "udp")
    try:
        await listening.until(ready.tcp or ready.udp or 0)
    finally:
        listening.close()


def _port(ready: Ready) -> str:
    return f"tcp {ready.tcp}" if ready.tcp is not None else f"udp {ready.udp}"


def _quote(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()[-_LINES_QUOTED:]
    return "".join(f"\n    {line}" for line in lines) if lines else ", and wrote nothing"
