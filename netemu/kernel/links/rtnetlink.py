"""rtnetlink in batches: many requests in one send, each answered for by name.

The kernel carries requests out inside the send itself (rtnetlink_rcv in net/core/rtnetlink.c), so the answers are
there when it returns and nothing waits. Only a batch's last request asks for an acknowledgement: a refusal is sent in
any case, and the last answer says that all before it were carried out.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable, Generator, Iterator
from contextlib import nullcontext
from dataclasses import dataclass

from netemu.errors import KernelError
from netemu.kernel.spaces.descriptors import moved
from netemu.kernel.spaces.namespace import NetworkNamespace

NEW_LINK, DELETE_LINK, GET_LINK, SET_LINK = 16, 17, 18, 19
NEW_ADDRESS, DELETE_ADDRESS, GET_ADDRESS = 20, 21, 22
NEW_ROUTE, DELETE_ROUTE, GET_ROUTE = 24, 25, 26
NEW_RULE, DELETE_RULE, GET_RULE = 32, 33, 34
NEW_QDISC, DELETE_QDISC, GET_QDISC = 36, 37, 38

CREATE, EXCLUSIVE, REPLACE = 0x400, 0x200, 0x100
_REQUEST, _ACK, _DUMP = 0x1, 0x4, 0x300
_DUMP_INTERRUPTED = 0x10
_ERROR, _DONE = 2, 3
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_SOL_NETLINK, _CAP_ACK, _EXT_ACK = 270, 10, 11
_ERROR_TEXT = 1
_ERROR_HEADER = 20
"""Bytes of struct nlmsgerr without the request's own payload (NETLINK_CAP_ACK)."""
_LINK_GROUP = 1
"""RTNLGRP_LINK as a bit of the groups that a socket is bound to."""

BATCH = 128
"""Requests in one send; 128 of the longest are well below the socket's send buffer."""
_DATAGRAM = 1 << 16


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded to four bytes; nested ones are attributes side by side."""
    return _ATTRIBUTE.pack(4 + len(value), kind) + value + bytes(-len(value) % 4)


def number(kind: int, value: int) -> bytes:
    """An attribute that is an unsigned 32-bit number."""
    return struct.pack("=HHI", 8, kind, value)


def text(kind: int, value: str) -> bytes:
    """An attribute that is a text, with its closing zero."""
    return attribute(kind, value.encode() + b"\0")


def attributes(payload: bytes, offset: int) -> dict[int, bytes]:
    """A message's attributes by their number, from `offset` on; the nested flag is taken off."""
    found: dict[int, bytes] = {}
    while offset + 4 <= len(payload):
        length, kind = _ATTRIBUTE.unpack_from(payload, offset)
        if length < 4:
            break
        found[kind & 0x3FFF] = payload[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found


def first(payload: bytes, offset: int, wanted: int) -> bytes | None:
    """One attribute of a message, without a look at those after it; None if it is not there."""
    while offset + 4 <= len(payload):
        length, kind = _ATTRIBUTE.unpack_from(payload, offset)
        if length < 4:
            break
        if kind & 0x3FFF == wanted:
            return payload[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return None


class RefusedError(KernelError):
    """The kernel refused one request: which, and its error number."""

    def __init__(self, message: str, request: Request, number: int) -> None:
        super().__init__(message)
        self.request = request
        self.number = number


@dataclass(slots=True, eq=False)
class Request:
    """One request in a queue: sent with all that were queued before it when awaited, or by the queue's `flush`."""

    what: str
    kind: int
    flags: int
    body: bytes
    flush: Callable[[], None]
    hints: dict[int, str]

    def __await__(self) -> Generator[None, None, None]:
        self.flush()
        return
        yield


class Rtnetlink:
    """One rtnetlink socket of a namespace, with a queue of requests."""

    def __init__(self, net: NetworkNamespace, *, inside: bool = False) -> None:
        """With `inside` the calling thread is in that namespace already."""
        self.net = net
        self._sequence = 0
        self._queued: list[Request] = []
        with nullcontext() if inside else net.entered():
            kind = (socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
            self.sock = moved(socket.socket(*kind))
        self.sock.setsockopt(_SOL_NETLINK, _CAP_ACK, 1)
        self.sock.setsockopt(_SOL_NETLINK, _EXT_ACK, 1)

    def close(self) -> None:
        """Close the socket; what is queued is dropped. Once is enough, twice does no harm."""
        self._queued = []
        self.sock.close()

    def queue(self, what: str, kind: int, body: bytes, flags: int = 0, hints: dict[int, str] | None = None) -> Request:
        """Queue a request. `what` names it in a refusal, `hints` say more for some error numbers."""
        request = Request(what, kind, flags, body, self.flush, hints or {})
        self._queued.append(request)
        return request

    def flush(self) -> None:
        """Have everything carried out that is queued. Raises RefusedError for the first that was refused."""
        queued, self._queued = self._queued, []
        refusals = [
            refusal
            for start in range(0, len(queued), BATCH)
            for refusal in self._carry_out(queued[start : start + BATCH])
        ]
        if refusals:
            raise refusals[0]

    def ask(self, what: str, kind: int, body: bytes) -> bytes:
        """The payload of the one message that answers a request. Raises RefusedError."""
        self.flush()
        request = Request(what, kind, 0, body, self.flush, {})
        sequence = self._send([request], ack=False)
        for answer, _, number, payload in self._answers():
            if number == sequence:
                if answer == _ERROR:
                    raise self._refused(request, payload)
                return payload
        raise AssertionError("the kernel answers every request")

    def dump(self, what: str, kind: int, body: bytes) -> list[bytes]:
        """The messages of a dump, whole, with their headers. Raises RefusedError."""
        self.flush()
        request = Request(what, kind, _DUMP, body, self.flush, {})
        while True:
            messages, whole = self._dumped(request)
            if whole:
                return messages

    def _dumped(self, request: Request) -> tuple[list[bytes], bool]:
        """One dump, and whether nothing changed meanwhile."""
        sequence = self._send([request], ack=False)
        found: list[bytes] = []
        whole = True
        for answer, flags, number, payload in self._answers():
            if number != sequence:
                continue
            whole = whole and not flags & _DUMP_INTERRUPTED
            if answer == _DONE:
                break
            if answer == _ERROR:
                raise self._refused(request, payload)
            found.append(_HEADER.pack(16 + len(payload), answer, flags, number, 0) + payload)
        return found, whole

    def _carry_out(self, batch: list[Request]) -> list[RefusedError]:
        last = self._send(batch, ack=True)
        refusals: list[RefusedError] = []
        for answer, _, number, payload in self._answers():
            if answer == _ERROR and payload[:4] != b"\0\0\0\0":
                refusals.append(self._refused(batch[number - last - 1], payload))
            if number == last:
                break
        return refusals

    def _send(self, batch: list[Request], ack: bool) -> int:
        """Send requests, the last one with the number that is returned."""
        parts: list[bytes] = []
        ends = len(batch) - 1
        for position, request in enumerate(batch):
            self._sequence += 1
            flags = _REQUEST | request.flags | (_ACK if ack and position == ends else 0)
            parts += (_HEADER.pack(16 + len(request.body), request.kind, flags, self._sequence, 0), request.body)
        try:
            self.sock.send(b"".join(parts))
        except OSError as error:
            raise KernelError(f"host {self.net.name}: {batch[0].what}: {error.strerror}") from error
        return self._sequence

    def _answers(self) -> Iterator[tuple[int, int, int, bytes]]:
        """Kind, flags, number and payload of message after message, for as long as somebody asks."""
        while True:
            datagram = self.sock.recv(_DATAGRAM)
            offset = 0
            while offset + 16 <= len(datagram):
                length, kind, flags, number, _ = _HEADER.unpack_from(datagram, offset)
                yield kind, flags, number, datagram[offset + 16 : offset + length]
                offset += (length + 3) & ~3

    def _refused(self, request: Request, payload: bytes) -> RefusedError:
        number = -struct.unpack_from("=i", payload)[0]
        own = attributes(payload, _ERROR_HEADER).get(_ERROR_TEXT, b"").rstrip(b"\0").decode("utf-8", "replace")
        said = own.removeprefix("Error: ").rstrip(".") or os.strerror(number)
        if number == errno.EPERM and not own:
            said = "not permitted: this needs root, or CAP_NET_ADMIN in the lab"
        hint = request.hints.get(number, "")
        text = f"host {self.net.name}: {request.what}: {said}{f': {hint}' if hint else ''}"
        return RefusedError(text, request, number)


def link_events(net: NetworkNamespace) -> socket.socket:
    """A non-blocking socket that is told of every change of an interface in `net`."""
    with net.entered():
        sock = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
        )
    sock.bind((0, _LINK_GROUP))
    return sock
