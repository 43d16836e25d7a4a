"""A lab that another process holds: ask its supervisor, run commands in it, take it down."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from netemu.kernel.syscalls import CLONE_NEWNET, CLONE_NEWPID, setns
from netemu.kernel.userspace import join_user_namespace
from netemu.lab.asking import ask
from netemu.lab.folder import names_up

if TYPE_CHECKING:
    from netemu.topology.model import Topology

NOT_RUN = 127


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

        For a process of its own: this process itself moves into the host's network namespace.
        """
        _, (net, pids, user) = ask(self.name, {"do": "enter", "host": host}, descriptors=3)
        join_user_namespace(user)
        setns(pids, CLONE_NEWPID)
        setns(net, CLONE_NEWNET)
        for fd in (net, pids, user):
            os.close(fd)
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            _become(command)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to the child as well
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda given, _: os.kill(child, given))
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return code if code >= 0 else 128 - code


def _become(command: Sequence[str]) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)  # Python ignores some, and an exec would hand that on
    try:
        os.execvp(command[0], list(command))  # noqa: S606  no shell, as it should be
    except (OSError, ValueError) as error:
        os.write(2, f"netemu: {command[0]}: {getattr(error, 'strerror', None) or error}\n".encode())
    os._exit(NOT_RUN)
