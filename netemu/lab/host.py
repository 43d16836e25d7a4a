"""One host of a lab: run commands on it, open sockets on it."""

from __future__ import annotations

import asyncio
import os
import socket as std
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

from netemu.errors import UsageError
from netemu.kernel.links.links import Links
from netemu.kernel.processes.handle import Process
from netemu.kernel.processes.pidspace import PidSpace
from netemu.kernel.processes.process import Completed, run_on
from netemu.kernel.processes.running import ProcessFacts, processes_in
from netemu.kernel.rules.variants import Variant
from netemu.kernel.spaces.namespace import NetworkNamespace
from netemu.kernel.taps.packet import What
from netemu.lab.names import Names
from netemu.lab.resolving import Resolving
from netemu.lab.searching import PLAIN, with_roots_programs
from netemu.topology import model

File = IO[bytes] | std.socket | int | None
LOGIN = ("HOME", "USER", "LOGNAME")
"""What says in an environment who somebody is: not handed on to another user's processes."""

if TYPE_CHECKING:
    from netemu.kernel.taps.scapy_socket import PacketSocket


class Host:
    """A host of a lab that is up.

    Its processes have a place of their own: the host's name and network, the lab's /proc, its own /sys, /etc/hosts and
    /etc/resolv.conf, the iptables of the lab's backend, and the files placed there. `remarks` says what of that could
    not be had.
    """

    def __init__(
        self,
        name: str,
        net: NetworkNamespace,
        links: Links,
        pids: PidSpace,
        folder: Path,
        names: Names,
        resolving: Resolving,
        variant: Variant,
        wanted: model.Host | None = None,
    ) -> None:
        self.name = name
        self.net = net
        self.links = links
        self.pids = pids
        self.folder = folder
        self.names = names
        self.resolving = resolving
        self.variant = variant
        self.wanted = wanted or model.Host()
        self.remarks: tuple[str, ...] = ()
        self._settling = asyncio.Lock()
        self._settled = False

    async def run(
        self,
        *command: str,
        input: bytes | str = b"",
        within: float | None = None,
        environment: Mapping[str, str] | None = None,
        user: str | None = None,
        folder: Path | None = None,
    ) -> Completed:
        """Run a command to its end; UsageError if there is no such program, TimeoutError after `within` seconds.

        `command` is the program and its arguments, each a text of its own; `input` is what it reads.
        It has this process's environment, the host's, and `environment`; it runs as this process's user, or as `user`,
        and where this process is, or in `folder`.
        """
        self._must_be_one(command)
        written = input.encode() if isinstance(input, str) else input
        async with asyncio.timeout(within):
            own = self.environment(os.environ, environment, user)
            return await self.run_process(command, own, folder, user, written)

    async def start(
        self,
        *command: str,
        stdin: File = None,
        stdout: File = None,
        stderr: File = None,
        environment: Mapping[str, str] | None = None,
        user: str | None = None,
    ) -> Process:
        """Start a command that goes on running; `async with` ends it, the lab's end does so at the latest.

        Its streams are files or descriptors of this process, which stay yours; without one, it reads and writes
        nothing. The environment and user are as those of `run`; UsageError if there is no such program.
        """
        self._must_be_one(command)
        await self.settle()
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        try:
            chosen = [
                nothing if file is None else file if isinstance(file, int) else file.fileno()
                for file in (stdin, stdout, stderr)
            ]
            streams = (chosen[0], chosen[1], chosen[2])
            return await self.start_process(
                command, streams, self.environment(os.environ, environment, user), None, user
            )
        finally:
            os.close(nothing)

    def _must_be_one(self, command: Sequence[str]) -> None:
        if not command:
            raise UsageError(f"host {self.name}: no command was given: name a program, and its arguments")

    def processes(self) -> list[ProcessFacts]:
        """The processes that run on this host now, whoever started them, and on no other."""
        return processes_in(self.net, self.pids.fd)

    async def run_process(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        folder: Path | None = None,
        user: str | None = None,
        input: bytes = b"",
    ) -> Completed:
        """Run a command to its end with this whole environment: nothing of this process's own is handed on."""
        await self.settle()
        return await run_on(
            self.name, command, self.pids, input=input, environment=environment, user=user, folder=folder
        )

    async def start_process(
        self,
        command: Sequence[str],
        streams: tuple[int, int, int],
        environment: Mapping[str, str],
        folder: Path | None = None,
        user: str | None = None,
    ) -> Process:
        """Start a process with these descriptors as its streams, and this whole environment."""
        await self.settle()
        return await self.pids.start(
            command, streams, host=self.name, environment=environment, folder=folder, user=user
        )

    def environment(
        self, base: Mapping[str, str], more: Mapping[str, str] | None = None, user: str | None = None
    ) -> dict[str, str]:
        """A process's environment: `base` (without its user's own, for another `user`), the host's own, and `more`."""
        kept = {key: value for key, value in base.items() if user is None or key not in LOGIN}
        return with_roots_programs(kept) | self.own_environment | dict(more or {})

    def plain_environment(self, more: Mapping[str, str] | None = None, user: str | None = None) -> dict[str, str]:
        """The environment of what the topology runs here: the same whoever brings the lab up."""
        return self.environment(PLAIN, more, user)

    @property
    def own_environment(self) -> dict[str, str]:
        """What the host adds to its processes' environment: what its topology says, and a lock that is the lab's own.

        iptables-legacy takes a lock of the whole machine's otherwise, /run/xtables.lock, which without root it may not.
        """
        return {"XTABLES_LOCKFILE": str(self.folder / "xtables.lock"), **self.wanted.environment}

    def socket(self, interface: str, filter: str = "") -> PacketSocket:
        """A scapy socket on one of this host's interfaces, for scapy's sniff, AsyncSniffer, sr1, sendp, …; close it.

        It hears what comes in and what the host sends, as far as `filter` (pcap's language) takes it. Raises
        UsageError if there is no such interface, or the filter is none.
        """
        from netemu.kernel.taps.scapy_socket import PacketSocket

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

    async def settle(self) -> None:
        """Make the place of the host's processes, unless it is there: hosts without any process do without."""
        if self.net.fd < 0:
            raise UsageError(f"host {self.name}: its lab is down")
        async with self._settling:
            if not self._settled:
                kept = self.folder / f"{self.name}.own"
                placed = self.wanted.files
                covers = [*self.resolving.covers(self.name, placed), *self.names.covers(self.name, placed)]
                programs = self.variant.covers(self.wanted.files)
                names, files = self.names.file(), self._files()
                empty = self.wanted.tmpfs
                said = await self.pids.place(self.name, self.net.fd, kept, names, files, covers, programs, empty)
                self.remarks = (*said, *self.variant.remarks)
                self._settled = True

    async def enter(self) -> list[int]:
        """Descriptors of the network, UTS and mount namespaces of this host's processes, for the caller to close."""
        await self.settle()
        return await self.pids.enter(self.name)

    def _files(self) -> list[tuple[Path, str]]:
        """The files that the topology places here, each with where it is to be."""
        placed = []
        for number, (target, file) in enumerate(self.wanted.files.items()):
            source = self.folder / f"{self.name}.file{number}"
            source.write_bytes(file.data)
            source.chmod(file.permissions)
            placed.append((source, target))
        return placed
