"""A topology's traffic items, sent: each is an exchange with its start, its end and how it went."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import struct
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import h11

from netemu.errors import UsageError
from netemu.lab.host import Host
from netemu.netfilter.conntrack import Tuple
from netemu.record.exchange import Exchange
from netemu.topology.traffic import Datagrams, Traffic
from netemu.topology.units import seconds
from netemu.topology.values import Endpoint, endpoint_text

_LINGER = 1
_CLOSE_WITHIN = 0.5
"""Seconds for a server to close after its answer, as `Connection: close` asks it to."""


@dataclass(slots=True)
class _Going:
    """An exchange under way: which connections it opened."""

    sockets: list[Tuple] = field(default_factory=list)

    def opened(self, proto: str, sock: socket.socket, peer: tuple[str, int]) -> None:
        """Note a socket's tuple, its own address and port being chosen."""
        src, sport = sock.getsockname()[:2]
        self.sockets.append(Tuple(proto, src, sport, *peer))


def describe(item: Traffic) -> str:
    """What an item does, in a few words."""
    if item.http is not None:
        return f"GET {item.http}"
    if item.udp is not None:
        return f"{item.udp.count} UDP datagram{'s' if item.udp.count > 1 else ''} to {item.udp.to}"
    return " ".join(item.command or ())


async def send(host: Host, item: Traffic) -> Exchange:
    """Send one item from its host; an answer that does not come is the exchange's `fault`, not an error."""
    going = _Going()
    start = time.time_ns()
    fault, result = None, ""
    try:
        async with asyncio.timeout(seconds(item.within)):
            if item.http is not None:
                result = await _http(host, item.http, going)
            elif item.udp is not None:
                result = await _udp(host, item.udp, going)
            else:
                done = await host.run_process(item.command or (), host.plain_environment(), _folder(host, item))
                result = f"exit {done.returncode}"
                fault = None if done.returncode == 0 else f"exit {done.returncode}: {_last_line(done.stderr)}"
    except TimeoutError:
        fault = f"no answer within {item.within}"
    except UsageError as error:
        fault = str(error)
    except (OSError, h11.RemoteProtocolError) as error:
        code = error.errno if isinstance(error, OSError) else None
        fault = os.strerror(code).lower() if code else str(error)
    return Exchange(item.name, host.name, describe(item), start, time.time_ns(), tuple(going.sockets), result, fault)


def _folder(host: Host, item: Traffic) -> Path:
    """The folder of an item's command, empty when it is first sent: what it writes there goes with the lab."""
    folder = host.folder / f"{host.name}.{item.name}.traffic"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["nothing said"])[-1]


def _family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


async def _http(host: Host, url: str, going: _Going) -> str:
    """One GET over a connection of its own, to the very end of both directions; the status."""
    loop = asyncio.get_running_loop()
    parts = urlsplit(url)
    address, port = parts.hostname or "", parts.port or 80
    sock = host.open_socket(_family(address), socket.SOCK_STREAM)
    try:
        await _connect(sock, (address, port), going)
        http = h11.Connection(h11.CLIENT)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        head = [("Host", endpoint_text(address, port)), ("User-Agent", "netemu"), ("Connection", "close")]
        await loop.sock_sendall(sock, http.send(h11.Request(method="GET", target=path, headers=head)) or b"")
        http.send(h11.EndOfMessage())
        status, ended = 0, False
        while not ended:
            http.receive_data(await loop.sock_recv(sock, 65536))
            while not ended and (event := http.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
                status = event.status_code if isinstance(event, h11.Response) else status
                ended = isinstance(event, h11.EndOfMessage | h11.ConnectionClosed)
        if not status:
            raise ConnectionResetError(errno.ECONNRESET, "closed without an answer")
        with contextlib.suppress(TimeoutError):  # the answer is there; a server that does not close is not waited for
            async with asyncio.timeout(_CLOSE_WITHIN):
                while await loop.sock_recv(sock, 65536):
                    pass
        await asyncio.to_thread(_close_acknowledged, sock)
        return str(status)
    finally:
        sock.close()


async def _connect(sock: socket.socket, peer: tuple[str, int], going: _Going) -> None:
    """Connect, noting the connection's tuple as soon as the kernel has chosen its port: also if nobody answers."""
    code = sock.connect_ex(peer)
    if code not in (0, errno.EINPROGRESS):
        raise OSError(code, os.strerror(code))
    going.opened("tcp", sock, peer)
    await _writable(sock)
    if code := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        raise OSError(code, os.strerror(code))


async def _writable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    writable = asyncio.Event()
    loop.add_writer(sock, writable.set)
    try:
        await writable.wait()
    finally:
        loop.remove_writer(sock)


def _close_acknowledged(sock: socket.socket) -> None:
    """Close, and return when the other side has acknowledged our FIN: the connection's last packet is recorded then."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, _LINGER))
    with contextlib.suppress(OSError):
        sock.close()


async def _udp(host: Host, what: Datagrams, going: _Going) -> str:
    """Datagrams back to back from one socket, each with its own payload; then the answers."""
    loop = asyncio.get_running_loop()
    to = Endpoint.parse(what.to)
    address, port = to.address or "", to.port or 0
    with host.open_socket(_family(address), socket.SOCK_DGRAM) as sock:
        sock.connect((address, port))
        going.opened("udp", sock, (address, port))
        for number in range(what.count):
            sock.send(b"netemu datagram %d" % (number + 1))
        for _ in range(what.answers):
            await loop.sock_recv(sock, 65536)
    return f"{what.answers} answer{'s' if what.answers != 1 else ''}"
