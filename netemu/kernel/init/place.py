"""A host's own mount and UTS namespace: its name, the lab's /proc, its /sys, its /run/netns, its files.

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
    MS_RDONLY,
    MS_REC,
    MS_REMOUNT,
    MS_SLAVE,
    mount,
    setns,
    unshare,
)
from .files import cover_name, own_folders, place_files
from .message import failure, pack, send
from .mounts import Covering

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, NoReturn

_SYSTEM = MS_NOSUID | MS_NODEV | MS_NOEXEC
_NETNS = "/run/netns"
"""Where `ip netns` keeps its names (ip-netns(8))."""
_OF_THE_MACHINE = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sysrq-trigger")
"""What is no namespace's: only to be read, as in containers (readonlyPaths in runc's default specification)."""


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
    said: list[str] = []

    def furnished(otherwise: str, make: Callable[..., object], *how: object) -> None:
        try:
            make(*how)
        except OSError as error:
            said.append(f"{otherwise}: {error.strerror}")

    furnished("/proc shows the machine's processes, not the lab's", mount, "proc", "/proc", "proc", _SYSTEM)
    furnished("the machine's own sysctls can be written", _protect_sysctls)
    furnished("/sys shows the machine's network, not the host's", _own_sys)
    own_folders(request["empty"], f"{request['folder']}.empty", os.path.dirname(request["folder"]))
    furnished(f"{_NETNS} is the machine's", _own_names)
    names = [(request["names"], "/etc/hosts")]
    furnished("/etc/hosts does not name the lab's hosts", place_files, names, f"{request['folder']}.names")
    for source, target in request["covers"]:
        if os.path.exists(target):
            furnished(f"{target} is the machine's", mount, source, os.path.realpath(target), None, MS_BIND)
    place_files(request["files"], request["folder"], request["empty"])
    for source, name in request["programs"]:  # after what is overlaid: that would bring the symlinks back
        furnished(f"{name} is of the machine's choice", cover_name, source, name)
    return said


def _protect_sysctls() -> None:
    """Those of the network can be written, which are the host's own; all others are the machine's, and read only."""
    mount("/proc/sys/net", "/proc/sys/net", flags=MS_BIND)
    mount("/proc/sys", "/proc/sys", flags=MS_BIND | MS_REC)
    _read_only("/proc/sys")
    for path in _OF_THE_MACHINE:
        if os.path.exists(path):
            mount(path, path, flags=MS_BIND)
            _read_only(path)


def _read_only(path: str) -> None:
    """Let a mount be read only, and what is mounted below it stay as it is."""
    mount("none", path, flags=MS_REMOUNT | MS_BIND | MS_RDONLY | _SYSTEM)


def _own_sys() -> None:
    with Covering("/sys"):
        mount("sysfs", "/sys", "sysfs", _SYSTEM)


def _own_names() -> None:
    """Where the folder is not there, and can't be made, nobody can do so on the host either."""
    try:
        os.makedirs(_NETNS, mode=0o755, exist_ok=True)
    except OSError:
        return
    mount("tmpfs", _NETNS, "tmpfs", _SYSTEM, "mode=755")
