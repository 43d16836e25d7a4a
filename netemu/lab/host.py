"""One host of a lab: run commands on it, open sockets on it."""

from __future__ import annotations

import asyncio
import socket as std
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from netemu.errors import UsageError
from netemu.kernel.links import Links
from netemu.kernel.namespace import NetworkNamespace
from netemu.kernel.packet import What
from netemu.kernel.pidspace import PidSpace
from netemu.kernel.process import Completed, kill, run

if TYPE_CHECKING:
    from netemu.kernel.scapy_socket import PacketSocket


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

    def socket(self, interface: str, filter: str = "") -> PacketSocket:
        """A scapy socket on one of this host's interfaces, for scapy's sniff, AsyncSniffer, sr1, sendp, …; close it.

        It hears what comes in and what the host sends, as far as `filter` (pcap's language) takes it. Raises
        UsageError if there is no such interface, or the filter is none.
        """
        from netemu.kernel.scapy_socket import PacketSocket

        if interface not in self.links.index:
            there = ", ".join(self.links.index)
            raise UsageError(f"host {self.name} has no interface '{interface}': there are {there}")
        return PacketSocket(self.net, What(self.links.index[interface], filter, canaries=False), interface)

    def open_socket(self, family: int = std.AF_INET, kind: int = std.SOCK_STREAM, proto: int = 0) -> std.socket:
        """A non-blocking socket of the standard library on this host, for this process's own event loop."""
        with self.net.entered():
            sock = std.socket(family, kind, proto)
        sock.setblocking(False)
        return sock

    def kill_processes(self) -> None:
        """End and collect every process that was started here."""
        while self.processes:
            kill(self.processes.pop())
