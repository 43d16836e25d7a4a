"""Running processes to their end: the machine's tools inside a host's network namespace, and a lab's processes."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from netemu.errors import UsageError
from netemu.kernel.processes.ending import ended
from netemu.kernel.processes.memory import memory_file, text_of
from netemu.kernel.processes.pidspace import PidSpace
from netemu.kernel.spaces.forking import limits_named
from netemu.kernel.spaces.namespace import NetworkNamespace


@dataclass(frozen=True, slots=True)
class Completed:
    """A process that has ended: its exit code (minus the signal's number if one ended it) and what it wrote."""

    command: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str


async def run(
    command: Sequence[str], net: NetworkNamespace, *, input: bytes = b"", environment: Mapping[str, str] | None = None
) -> Completed:
    """Run a tool of the machine's in a host's network namespace to its end. A cancelled run ends the process.

    Its input and outputs are files in memory, so nothing waits for a child that it leaves behind with them open.
    """
    with memory_file(input) as stdin, memory_file() as stdout, memory_file() as stderr:
        process = _start(command, net, stdin, stdout, stderr, environment)
        try:
            code = await ended(process)
        finally:
            _kill(process)
        return Completed(tuple(command), code, text_of(stdout), text_of(stderr))


async def run_on(
    host: str,
    command: Sequence[str],
    pids: PidSpace,
    *,
    input: bytes = b"",
    environment: Mapping[str, str] | None = None,
    user: str | None = None,
    folder: Path | None = None,
) -> Completed:
    """Run a process on a host that has its place, in `folder`, to its end; else as `run`."""
    with memory_file(input) as stdin, memory_file() as stdout, memory_file() as stderr:
        streams = (stdin.fileno(), stdout.fileno(), stderr.fileno())
        started = await pids.start(command, streams, host=host, environment=environment, user=user, folder=folder)
        async with started as process:
            code = await process.wait()
        return Completed(tuple(command), code, text_of(stdout), text_of(stderr))


def _start(
    command: Sequence[str],
    net: NetworkNamespace,
    stdin: IO[bytes],
    stdout: IO[bytes],
    stderr: IO[bytes],
    environment: Mapping[str, str] | None,
) -> subprocess.Popen[bytes]:
    try:
        with limits_named(), net.entered():
            return subprocess.Popen(
                list(command), stdin=stdin, stdout=stdout, stderr=stderr, env=environment, start_new_session=True
            )
    except (FileNotFoundError, PermissionError) as error:
        raise UsageError(f"host {net.name}: can't run {command[0]}: {error.strerror}") from error


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a process and its whole session's process group, and collect it."""
    if process.poll() is None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            process.kill()
    process.wait()
