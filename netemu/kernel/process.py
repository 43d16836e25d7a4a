"""Starting processes inside a lab's namespaces, and waiting for them on the event loop."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from netemu.errors import UsageError
from netemu.kernel.ending import ended
from netemu.kernel.namespace import NetworkNamespace
from netemu.kernel.pidspace import PidSpace


@dataclass(frozen=True, slots=True)
class Completed:
    """A process that has ended: its exit code (minus the signal's number if one ended it) and what it wrote."""

    command: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str


def start(
    command: Sequence[str],
    net: NetworkNamespace,
    pids: PidSpace | None,
    *,
    stdin: int | IO[bytes] = subprocess.DEVNULL,
    stdout: int | IO[bytes] = subprocess.DEVNULL,
    stderr: int | IO[bytes] = subprocess.DEVNULL,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a process on a host; UsageError if there is no such program."""

    def inside() -> subprocess.Popen[bytes]:
        with net.entered():
            return _popen(command, stdin, stdout, stderr, folder, environment)

    try:
        return inside() if pids is None else pids.start(inside)
    except (FileNotFoundError, PermissionError) as error:
        raise UsageError(f"host {net.name}: can't run {command[0]}: {error.strerror}") from error


def _popen(
    command: Sequence[str],
    stdin: int | IO[bytes],
    stdout: int | IO[bytes],
    stderr: int | IO[bytes],
    folder: Path | None,
    environment: Mapping[str, str] | None,
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        list(command),
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        cwd=folder,
        env=dict(environment) if environment is not None else None,
        start_new_session=True,
    )


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a process and its whole session's process group, and collect it."""
    if process.poll() is None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            process.kill()
    process.wait()


async def run(
    command: Sequence[str],
    net: NetworkNamespace,
    pids: PidSpace | None = None,
    *,
    input: bytes = b"",
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Completed:
    """Run a process on a host to its end. A cancelled run ends the process.

    Its input and outputs are files in memory, so nothing waits for a child that it leaves behind with them open.
    """
    with memory_file(input) as stdin, memory_file() as stdout, memory_file() as stderr:
        process = start(
            command,
            net,
            pids,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            folder=folder,
            environment=environment,
        )
        try:
            code = await ended(process)
        finally:
            kill(process)
        return Completed(tuple(command), code, _text(stdout), _text(stderr))


def memory_file(content: bytes = b"") -> IO[bytes]:
    """An unnamed file in memory, at its start."""
    file = os.fdopen(os.memfd_create("netemu", os.MFD_CLOEXEC), "w+b", buffering=0)
    file.write(content)
    file.seek(0)
    return file


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")
