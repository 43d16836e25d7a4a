"""A user's subordinate ids (subuid(5)) as the users of its user namespace: newuidmap and newgidmap may map them.

They work from outside: a child is forked before the namespace is entered, and maps its parent when it is told.
"""

from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from netemu.kernel.packages import install_command
from netemu.kernel.spaces.forking import fork

_PATH = f"{os.defpath}:/usr/local/bin"
_NEWUIDMAP, _NEWGIDMAP = ("newuidmap", "/etc/subuid"), ("newgidmap", "/etc/subgid")
"""The program, and the file that says what it may map."""
_FIRST, _COUNT = 100_000, 65_536
"""What useradd(8) gives to users unless it is told otherwise (login.defs(5), SUB_UID_MIN and SUB_UID_COUNT)."""


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
        try:
            self.child = fork()
        except BaseException:
            os.close(wait)
            os.close(self._go)
            raise
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


def why_alone(uid: int) -> tuple[str, str]:
    """Why a user's namespace has nobody but its root: what is lacking, and what mends it."""
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"newuidmap maps nothing for user {uid}, who has no name in /etc/passwd", "run it with sudo"
    for program in (_NEWUIDMAP[0], _NEWGIDMAP[0]):
        if shutil.which(program, path=_PATH) is None:
            return f"{program} is not installed", f"sudo {install_command('uidmap')}"
    files = [file for _, file in (_NEWUIDMAP, _NEWGIDMAP) if subordinate_ids(Path(file), {str(uid), name}) is None]
    if files:
        first = max(_FIRST, *(_beyond(Path(file)) for file in files))
        wanted = " ".join(f"--add-{Path(file).name}s {first}-{first + _COUNT - 1}" for file in files)
        return f"{' and '.join(files)} give {name} no ids", f"sudo usermod {wanted} {name}"
    return f"/etc/subuid and /etc/subgid give {name} ids, but newuidmap maps none or too few here", "run it with sudo"


def _beyond(file: Path) -> int:
    """The first id behind all that the file gives to anybody."""
    return max((first + count for _, first, count in _ranges(file)), default=0)


def _commands(uid: int, gid: int, pid: int) -> list[list[str]]:
    try:
        names = {str(uid), pwd.getpwuid(uid).pw_name}
    except KeyError:
        return []  # they map nothing for a user without a name
    found = []
    for (program, file), own in ((_NEWGIDMAP, gid), (_NEWUIDMAP, uid)):
        path, ids = shutil.which(program, path=_PATH), subordinate_ids(Path(file), names)
        if path is None or ids is None:
            return []
        found.append([path, str(pid), "0", str(own), "1", "1", str(ids[0]), str(ids[1])])
    return found


def subordinate_ids(file: Path, names: set[str]) -> tuple[int, int] | None:
    """The first range that the file gives to one of these names: its first id, and how many."""
    return next(((first, count) for name, first, count in _ranges(file) if name in names), None)


def _ranges(file: Path) -> Iterator[tuple[str, int, int]]:
    """Every range that the file gives to somebody: whom, its first id, and how many."""
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        name, _, rest = line.partition(":")
        first, _, count = rest.partition(":")
        if first.isdigit() and count.strip().isdigit():
            yield name, int(first), int(count)
