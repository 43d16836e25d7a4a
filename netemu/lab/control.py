"""A lab's supervisor answering what is asked of it: one JSON object each way over a unix socket in the lab's folder.

A request is one line: `{"netemu": 1, "do": "enter", "host": "A"}`. `netemu` is the version of this protocol; `down`
and `facts` are answered whatever it is, so that a lab can always be found and ended. The answer, up to the end of the
connection, is `{"netemu": 1, "answer": {…}}`, with descriptors where the request asks for them, or
`{"netemu": 1, "error": {"kind": "UsageError", "message": …}}`. `down` has no answer but the end of the connection.

Each connection is served by itself: a peer that is slow, silent, or breaks off keeps no other waiting; what one asked
that went before its turn came is not done, but for `down`. The socket has
mode 0600 in a folder of mode 0700, and the peer's credentials must be the supervisor's own user.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import socket
from pathlib import Path
from typing import Any

from netemu.errors import NetemuError, UsageError
from netemu.lab.asking import ANSWER_WITHIN, CREDENTIALS, PIECE, VERSION, short_path
from netemu.lab.folder import SOCKET
from netemu.lab.requests import HANDLERS, Answer, Handler, Held

REQUEST_WITHIN = 2.0
"""Seconds that a peer may take to say what it wants."""
SIDE_BY_SIDE = 32
"""How many connections are served at once; more wait for their turn."""
_ANY_VERSION = {"down", "facts"}
_LONGEST_REQUEST = 65536


class ControlServer:
    """Answers requests about one lab until it is asked to take the lab down."""

    def __init__(self, held: Held, folder: Path) -> None:
        self.held = held
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        with short_path(folder) as path:
            self.sock.bind(f"{path}/{SOCKET}")
        (folder / SOCKET).chmod(0o600)
        self.sock.listen(SIDE_BY_SIDE)
        self._asked_down = asyncio.Event()

    async def serve(self) -> list[socket.socket]:
        """Answer until somebody asks for `down`: the connections to be closed when that is done."""
        waiting: list[socket.socket] = []
        serving: set[asyncio.Task[None]] = set()
        async with asyncio.TaskGroup() as group:
            accepting = group.create_task(self._accept(group, serving, waiting))
            await self._asked_down.wait()
            for task in (accepting, *serving):
                task.cancel()
        self.sock.close()
        return waiting

    async def _accept(
        self, group: asyncio.TaskGroup, serving: set[asyncio.Task[None]], waiting: list[socket.socket]
    ) -> None:
        loop = asyncio.get_running_loop()
        room = asyncio.Semaphore(SIDE_BY_SIDE)

        def done(task: asyncio.Task[None]) -> None:
            serving.discard(task)
            room.release()

        while True:
            await room.acquire()
            try:
                peer, _ = await loop.sock_accept(self.sock)
            except OSError:  # out of descriptors
                room.release()
                await asyncio.sleep(0.1)  # only others can mend that
                continue
            task = group.create_task(self._serve_peer(peer, waiting))
            serving.add(task)
            task.add_done_callback(done)

    async def _serve_peer(self, peer: socket.socket, waiting: list[socket.socket]) -> None:
        kept = False
        try:
            request = await _read_request(peer)
            if request.get("do") == "down":
                waiting.append(peer)
                kept = True
                self._asked_down.set()
                return
            if _has_gone(peer):
                return  # it was told that nothing came of it, as while this process was stopped
            await _send(peer, *await self._answer(request))
        except (OSError, TypeError, ValueError, RecursionError):
            pass  # a broken request or connection is the asker's trouble, not the lab's
        finally:
            if not kept:
                peer.close()

    async def _answer(self, request: dict[str, Any]) -> tuple[dict[str, Any], Answer]:
        try:
            answer = await _handler(request)(self.held, request)
        except NetemuError as error:
            return _error(_kind(error), str(error)), Answer()
        except Exception as error:  # noqa: BLE001  whatever goes wrong with a request, the lab stays up
            return _error("NetemuError", f"a fault of netemu's own: {type(error).__name__}: {error}"), Answer()
        return {"netemu": VERSION, "answer": answer.facts}, answer


def _handler(request: dict[str, Any]) -> Handler:
    what = str(request.get("do"))
    if request.get("netemu") != VERSION and what not in _ANY_VERSION:
        raise UsageError(f"this lab speaks protocol {VERSION}: use the netemu that brought it up, or end it")
    if what not in HANDLERS:
        raise UsageError(f"this lab knows no request '{what}'")
    return HANDLERS[what]


def _kind(error: NetemuError) -> str:
    """The nearest class that every asker knows: others are a room's own."""
    return next(kind.__name__ for kind in type(error).__mro__ if kind.__module__ == NetemuError.__module__)


def _error(kind: str, message: str) -> dict[str, Any]:
    return {"netemu": VERSION, "error": {"kind": kind, "message": message}}


async def _read_request(peer: socket.socket) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    _, uid, _ = CREDENTIALS.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size))
    if uid != os.geteuid():
        raise PermissionError(f"user {uid} may not control this lab")
    peer.setblocking(False)
    data = b""
    async with asyncio.timeout(REQUEST_WITHIN):
        while b"\n" not in data and len(data) < _LONGEST_REQUEST:
            piece = await loop.sock_recv(peer, PIECE)
            data += piece
            if not piece:
                break
    request = json.loads(data)
    if not isinstance(request, dict):
        raise TypeError("a request is an object")
    return request


def _has_gone(peer: socket.socket) -> bool:
    """Whether the other side has closed its end, and so waits for no answer."""
    poll = select.poll()
    poll.register(peer, 0)  # POLLHUP is told unasked
    return any(event & select.POLLHUP for _, event in poll.poll(0))


async def _send(peer: socket.socket, told: dict[str, Any], answer: Answer) -> None:
    """Send what is told, the descriptors with its first bytes."""
    try:
        data = json.dumps(told).encode()
        sent = socket.send_fds(peer, [data[:PIECE]], answer.descriptors)
        async with asyncio.timeout(ANSWER_WITHIN):
            await asyncio.get_running_loop().sock_sendall(peer, data[sent:])
    finally:
        for fd in answer.opened:
            os.close(fd)
