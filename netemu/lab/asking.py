"""Asking the supervisor of a lab that is up: the other side of control.py, where the protocol is told.

Only light imports: what is asked of a lab is answered at once.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from netemu import errors
from netemu.errors import NetemuError, PrivilegeError, Problem, StoppedError, TopologyError, UsageError
from netemu.kernel.spaces.descriptors import readable
from netemu.lab.folder import BASE, SOCKET, base, holder, is_alive, names_up
from netemu.topology.library import shipped
from netemu.topology.naming import hint

VERSION = 1
ANSWER_WITHIN = 30.0
"""Seconds that a lab may take to answer, and its process to end."""
LOOK = 1.0
"""Seconds after which it is seen whether a lab that has not answered is stopped."""
PIECE = 65536
CREDENTIALS = struct.Struct("3i")
_TIMEVAL = struct.Struct("ll")


def ask(
    name: str, request: dict[str, Any], descriptors: int = 0, within: float = ANSWER_WITHIN
) -> tuple[dict[str, Any], list[int]]:
    """Ask the supervisor of the lab that is up by this name; its answer, and the descriptors that came with it.

    Returns once the supervisor has ended, if `down` was asked: one that is stopped is killed, and the lab with it.
    Raises UsageError if no such lab is up, StoppedError, and what the supervisor raised.
    """
    if not is_alive(name):
        raise UsageError(_not_up(name))
    down = request["do"] == "down"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(within)
        try:
            pid, process = _connect(sock, name, within)
        except UsageError:
            if down and _ended_on_its_way(name):
                return {}, []
            raise
        try:
            data, fds = _dialogue(sock, request, descriptors, within, lambda: _require_running(name, pid))
            if down:
                _until_gone(process)
                return {}, []
        except StoppedError:
            if not down:
                raise
            signal.pidfd_send_signal(process, signal.SIGKILL)
            _until_gone(process)
            return {}, []
        except TimeoutError as error:
            raise NetemuError(f"lab {name} does not answer; kill -9 {pid} frees everything it holds") from error
        finally:
            os.close(process)
    try:
        return _understood(name, data), fds
    except BaseException:
        for fd in fds:
            os.close(fd)
        raise


def _connect(sock: socket.socket, name: str, within: float) -> tuple[int, int]:
    """Connect to a lab's supervisor: its number, and a descriptor of it. Raises UsageError, PrivilegeError."""
    try:
        _call(sock, name, within)
        pid, _, _ = CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size))
        if not pid:
            outside = "outside of this PID namespace: ask for it there"
            raise UsageError(f"lab {name} is held by a process that can't be seen here, {outside}")
        return pid, os.pidfd_open(pid)
    except PermissionError as error:
        raise PrivilegeError(f"lab {name} is another user's: run it with sudo") from error
    except (FileNotFoundError, ConnectionError, ProcessLookupError) as error:
        raise UsageError(f"lab {name} is not ready: it is still coming up, or going down") from error


def _call(sock: socket.socket, name: str, within: float) -> None:
    """Connect, once there is room where many ask at once. Raises StoppedError, UsageError if there never is, OSError.

    The kernel waits for room only where the socket blocks, and then as long as it may take to send (EAGAIN in
    connect(2), unix_stream_connect in net/unix/af_unix.c).
    """
    until = time.monotonic() + within
    sock.settimeout(None)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _TIMEVAL.pack(0, round(min(LOOK, within) * 1e6) - 1))
    while True:
        try:
            with short_path(base() / name) as folder:
                sock.connect(f"{folder}/{SOCKET}")
            _require_connected(sock)
        except BlockingIOError as error:
            _require_holder_running(name)
            if time.monotonic() >= until:
                raise UsageError(f"lab {name} has no room for more that ask it: try again later") from error
        else:
            sock.settimeout(within)
            return


def _require_connected(sock: socket.socket) -> None:
    """Raises BlockingIOError if a signal cut connecting short: Python takes that for done."""
    try:
        sock.getpeername()
    except OSError as error:
        raise (BlockingIOError if error.errno == errno.ENOTCONN else OSError)(*error.args) from error


def _require_holder_running(name: str) -> None:
    """Raises StoppedError if the process that holds a lab is stopped."""
    found = holder(name)
    if found is not None:
        try:
            _require_running(name, _number(found.pidfd))
        finally:
            os.close(found.pidfd)


def _number(process: int) -> int:
    """The number of a process, by its descriptor."""
    return int(Path(f"/proc/self/fdinfo/{process}").read_text(encoding="ascii").partition("Pid:")[2].split()[0])


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
        up_again = f"netemu up {name} brings it up" if name in shipped() else "netemu up FILE brings a file's lab up"
        return f"lab {name} is not up (up now: none{others}): {up_again}"
    for lab in up:
        with contextlib.suppress(NetemuError):
            if name in ask(lab, {"do": "facts"}, within=1)[0]["hosts"]:
                return f"lab {name} is not up; {name} is a host of lab {lab}: the lab comes first, as in: {lab} {name}"
    return f"lab {name} is not up{hint(name, up)}"


def _dialogue(
    sock: socket.socket, request: dict[str, Any], descriptors: int, within: float, look: Callable[[], None]
) -> tuple[bytes, list[int]]:
    """Send a request; all that comes until the other side closes, and the descriptors among it.

    Whenever nothing comes for long, `look` is called. Raises TimeoutError where nothing comes for `within` seconds.
    """
    pieces: list[bytes] = []
    fds: list[int] = []
    try:
        with contextlib.suppress(ConnectionError):  # it may have answered before it went
            sock.sendall(json.dumps({"netemu": VERSION} | request).encode() + b"\n")
        while True:
            _until_readable(sock, within, look)
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


def _until_readable(sock: socket.socket, within: float, look: Callable[[], None]) -> None:
    until = time.monotonic() + within
    while not readable(sock.fileno(), within=min(LOOK, within)):
        look()
        if time.monotonic() >= until:
            raise TimeoutError


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


def _require_running(name: str, pid: int) -> None:
    """Raises StoppedError if a process is stopped (`T` in proc_pid_stat(5)); one that is gone is not."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        if Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] == b"T":
            ways_out = f"kill -CONT {pid} lets it go on, netemu down {name} ends it"
            raise StoppedError(f"the process that holds lab {name} is stopped: {ways_out}")


def _ended_on_its_way(name: str) -> bool:
    """End a lab that is still coming up, or going down, and answers nobody; False if its holder can't be told."""
    found = holder(name)
    if found is None:
        return False
    try:
        if not found.by_command:
            raise UsageError(f"lab {name} is held by process {_number(found.pidfd)}, a program of its own: end that")
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(found.pidfd, signal.SIGTERM)
            signal.pidfd_send_signal(found.pidfd, signal.SIGCONT)  # it may be stopped
        _until_gone(found.pidfd)
    finally:
        os.close(found.pidfd)
    return True


def _until_gone(process: int) -> None:
    if not readable(process, within=ANSWER_WITHIN):
        pid = _number(process)
        raise NetemuError(f"process {pid} does not end; kill -9 {pid} frees everything it holds")
