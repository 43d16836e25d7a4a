"""iptables' two variants: where their programs are, and what makes the plain names those of one of them.

`iptables` is on most machines a symlink, by way of /etc/alternatives, to one program for all that a variant's names do:
it goes by the name that it is called by. So a plain name itself is covered on a host, not what it leads to, which other
names lead to as well.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from functools import cached_property
from itertools import product
from pathlib import Path

from netemu.kernel.packages import install_command
from netemu.topology.model import Backend

_FOLDERS = ("/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/local/bin")
_TOOLS = ("iptables", "ip6tables")
_ACTIONS = ("", "-save", "-restore")


def package(backend: Backend) -> str:
    """The package that brings a variant, by the name that `install_command` knows."""
    return "iptables-legacy" if backend == "legacy" else "iptables"


def find_tool(name: str) -> str | None:
    """The path of one of the machine's tools; not by $PATH, which may lack folders that are root's."""
    return shutil.which(name, path=os.pathsep.join(_FOLDERS))


class Variant:
    """The plain names of a backend, looked up on the machine when they are first asked for."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    def covers(self, placed: Iterable[str]) -> list[tuple[Path, str]]:
        """What is to cover plain names on a host whose topology places the files `placed`: each with where it is.

        Nothing where a name is the backend's already, or the topology's.
        """
        given = {_itself(target) for target in placed}
        return [(program, name) for name, (_, program) in self._others.items() if program and name not in given]

    @property
    def remarks(self) -> tuple[str, ...]:
        """The plain names that stay as the machine has them, since it lacks the backend's program, in words."""
        return tuple(
            f"{name} is of the machine's choice: {wanted} is missing: {install_command(package(self.backend))}"
            for name, (wanted, program) in self._others.items()
            if program is None
        )

    @cached_property
    def _others(self) -> dict[str, tuple[str, Path | None]]:
        """For each plain name that is not the backend's: the name of what is, and the program, if it is there."""
        others: dict[str, tuple[str, Path | None]] = {}
        for tool, action in product(_TOOLS, _ACTIONS):
            wanted = f"{tool}-{self.backend}{action}"
            program = find_tool(wanted)
            names = {_itself(f"{folder}/{tool}{action}") for folder in _FOLDERS}
            for name in sorted(filter(os.path.lexists, names)):
                if program is None or not _same(program, name):
                    others[name] = (wanted, Path(program).resolve() if program is not None else None)
        return others


def _itself(path: str) -> str:
    """A path without symlinks but for its last part."""
    folder, name = os.path.split(path)
    return os.path.join(os.path.realpath(folder), name)


def _same(program: str, name: str) -> bool:
    return os.path.exists(name) and os.path.samefile(program, name)
