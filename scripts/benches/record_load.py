"""Sends UDP datagrams as fast as told, many with one call; prints how many, in which time. Started inside a host.

The datagrams of a call are given to the kernel in one piece, which it cuts (UDP_SEGMENT, udp(7)) before they come to
the interface: on the wire, and to every tap, they are what they would be otherwise, and the generator leaves more of
the machine to what is measured. A kernel that does not do that where the interface computes no checksums is given them
one by one.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import socket
import sys
import time

AT_ONCE, CALLS = 64, 16
"""Datagrams that are sent together, and how many times as many with one call, at most, where that is due."""
UDP, UDP_SEGMENT = 17, 103
PAYLOAD = 18
"""Bytes that make a frame of 60 bytes: Ethernet's, IPv4's and UDP's headers are 42."""


class Vector(ctypes.Structure):
    """struct iovec."""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class Header(ctypes.Structure):
    """struct msghdr."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint),
        ("vectors", ctypes.c_void_p),
        ("vector_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class Message(ctypes.Structure):
    """struct mmsghdr."""

    _fields_ = (("header", Header), ("sent", ctypes.c_uint))


class Batches:
    """Batches of `AT_ONCE` datagrams, each to be sent in one piece, or its datagrams each by itself."""

    def __init__(self, sock: socket.socket, segmented: bool) -> None:
        self._send = ctypes.CDLL(None, use_errno=True).sendmmsg
        self._sock = sock
        self._each = AT_ONCE if segmented else 1
        sock.setsockopt(UDP, UDP_SEGMENT, PAYLOAD if segmented else 0)
        self._payload = ctypes.create_string_buffer(b"x" * PAYLOAD * self._each)
        self._vector = Vector(ctypes.addressof(self._payload), PAYLOAD * self._each)
        self._messages = (Message * (CALLS * AT_ONCE // self._each))()
        for message in self._messages:
            message.header.vectors, message.header.vector_count = ctypes.addressof(self._vector), 1

    def send(self, count: int) -> int:
        """Send so many batches; how many datagrams went. Raises OSError if none can be sent so."""
        sent = self._send(self._sock.fileno(), self._messages, count * AT_ONCE // self._each, 0)
        if sent < 0 and (number := ctypes.get_errno()) not in (errno.ENOBUFS, errno.EAGAIN):
            raise OSError(number, os.strerror(number))
        return max(sent, 0) * self._each


def main() -> None:
    """`record_load.py ADDRESS PORT RATE SECONDS [CORE]`: RATE 0 is as fast as it goes; it waits for a line first."""
    address, port, rate, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    if core := sys.argv[5:]:
        os.sched_setaffinity(0, {int(core[0])})
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((address, port))
        batches, segmented = Batches(sock, segmented=True), True
        print(flush=True)
        sys.stdin.readline()
        sent, start = 0, time.perf_counter()
        while (now := time.perf_counter() - start) < seconds:
            due = rate * now - sent
            if rate and due < 0:
                time.sleep(0.0005)
                continue
            try:
                sent += batches.send(min(int(due) // AT_ONCE + 1, CALLS) if rate else CALLS)
            except OSError:
                if sent or not segmented:
                    raise
                batches, segmented = Batches(sock, segmented=False), False
        print(json.dumps({"sent": sent, "seconds": time.perf_counter() - start}))


if __name__ == "__main__":
    main()
