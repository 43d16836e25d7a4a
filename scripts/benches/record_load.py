"""Sends UDP datagrams as fast as told, many with one call; prints how many, in which time. Started inside a host."""

from __future__ import annotations

import ctypes
import json
import socket
import sys
import time

AT_ONCE = 64
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


def main() -> None:
    """`record_load.py ADDRESS PORT RATE SECONDS`: RATE 0 is as fast as it goes; it waits for a line first."""
    address, port, rate, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    send = ctypes.CDLL(None, use_errno=True).sendmmsg
    payload = ctypes.create_string_buffer(b"x" * PAYLOAD)
    vector = Vector(ctypes.addressof(payload), PAYLOAD)
    messages = (Message * AT_ONCE)()
    for message in messages:
        message.header.vectors, message.header.vector_count = ctypes.addressof(vector), 1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((address, port))
        print(flush=True)
        sys.stdin.readline()
        sent, start = 0, time.perf_counter()
        while (now := time.perf_counter() - start) < seconds:
            if rate and sent > rate * now:
                time.sleep(0.0005)
                continue
            sent += max(send(sock.fileno(), messages, AT_ONCE, 0), 0)
        print(json.dumps({"sent": sent, "seconds": time.perf_counter() - start}))


if __name__ == "__main__":
    main()
