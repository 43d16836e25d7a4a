"""What a lab leaves when its holder and its process 1 were both killed: its state folder, and names that lead nowhere.

Nothing is removed that is not provably a dead lab's of this user: the folder has our name, layout, owner and mode, its
lock is free, and nothing is mounted in it (a folder that is empty, without a lock, has been so for longer than any lab
takes to get one, and nothing holds it); a name is one that such a folder's `names` file lists with its target, or
one in the base folder that leads to such a folder. Namespaces, interfaces and processes are never left: the kernel
freed them with their holder.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import stat
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from netemu.errors import PrivilegeError
from netemu.lab.folder import ALIVE, PREFIX, base, base_locked, is_locked, is_owned, noted_names

_FOLDER = re.compile(re.escape(PREFIX) + r"[a-z0-9_]{8}")
"""A lab's state folder, as folder.py names it."""
LOCKED_WITHIN = 60.0
"""Seconds in which a lab that made its folder has locked it, if it ever does: it takes less than a millisecond."""


@dataclass(frozen=True, slots=True)
class Leftover:
    """One thing that a dead lab left: a state `folder`, a lab's `name`, or a `netns` name of one of its hosts."""

    kind: Literal["folder", "name", "netns"]
    path: str


def wipe(*, dry_run: bool = False) -> list[Leftover]:
    """Remove what dead labs left (or only tell, with `dry_run`); what was found. Raises PrivilegeError."""
    found: list[Leftover] = []
    try:
        if not base().is_dir():
            return []
        with base_locked():
            entries = sorted(base().iterdir())
            for folder in (entry for entry in entries if _is_dead(entry)):
                found += _remains(folder)
                if not dry_run:
                    _remove(folder)
            for name in (entry for entry in entries if entry.is_symlink() and _leads_nowhere(entry, found)):
                found.append(Leftover("name", str(name)))
                if not dry_run:
                    name.unlink(missing_ok=True)
    except PermissionError as error:
        raise PrivilegeError("only root can see what labs left: run it with sudo") from error
    return found


def wipe_name(name: str) -> None:
    """Remove what the lab left that had this name, if it is dead: a lab of that name is about to come up."""
    link = base() / name
    with base_locked():
        if link.is_symlink() and _is_dead(folder := Path(os.readlink(link))):
            _remove(folder)
            link.unlink(missing_ok=True)


def _remains(folder: Path) -> list[Leftover]:
    return [*(Leftover("netns", str(link)) for link in noted_names(folder)), Leftover("folder", str(folder))]


def _remove(folder: Path) -> None:
    """Remove a dead lab's folder, and the names that it lists. What is gone by now its process 1 has removed."""
    with suppress(FileNotFoundError):
        for link in noted_names(folder):
            link.unlink(missing_ok=True)
        for entry in list(folder.iterdir()):
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry.name != ALIVE:
                entry.unlink(missing_ok=True)
        shutil.rmtree(folder)  # its lock last: where something else can't be removed, it is still known for a lab's


def _leads_nowhere(link: Path, found: list[Leftover]) -> bool:
    """Whether a lab's name leads to a folder that is dead, or gone."""
    try:
        target = Path(os.readlink(link))
    except FileNotFoundError:
        return False  # its lab has just gone
    if not is_owned(link) or target.parent != base() or not _FOLDER.fullmatch(target.name):
        return False
    if os.path.lexists(target):
        return Leftover("folder", str(target)) in found
    return os.path.lexists(link)  # a lab that goes just now takes its name away before its folder


def _is_dead(folder: Path) -> bool:
    """Whether this is a lab's state folder, ours, and its lab is gone but has left it."""
    with suppress(FileNotFoundError):  # it goes with its lab just now
        return _is_left(folder)
    return False


def _is_left(folder: Path) -> bool:
    if folder.parent != base() or not _FOLDER.fullmatch(folder.name) or not is_owned(folder):
        return False
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_mode & 0o077 or _is_mounted_on(folder):
        return False
    try:
        alive = os.open(folder / ALIVE, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return _was_left_empty(folder)
    except OSError:
        return False
    return not is_locked(alive, fcntl.LOCK_EX)


def _was_left_empty(folder: Path) -> bool:
    """Whether a folder was left between being made and having its lock: for long, and by nothing that still has it."""
    if os.listdir(folder) or time.time() - folder.lstat().st_ctime < LOCKED_WITHIN:
        return False
    here = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    return not is_locked(here, fcntl.LOCK_EX)


def _is_mounted_on(folder: Path) -> bool:
    """Whether something is mounted at or below a folder, as this process sees it."""
    mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    points = (Path(line.split()[4]) for line in mounts)
    return any(point == folder or folder in point.parents for point in points)
