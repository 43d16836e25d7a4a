"""Asking the supervisor of a lab that is up: the other side of control.py, where the protocol is told.

Only light imports: what is asked of a lab is answered at once.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from netemu import errors
from netemu.errors import MachineError, NetemuError, PrivilegeError, Problem, TopologyError, UsageError
from netemu.lab.folder import BASE, base, is_alive, names_up
from netemu.lab.stopped import LOOK_AFTER, StoppedError, stopped_holder, wait_for
from netemu.topology.naming import hint

SOCKET = "control"
VERSION = 1
ANSWER_WITHIN = 30.0
"""Seconds that a lab may take to answer, and its process to end."""
PIECE = 65536
CREDENTIALS = struct.Struct("3i")
_TIMEVAL = struct.Struct("ll")


def ask(
    name: str, request: dict[str, Any], descriptors: int = 0, within: float = ANSWER_WITHIN
) -> tuple[dict[str, Any], list[int]]:
    """Ask the supervisor of the lab that is up by this name; its answer, and the descriptors that came with it.

    Returns once the supervisor has ended, if `down` was asked. Raises UsageError if no such lab is up, StoppedError, a
    MachineError, if its supervisor is stopped, MachineError if it does not answer, and what the supervisor raised.
    """
    if not is_alive(name):
        raise UsageError(_not_up(name))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        try:
            _connect(sock, name, within)
            pid, _, _ = CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size))
            holder = os.pidfd_open(pid)
        except PermissionError as error:
            raise PrivilegeError(f"lab {name} is another user's: run it with sudo") from error
        except TimeoutError as error:
            raise MachineError(f"lab {name} does not answer: too many ask it") from error
        except (FileNotFoundError, ConnectionError, ProcessLookupError) as error:
            if pid := stopped_holder(name):
                raise StoppedError(name, pid) from error
            raise UsageError(f"lab {name} is not ready: it is still coming up, or going down") from error
        try:
            with contextlib.suppress(ConnectionError):  # it may have answered before it went
                sock.sendall(json.dumps({"netemu": VERSION} | request).encode() + b"\n")
            data, fds = _receive(sock, descriptors, lambda: wait_for(sock.fileno(), name, pid, within))
            if request["do"] == "down":
                wait_for(holder, name, pid, ANSWER_WITHIN)
                return {}, []
        except TimeoutError as error:
            raise MachineError(f"lab {name} does not answer; kill -9 {pid} frees everything it holds") from error
        finally:
            os.close(holder)
    try:
        return _understood(name, data), fds
    except BaseException:
        for fd in fds:
            os.close(fd)
        raise


@contextlib.contextmanager
def short_path(folder: Path) -> Iterator[str]:
    """A folder by a path that leaves room for a socket's name (108 bytes in all, unix(7)), inside the `with`."""
    fd = os.open(folder, os.O_PATH | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


def _not_up(name: str) -> str:
    """Also said: the lab that was meant, where one of its hosts was named in its place, or a name much like it."""
    up = names_up()
    if not up:
        others = "; root's labs only root sees" if base() != BASE and BASE.exists() else ""
        return f"lab {name} is not up (up now: none{others}): netemu up {name} brings it up"
    for lab in up:
        with contextlib.suppress(NetemuError):
            if name in ask(lab, {"do": "facts"}, within=1)[0]["hosts"]:
                return f"lab {name} is not up; {name} is a host of lab {lab}: the lab comes first, as in: {lab} {name}"
    return f"lab {name} is not up{hint(name, up)}"


def _connect(sock: socket.socket, name: str, within: float) -> None:
    """Connect; where many ask, or the supervisor has stopped taking their calls, once there is room. Raises OSError."""
    until = time.monotonic() + within
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _TIMEVAL.pack(int(LOOK_AFTER), 0))
    while True:
        try:
            with short_path(base() / name) as folder:
                return sock.connect(f"{folder}/{SOCKET}")
        except BlockingIOError as error:  # after so long no room was there (connect(2): EAGAIN)
            if pid := stopped_holder(name):
                raise StoppedError(name, pid) from error
            if time.monotonic() >= until:
                raise TimeoutError from error


def _receive(sock: socket.socket, descriptors: int, wait: Callable[[], None]) -> tuple[bytes, list[int]]:
    """All that comes until the other side closes, and the descriptors among it; `wait` returns when there is some."""
    pieces: list[bytes] = []
    fds: list[int] = []
    try:
        while True:
            wait()
            piece, more, _, _ = socket.recv_fds(sock, PIECE, descriptors)
            fds += more
            if not piece:
                break
            pieces.append(piece)
    except ConnectionError:
        pass  # as good as its end
    except BaseException:
        for fd in fds:
            os.close(fd)
        raise
    for fd in fds:
        os.set_inheritable(fd, False)
    return b"".join(pieces), fds


def _understood(name: str, data: bytes) -> dict[str, Any]:
    """The answer's facts; the error that it tells of is raised as what it was."""
    try:
        told = json.loads(data)
    except ValueError as error:
        raise UsageError(f"lab {name} went down meanwhile") from error
    if fault := told.get("error"):
        kind, message = (fault["kind"], fault["message"]) if isinstance(fault, dict) else ("UsageError", str(fault))
        found = getattr(errors, kind, NetemuError)
        if issubclass(found, TopologyError):
            raise found(Problem(message))
        raise found(message)
    return dict(told.get("answer", told))
