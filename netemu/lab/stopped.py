"""Whether the process that holds a lab is stopped: then nothing answers for the lab until somebody lets it go on."""

from __future__ import annotations

import os
import select
import signal
import time
from pathlib import Path

from netemu.errors import MachineError
from netemu.lab.folder import ALIVE, base

LOOK_AFTER = 1.0
"""Seconds without an answer, after which it is looked whether the process is stopped, again and again."""


class StoppedError(MachineError):
    """The process that holds a lab is stopped (SIGSTOP); `pid` is its number."""

    def __init__(self, lab: str, pid: int) -> None:
        super().__init__(f"lab {lab}'s supervisor (process {pid}) is stopped: kill -CONT {pid} brings it back")
        self.pid = pid


def holder(lab: str) -> int | None:
    """The process that holds a lab, as it has the lock of its `alive` file (proc(5), /proc/locks); None if unknown."""
    try:
        found = (base() / lab / ALIVE).stat()
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    device = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    for line in lines:
        words = line.split()
        if words[1] == "FLOCK" and words[3] == "WRITE" and words[5] == device and int(words[4]) > 0:
            return int(words[4])
    return None


def is_stopped(pid: int) -> bool:
    """Whether a process is stopped by a signal, as its state says (proc(5): `T`); not so one that is only traced."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] == "T"


def stopped_holder(lab: str) -> int | None:
    """The process that holds a lab, if it is stopped."""
    pid = holder(lab)
    return pid if pid is not None and is_stopped(pid) else None


def wait_for(descriptor: int, lab: str, pid: int, within: float) -> None:
    """Return once a descriptor has something to read. Raises TimeoutError after `within` seconds.

    Raises StoppedError if the process that it is to come from is stopped.
    """
    until = time.monotonic() + within
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    while not poll.poll(max(min(LOOK_AFTER, until - time.monotonic()), 0) * 1000):
        if is_stopped(pid):
            raise StoppedError(lab, pid)
        if time.monotonic() >= until:
            raise TimeoutError


def kill_stopped(lab: str, within: float) -> int | None:
    """End the process that holds a lab if it is stopped, and the lab with it; its number, or None if it is not.

    Raises MachineError if it does not end.
    """
    pid = stopped_holder(lab)
    if pid is None:
        return None
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    try:
        if stopped_holder(lab) != pid:  # the number may have become another's before it was opened
            return None
        signal.pidfd_send_signal(process, signal.SIGKILL)
        poll = select.poll()
        poll.register(process, select.POLLIN)
        if not poll.poll(within * 1000):
            raise MachineError(f"lab {lab}: process {pid} does not end, though it was killed")
    finally:
        os.close(process)
    return pid
