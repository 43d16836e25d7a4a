"""How a service shows that it is ready: each kind of `ready:` as something to wait for, and in words."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from netemu.kernel.processes.listening import Listening, UnixListening
from netemu.lab.host import Host
from netemu.lab.log import Log
from netemu.topology.model import Ready

_BETWEEN_COMMANDS = 0.05
"""Seconds between two runs of a readiness command."""


async def until_ready(
    host: Host, ready: Ready, log: Log, environment: Mapping[str, str], user: str | None, folder: Path
) -> None:
    """Return once a service is ready that runs in `folder`, however long that takes.

    Raises UsageError if that can't be told: no such command, or an expression that takes too long.
    """
    if ready.log is not None:
        await log.until(ready.log)
    elif ready.command is not None:
        while (await host.run_process(ready.command, environment, folder, user)).returncode:  # noqa: ASYNC110
            await asyncio.sleep(_BETWEEN_COMMANDS)
    elif ready.unix is not None:
        with closing(UnixListening(host.net, ready.unix, folder)) as socket:
            await socket.until()
    else:
        with closing(Listening(host.net, "tcp" if ready.tcp is not None else "udp")) as listening:
            await listening.until(ready.tcp or ready.udp or 0)


def missing(ready: Ready) -> str:
    """What a service that is not ready lacks, in words."""
    if ready.log is not None:
        return f"no line of its output matches '{ready.log}'"
    if ready.command is not None:
        return f"{' '.join(ready.command)} does not exit 0"
    if ready.unix is not None:
        return f"nothing listens on the unix socket {ready.unix}"
    return f"nothing listens on tcp {ready.tcp}" if ready.tcp is not None else f"nothing listens on udp {ready.udp}"
