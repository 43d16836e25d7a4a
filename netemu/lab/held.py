"""A lab that another process holds: ask its supervisor, run commands in it, take it down."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from netemu.lab.asking import ask
from netemu.lab.folder import names_up

if TYPE_CHECKING:
    from netemu.topology.model import Topology


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

        return Topology.model_validate(ask(self.name, {"do": "topology"})[0]["topology"])

    def down(self) -> None:
        """Take it down; returns when its supervisor has ended."""
        ask(self.name, {"do": "down"})

    def run(self, host: str, command: Sequence[str]) -> int:
        """Run a command on a host as a child of this process, with its terminal, input and signals; its exit code.

        For a process of its own: this process itself moves into the host's namespaces.
        """
        from netemu.lab import entering

        return entering.run(command, entering.enter(self.name, host))

    def shell(self, host: str) -> int:
        """Run a shell on a host, its prompt naming lab and host; its exit code. Else as `run`."""
        from netemu.lab import entering
        from netemu.lab.shell import shell

        environment = entering.enter(self.name, host)
        command, own, startup = shell(self.name, host)
        return entering.run(command, {**environment, **own}, startup)
