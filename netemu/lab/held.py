"""A lab that another process holds: ask its supervisor, run commands in it, take it down."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from netemu.errors import UsageError
from netemu.lab.asking import ask
from netemu.lab.folder import names_up

if TYPE_CHECKING:
    from netemu.check.report import Report
    from netemu.lab.capturing import Captured
    from netemu.lab.watching import Loss, Watched
    from netemu.record.journeys import Journey
    from netemu.topology.model import Topology

SLOW = 600.0
"""Seconds that a lab may take for what asks the kernel for a thousand hosts, or waits for services."""


def labs_up() -> list[str]:
    """The names of the labs that are up on this machine, sorted. Raises PrivilegeError where they are root's."""
    return names_up()


class HeldLab:
    """A lab that `netemu up` brought up. Every method raises UsageError if it is not up, or PrivilegeError."""

    def __init__(self, name: str) -> None:
        self.name = name

    def facts(self) -> dict[str, Any]:
        """What its supervisor tells of it: `lab`, `file`, `hosts`, `pid`, `since` (seconds since the epoch)."""
        return ask(self.name, {"do": "facts"})[0]

    def topology(self) -> Topology:
        """The topology that it was made of."""
        from netemu.topology.model import Topology
        from netemu.topology.strict import of_shape

        return of_shape(Topology, ask(self.name, {"do": "topology"})[0]["topology"])

    def show(self, *hosts: str) -> dict[str, Any]:
        """What it consists of now, as the kernel says it: its facts, its hosts (all, unless some are named), networks.

        docs/commands.md tells the shape.
        """
        return ask(self.name, {"do": "show", "hosts": list(hosts)}, within=SLOW)[0]

    def logs(
        self, host: str | None = None, service: str | None = None, *, follow: bool = False
    ) -> Iterator[tuple[str, bytes]]:
        """Pieces of what a host's services wrote, each with the service's name; with `follow`, until it is down.

        Without `host`, of all hosts' services, by HOST:SERVICE. One that wrote nothing so far gives one empty piece.
        """
        from netemu.lab.following import logs

        return logs(self.name, host, service, follow=follow)

    def restart(self, host: str, service: str | None = None) -> list[dict[str, Any]]:
        """End a host's services, or one, and start them again; their states once they are ready."""
        request = {"do": "restart", "host": host} | ({"service": service} if service is not None else {})
        return list(ask(self.name, request, within=SLOW)[0]["services"])

    def link(
        self,
        host: str,
        interface: str,
        *,
        set: Mapping[str, str] | None = None,
        clear: bool = False,
        state: Literal["up", "down"] | None = None,
        way: Literal["in", "out", "both"] = "both",
    ) -> dict[str, Any]:
        """Change what an interface's link does to packets, or whether the interface is up; what holds then.

        `set` is written as in a topology file, and leaves other properties as they are; `way` is what the interface
        sends (`out`), what it is sent (`in`), or both.
        """
        request = {"do": "link", "host": host, "interface": interface, "way": way}
        return ask(self.name, {**request, "set": dict(set or {}), "clear": clear, "state": state})[0]

    def check(self) -> Report:
        """Send its traffic once more, record it, and hold its topology's expectations against the record."""
        import os
        import time
        from dataclasses import replace

        from netemu.check.lab import check_lab
        from netemu.record.record import Record

        topology = self.topology()
        answer, (fd,) = ask(self.name, {"do": "record"}, descriptors=1, within=SLOW)
        start = time.perf_counter()
        try:
            record = Record.load(f"/proc/self/fd/{fd}")
        finally:
            os.close(fd)
        report = check_lab(topology, record)
        report.timing_ms.update(answer["timing_ms"])
        report.timing_ms["check"] = (time.perf_counter() - start) * 1000
        return replace(report, remarks=tuple(answer.get("remarks", ())))

    def capture(
        self,
        points: Sequence[str],
        out: int | Callable[[], int],
        *,
        filter: str = "",
        count: int | None = None,
        ready: Callable[[], None] = lambda: None,
    ) -> Captured:
        """Write what passes these points to a descriptor as pcapng, while it happens; returns when that has ended.

        Points are `B` (all interfaces of B), `B:eth0`, `B:eth0 in` and `B@prerouting.nat`. It ends with SIGINT or
        SIGTERM, when the reader goes, when the lab goes down, or after `count` packets. `filter` is in pcap's language.
        Where `out` is a function, it is called for the descriptor once everything is bound: a file that it opens is
        touched only by a capture that begins. `ready` is called next. For a process of its own, as `run` is, that has
        no threads yet.
        """
        from netemu.lab.inside import inside
        from netemu.topology.tracing import Tracing

        hosts = self.topology().hosts
        tracing = {name: Tracing.parse(host.trace) for name, host in hosts.items()}
        asked = dict.fromkeys(re.split("[:@]", point, maxsplit=1)[0] for point in points)
        with inside(self.name, [host for host in asked if host in hosts] or list(hosts)[:1]) as here:
            from netemu.lab.capturing import capture, wanted_at  # not before: numpy has threads

            wanted = wanted_at(points, list(hosts))
            return capture(here, wanted, out, filter=filter, count=count, tracing=tracing, ready=ready)

    def watch(
        self,
        out: int,
        tell: Callable[[Journey | Loss], str],
        *,
        filter: str = "",
        settle: str = "1s",
        count: int | None = None,
        ready: Callable[[], None] = lambda: None,
    ) -> Watched:
        """Write what `tell` makes of each journey that completes, and of each loss, to a descriptor.

        `filter` (pcap's language) chooses journeys: those of which a frame fits, on any wire. A packet of
        which nothing more is seen for `settle` is told as it is. Ends (here after `count` journeys), and is for a
        process of its own, as `capture`.
        """
        from netemu.lab.inside import inside
        from netemu.topology.segments import segments
        from netemu.topology.tracing import Tracing
        from netemu.topology.units import seconds

        try:
            settle_ns = round(seconds(settle) * 1e9)
        except ValueError as error:
            raise UsageError(str(error)) from error
        topology = self.topology()
        tracing = {name: Tracing.parse(host.trace) for name, host in topology.hosts.items()}
        segment_of = {member: name for name, members in segments(topology).items() for member in members}
        with inside(self.name, list(topology.hosts)) as here:
            from netemu.lab.watching import watch  # not before: numpy has threads

            return watch(
                here,
                out,
                tell,
                segment_of=segment_of,
                tracing=tracing,
                filter=filter,
                settle_ns=settle_ns,
                most=count,
                ready=ready,
            )

    def down(self) -> None:
        """Take it down; returns when its supervisor has ended."""
        ask(self.name, {"do": "down"})

    def run(self, host: str, command: Sequence[str]) -> int:
        """Run a command on a host as a child of this process, with its terminal, input and signals; its exit code.

        As a shell has it: 127 where there is no such command, 126 where it can't be run, 128 and more after a signal.
        For a process of its own: this process itself moves into the host's namespaces.
        """
        from netemu.lab import entering

        return entering.run(host, command, entering.enter(self.name, host))

    def shell(self, host: str) -> int:
        """Run a shell on a host, its prompt naming lab and host; its exit code. Else as `run`."""
        from netemu.lab import entering
        from netemu.lab.shell import shell

        environment = entering.enter(self.name, host)
        command, own, startup = shell(self.name, host)
        return entering.run(host, command, {**environment, **own}, startup)
