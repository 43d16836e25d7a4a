"""A host's own mount and UTS namespace: its name, the lab's /proc, its /sys, its files.

The machine's own stay as they are: what is mounted here goes nowhere else, and what the machine unmounts goes here too
(MS_SLAVE).
"""

from __future__ import annotations

import _socket
import os

from .calls import (
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWUTS,
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_REC,
    MS_SLAVE,
    mount,
    setns,
    unshare,
)
from .files import cover_name, place_files
from .message import failure, pack, send
from .mounts import Covering

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, NoReturn

_SYSTEM = MS_NOSUID | MS_NODEV | MS_NOEXEC


def furnish(request: Mapping[str, Any], net: int, answer: _socket.socket) -> NoReturn:
    """In a forked child: make the namespaces, and send their descriptors (UTS, mount) and what could not be done."""
    try:
        setns(net, CLONE_NEWNET)
        unshare(CLONE_NEWNS | CLONE_NEWUTS)
        _socket.sethostname(request["host"])
        mount("none", "/", flags=MS_SLAVE | MS_REC)
        said = _furnish(request)
        fds = [os.open(f"/proc/self/ns/{name}", os.O_RDONLY) for name in ("uts", "mnt")]
        send(answer, pack({"said": said}), fds)
    except BaseException as error:  # noqa: BLE001  whatever it is, this child ends here
        answer.send(failure(error, "place"))
    os._exit(0)


def _furnish(request: Mapping[str, Any]) -> list[str]:
    """Mount what is the host's own. A container's kernel may refuse /proc and /sys: that is told, and lived with."""
    said = []
    try:
        mount("proc", "/proc", "proc", _SYSTEM)
    except OSError as error:
        said.append(f"/proc shows the machine's processes, not the lab's: {os.strerror(error.errno or 0)}")
    try:
        with Covering("/sys"):
            mount("sysfs", "/sys", "sysfs", _SYSTEM)
    except OSError as error:
        said.append(f"/sys shows the machine's network, not the host's: {os.strerror(error.errno or 0)}")
    try:
        place_files([(request["names"], "/etc/hosts")], f"{request['folder']}.names")
    except OSError as error:
        said.append(f"/etc/hosts does not name the lab's hosts: {error.strerror}")
    for source, target in request["covers"]:
        try:
            if os.path.exists(target):
                mount(source, os.path.realpath(target), flags=MS_BIND)
        except OSError as error:
            said.append(f"{target} is the machine's: {os.strerror(error.errno or 0)}")
    place_files(request["files"], request["folder"])
    for source, name in request["programs"]:  # after what is overlaid: that would bring the symlinks back
        try:
            cover_name(source, name)
        except OSError as error:
            said.append(f"{name} is of the machine's choice: {os.strerror(error.errno or 0)}")
    return said
