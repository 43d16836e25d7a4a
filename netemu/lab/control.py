"""What other commands ask of a lab's supervisor: one JSON line each way over a unix socket in the lab's folder.

Requests: `{"do": "down"}`; `{"do": "enter", "host": NAME}`, answered together with the descriptors of the host's
network namespace and of the lab's PID namespace; `{"do": "show"}`. The socket has mode 0600 in a folder of mode
0700, and the peer's credentials must be the supervisor's own user.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netemu.errors import NetemuError, PrivilegeError, UsageError
from netemu.lab.folder import BASE, is_alive, names_up

if TYPE_CHECKING:
    from netemu.lab.lab import Lab

SOCKET = "control"
DOWN_WITHIN = 30.0
"""Seconds that a lab's process may take to end."""
_LINE = 65536
_CREDENTIALS = struct.Struct("3i")


class ControlServer:
    """Answers requests about one lab until it is asked to take the lab down."""

    def __init__(self, lab: Lab, folder: Path, facts: dict[str, Any]) -> None:
        self.lab = lab
        self.facts = facts
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        self.sock.bind(str(folder / SOCKET))
        (folder / SOCKET).chmod(0o600)
        self.sock.listen(16)

    async def serve(self) -> socket.socket:
        """Answer until somebody asks for `down`; their connection, to be answered when that is done."""
        loop = asyncio.get_running_loop()
        while True:
            peer, _ = await loop.sock_accept(self.sock)
            try:
                if await self._answer(peer) == "down":
                    return peer
            except (OSError, TypeError, ValueError, TimeoutError):
                pass  # a broken request is the asker's trouble, not the lab's
            peer.close()

    async def _answer(self, peer: socket.socket) -> str:
        loop = asyncio.get_running_loop()
        _, uid, _ = _CREDENTIALS.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
        if uid != os.geteuid():
            raise PermissionError(f"user {uid} may not control this lab")
        async with asyncio.timeout(2):
            request = json.loads(await loop.sock_recv(peer, _LINE))
        if not isinstance(request, dict):
            raise TypeError("a request is an object")
        descriptors: list[int] = []
        answer: dict[str, Any] = {}
        match request.get("do"):
            case "down":
                return "down"
            case "show":
                answer = self.facts
            case "enter":
                try:
                    host = self.lab[str(request.get("host"))]
                    descriptors = [host.net.fd, host.pids.fd]
                except UsageError as error:
                    answer = {"error": str(error)}
            case _:
                answer = {"error": "no such request"}
        socket.send_fds(peer, [json.dumps(answer).encode()], descriptors)
        return ""


def ask(name: str, request: dict[str, Any], descriptors: int = 0) -> tuple[dict[str, Any], list[int]]:
    """Ask the supervisor of the lab that is up by this name; its answer, and the descriptors that came with it.

    Returns once the supervisor has ended, if `down` was asked. Raises UsageError if no such lab is up.
    """
    if not is_alive(name):
        up = ", ".join(names_up()) or "none"
        raise UsageError(f"lab {name} is not up (up now: {up}): netemu up {name} brings it up")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        try:
            sock.settimeout(DOWN_WITHIN)
            sock.connect(str(BASE / name / SOCKET))
            pid, _, _ = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
            holder = os.pidfd_open(pid)
        except PermissionError as error:
            raise PrivilegeError(f"lab {name} is another user's: run it with sudo") from error
        except (FileNotFoundError, ConnectionError, ProcessLookupError) as error:
            raise UsageError(f"lab {name} is not ready: it is still coming up, or going down") from error
        try:
            sock.sendall(json.dumps(request).encode())
            data, fds, _, _ = socket.recv_fds(sock, _LINE, descriptors)
            if request["do"] == "down":
                _until_gone(holder, pid)
        except ConnectionError as error:
            raise UsageError(f"lab {name} went down meanwhile") from error
        except TimeoutError as error:
            raise NetemuError(f"lab {name} does not answer; kill -9 {pid} frees everything it holds") from error
        finally:
            os.close(holder)
    for fd in fds:
        os.set_inheritable(fd, False)
    answer = json.loads(data or b"{}")
    if "error" in answer:
        raise UsageError(answer["error"])
    return answer, list(fds)


def _until_gone(holder: int, pid: int) -> None:
    if not select.select([holder], [], [], DOWN_WITHIN)[0]:
        raise NetemuError(f"process {pid} does not end; kill -9 {pid} frees everything it holds")
