"""A child of process 1 becomes a process of a host: its namespaces, folder, standard streams, user and program."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os
import resource

from .calls import CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWUTS, setns
from .message import failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pwd import struct_passwd
    from typing import Any, NoReturn

NOT_RUN = 127
KINDS = (CLONE_NEWNET, CLONE_NEWUTS, CLONE_NEWNS)
"""Of a place's descriptors, in this order: the mount namespace comes last, as it changes what paths mean."""


def become(
    request: Mapping[str, Any], place: Sequence[int], streams: Sequence[int], report: int, limits: tuple[int, int]
) -> NoReturn:
    """In a forked child: become what `request` asks for; what goes wrong is written to `report`.

    `limits` are those of open files that a process has here: process 1's own are higher.
    """
    doing = "start"
    try:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for ignored in (_signal.SIGPIPE, _signal.SIGXFSZ):
            _signal.signal(ignored, _signal.SIG_DFL)  # Python does these, and an exec would hand that on
        doing = "enter"
        for fd, kind in zip(place, KINDS, strict=False):
            setns(fd, kind)
        for number, fd in enumerate(streams):
            os.dup2(fd, number)
        environment = dict(request["environment"])
        doing = "folder"
        _enter_folder(request["folder"], must=request["must"])
        if request["user"] is not None:
            doing = "user"
            _become_user(request["user"], environment)
        doing = "run"
        os.execvpe(request["command"][0], request["command"], environment)  # noqa: S606  no shell, as it should be
    except BaseException as error:  # noqa: BLE001  whatever it is, this child ends here
        os.write(report, failure(error, doing))
    os._exit(NOT_RUN)


def _enter_folder(folder: str, *, must: bool) -> None:
    try:
        os.chdir(folder)
    except OSError:
        if must:
            raise
        os.chdir("/")


def _become_user(user: str, environment: dict[str, str]) -> None:
    """Take a user's numbers, as this host's own /etc/passwd has them; a bare number needs no entry there."""
    entry = _entry(user)
    uid, gid = (entry.pw_uid, entry.pw_gid) if entry is not None else (int(user), int(user))
    if (uid, gid) != (os.getuid(), os.getgid()):  # a user namespace may forbid the rest, and it changes nothing
        if entry is not None:
            os.initgroups(entry.pw_name, gid)
        else:
            os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if entry is not None:
        for key, value in (("HOME", entry.pw_dir), ("USER", entry.pw_name), ("LOGNAME", entry.pw_name)):
            environment.setdefault(key, value)


def _entry(user: str) -> struct_passwd | None:
    import pwd

    try:
        return pwd.getpwnam(user)
    except KeyError:
        pass
    if not user.isdigit():
        raise LookupError(f"no user {user}")
    try:
        return pwd.getpwuid(int(user))
    except KeyError:
        return None
