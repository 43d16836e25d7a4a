"""The PID namespace in which a lab's processes live: when its process 1 ends, the kernel ends all the others.

A thread that has stepped into one does not step out again (without root it may not): it ends there.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from netemu.errors import KernelError
from netemu.kernel import init
from netemu.kernel.ending import ended
from netemu.kernel.syscalls import CLONE_NEWPID, setns, unshare

GONE_WITHIN = 3.0
"""Seconds for all processes of a lab to be collected."""


class PidSpace:
    """A PID namespace with its process 1 (kernel/init.py), which ends when the process that made it ends."""

    def __init__(self) -> None:
        try:
            with ThreadPoolExecutor(1) as thread:
                self.process = thread.submit(_start_init).result()
            self.fd = os.open(f"/proc/{self.process.pid}/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise KernelError(f"the kernel made no PID namespace for the lab: {error.strerror}") from error

    def remove_after(self, link: Path | None = None, target: str = "", folder: Path | None = None) -> None:
        """Have process 1 remove a symlink (if it still points to `target`) or a folder when the lab is gone."""
        thing = {"link": str(link), "target": target} if link is not None else {"folder": str(folder)}
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(thing).encode() + b"\n")
        self.process.stdin.flush()

    def start(self, start: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
        """Start a process here, by a function that does so; it runs in a thread of its own."""

        def inside() -> subprocess.Popen[bytes]:
            setns(self.fd, CLONE_NEWPID)
            return start()

        with ThreadPoolExecutor(1) as thread:
            return thread.submit(inside).result()

    async def close(self) -> None:
        """Let process 1 tidy up and end, and every process with it; returns when they are gone.

        The kernel ends process 1 only once all the others are collected: collect those you started before this. One
        that a stopped process of another started is not waited for beyond a bound.
        """
        if self.fd < 0:
            return
        os.close(self.fd)
        self.fd = -1
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            async with asyncio.timeout(GONE_WITHIN):
                await ended(self.process)
        except TimeoutError:
            self.process.kill()  # a child of somebody who does not collect it: the kernel ends it all the same


def _start_init() -> subprocess.Popen[bytes]:
    """Process 1, in a PID namespace of its own; the calling thread starts all its children there from then on."""
    unshare(CLONE_NEWPID)
    return subprocess.Popen(
        [sys.executable, "-I", "-S", init.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env={},
        start_new_session=True,
    )
