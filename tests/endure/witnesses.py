"""Who is told by the kernel itself when a lab's processes, namespaces, interfaces and mounts are gone.

Nothing is looked for again and again: each event comes when it happens, however busy the machine is with other things.
"""

from __future__ import annotations

import ctypes
import os
import select
import socket
import struct
import subprocess
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

from netemu.kernel.spaces.namespace import NetworkNamespace

_HEADER = struct.Struct("=IHHII")
_DELLINK, _LINK_GROUP = 17, 1
"""RTM_DELLINK, RTMGRP_LINK (linux/rtnetlink.h)."""
_UNMOUNT = 0x2000
"""IN_UNMOUNT (inotify(7)): the file system of what is watched was taken away."""


def below(pid: int) -> list[int]:
    """A process and all that it started, by /proc."""
    found = [pid]
    for each in found:
        found += map(int, Path(f"/proc/{each}/task/{each}/children").read_text().split())
    return found


class Witnesses:
    """Of processes, of named network namespaces, and of mounts (as /proc/PID/root/… shows them); `close` when done.

    A namespace is witnessed by a wire into it from one of this process's own: its end here goes with the other.
    """

    def __init__(self, pids: Iterable[int], namespaces: Sequence[str], mounts: Iterable[str]) -> None:
        self._stack = ExitStack()
        self._awaited: dict[int, str] = {}
        self._poll = select.poll()
        for pid in pids:
            name = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            self._await(os.pidfd_open(pid), f"process {pid} {name}")
        net = NetworkNamespace.create("witness")
        self._stack.callback(net.close)
        with net.entered():
            self._links = self._stack.enter_context(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0))
            for number, name in enumerate(namespaces):
                ends = [f"w{number}", "type", "veth", "peer", "name", "witness", "netns", name]
                subprocess.run(["ip", "link", "add", *ends], check=True)
        self._links.bind((0, _LINK_GROUP))
        self._left = len(namespaces)
        self._poll.register(self._links, select.POLLIN)
        libc = ctypes.CDLL(None, use_errno=True)
        for mount in mounts:
            watch = libc.inotify_init1(os.O_CLOEXEC)
            assert watch >= 0
            assert libc.inotify_add_watch(watch, mount.encode(), _UNMOUNT) >= 0, os.strerror(ctypes.get_errno())
            self._await(watch, f"mount {mount}")

    def _await(self, fd: int, what: str) -> None:
        self._stack.callback(os.close, fd)
        self._awaited[fd] = what
        self._poll.register(fd, select.POLLIN)

    def all_gone(self, until: float) -> list[str]:
        """Wait for everything to go, to a time of the monotonic clock; what is there still by then."""
        while (self._awaited or self._left) and (wait := until - time.monotonic()) > 0:
            for fd, _ in self._poll.poll(wait * 1000):
                if fd == self._links.fileno():
                    self._left -= self._gone_links()
                else:
                    self._poll.unregister(fd)
                    del self._awaited[fd]
        return [*self._awaited.values(), *([f"{self._left} namespaces"] if self._left else [])]

    def _gone_links(self) -> int:
        data, gone = self._links.recv(1 << 16), 0
        while data:
            length, kind, *_ = _HEADER.unpack_from(data)
            gone += kind == _DELLINK
            data = data[(length + 3) & ~3 :]
        return gone

    def close(self) -> None:
        self._stack.close()
