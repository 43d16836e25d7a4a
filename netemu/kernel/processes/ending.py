"""Waiting for a process's end on the event loop."""

from __future__ import annotations

import asyncio
import os
import subprocess


async def ended(process: subprocess.Popen[bytes]) -> int:
    """Wait until a process has ended, on its pidfd; its exit code."""
    if process.poll() is not None:
        return int(process.returncode)
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    fd = os.pidfd_open(process.pid)
    try:
        loop.add_reader(fd, done.set)
        try:
            await done.wait()
        finally:
            loop.remove_reader(fd)
    finally:
        os.close(fd)
    return process.wait()
