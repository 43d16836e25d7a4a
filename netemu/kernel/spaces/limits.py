"""How many descriptors this process may hold: as many as a lab needs, or a refusal that names the limit."""

from __future__ import annotations

import os
import resource

from netemu.errors import KernelError
from netemu.kernel.spaces.descriptors import FD_SETSIZE

SPARE = 128
"""Descriptors left for all else: processes being started, tables being read, people asking."""


def available_memory() -> int:
    """Bytes of memory that can be had without swapping (MemAvailable in proc_meminfo(5)); 0 if that is not told."""
    with open("/proc/meminfo", encoding="ascii") as file:
        told = dict(line.split(":", 1) for line in file)
    return int(told.get("MemAvailable", "0 kB").split()[0]) * 1024


def require_descriptors(count: int) -> None:
    """Raise this process's own limit so that it can hold `count` more descriptors. KernelError if it may not."""
    needed = len(os.listdir("/proc/self/fd")) + count + SPARE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    roomy = needed + (FD_SETSIZE if needed > FD_SETSIZE // 2 else 0)  # room for them beyond the low numbers
    if roomy <= soft or soft == resource.RLIM_INFINITY:
        return
    if needed > hard != resource.RLIM_INFINITY:
        raise KernelError(
            f"this lab needs {needed:,} open files, and this process may have {hard:,}: raise the hard limit"
            f" (ulimit -Hn {needed}, or LimitNOFILE= of a systemd unit)"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (roomy if hard == resource.RLIM_INFINITY else min(roomy, hard), hard))
