"""A user's subordinate ids (subuid(5)) as the users of its user namespace: newuidmap and newgidmap may map them.

They work from outside: a child is forked before the namespace is entered, and maps its parent when it is told.
"""

from __future__ import annotations

import os
import pwd
import shutil
from pathlib import Path
from types import TracebackType
from typing import Self

_PATH = f"{os.defpath}:/usr/local/bin"


class Mapper:
    """Maps all ids of a user for the process that makes this, once that is in its user namespace.

    Where the user has no subordinate ids, or nothing that maps them, `map` does nothing.
    """

    def __init__(self, uid: int, gid: int) -> None:
        self.commands = _commands(uid, gid, os.getpid())
        self.child = 0

    def __enter__(self) -> Self:
        if not self.commands:
            return self
        wait, self._go = os.pipe()
        self.child = os.fork()
        if self.child == 0:
            os.close(self._go)
            _map_when_told(wait, self.commands)
        os.close(wait)
        return self

    def map(self) -> None:
        """Map now; the caller looks at what was mapped."""
        if self.child:
            os.write(self._go, b"x")
            os.waitpid(self.child, 0)
            self.child = 0
            os.close(self._go)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.child:
            os.close(self._go)
            os.waitpid(self.child, 0)
            self.child = 0


def _map_when_told(wait: int, commands: list[list[str]]) -> None:
    try:
        if os.read(wait, 1):
            nothing = os.open(os.devnull, os.O_RDWR)
            for fd in (0, 1, 2):
                os.dup2(nothing, fd)  # one that maps nothing is no fault: the user is alone there then
            for command in commands:
                if os.spawnv(os.P_WAIT, command[0], command):  # noqa: S606  no shell, as it should be
                    break
    finally:
        os._exit(0)


def _commands(uid: int, gid: int, pid: int) -> list[list[str]]:
    try:
        names = {str(uid), pwd.getpwuid(uid).pw_name}
    except KeyError:
        return []  # they map nothing for a user without a name
    found = []
    for program, file, own in (("newgidmap", "/etc/subgid", gid), ("newuidmap", "/etc/subuid", uid)):
        path, ids = shutil.which(program, path=_PATH), subordinate_ids(Path(file), names)
        if path is None or ids is None:
            return []
        found.append([path, str(pid), "0", str(own), "1", "1", str(ids[0]), str(ids[1])])
    return found


def subordinate_ids(file: Path, names: set[str]) -> tuple[int, int] | None:
    """The first range that the file gives to one of these names: its first id, and how many."""
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, rest = line.partition(":")
        first, _, count = rest.partition(":")
        if name in names and first.isdigit() and count.strip().isdigit():
            return int(first), int(count)
    return None
