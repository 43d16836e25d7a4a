"""One host of a lab: run commands on it, open sockets on it."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from pathlib import Path

from netemu.errors import UsageError
from netemu.kernel.links import Links
from netemu.kernel.namespace import NetworkNamespace
from netemu.kernel.pidspace import PidSpace
from netemu.kernel.process import Completed, kill, run


class Host:
    """A host of a lab that is up."""

    def __init__(self, name: str, net: NetworkNamespace, links: Links, pids: PidSpace, folder: Path) -> None:
        self.name = name
        self.net = net
        self.links = links
        self.pids = pids
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []

    async def run(self, *command: str, input: bytes = b"", within: float | None = None) -> Completed:
        """Run a command to its end; UsageError if there is no such program, TimeoutError after `within` seconds."""
        if self.net.fd < 0:
            raise UsageError(f"host {self.name}: its lab is down")
        async with asyncio.timeout(within):
            return await run(command, self.net, self.pids, input=input)

    def socket(self, family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM, proto: int = 0) -> socket.socket:
        """A non-blocking socket that lives on this host, for this process's own event loop."""
        with self.net.entered():
            sock = socket.socket(family, kind, proto)
        sock.setblocking(False)
        return sock

    def kill_processes(self) -> None:
        """End and collect every process that was started here."""
        while self.processes:
            kill(self.processes.pop())
