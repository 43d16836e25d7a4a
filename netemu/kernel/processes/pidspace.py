"""The PID namespace in which a lab's processes live, and its process 1, which starts them.

When process 1 ends, the kernel ends all the others. What is said to it and back is told in kernel/init/__init__.py.
"""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from netemu.errors import KernelError, MachineError, NetemuError, UsageError
from netemu.kernel import init
from netemu.kernel.processes.dialogue import Dialogue, Message
from netemu.kernel.processes.ending import ended
from netemu.kernel.processes.handle import Process
from netemu.kernel.spaces.syscalls import CLONE_NEWPID, unshare
from netemu.kernel.spaces.userspace import no_other_users

PROCESS_1_HAS_ENDED = "the lab's process 1 has ended, and every process of the lab with it"
GONE_WITHIN = 3.0
"""Seconds for all processes of a lab to be collected."""


class PidSpace:
    """A PID namespace with its process 1 (kernel/init), which ends when the process that made it ends."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._dialogue = Dialogue(ours, self._told, self._lost)
        self._living: dict[int, Process] = {}
        try:
            with ThreadPoolExecutor(1) as thread:
                self.process = thread.submit(_start_process_1, theirs).result()
            self.fd = os.open(f"/proc/{self.process.pid}/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            ours.close()
            raise KernelError(f"the kernel made no PID namespace for the lab: {_why_not(error)}") from error
        finally:
            theirs.close()

    @property
    def is_gone(self) -> bool:
        """Whether process 1 has ended, and every process of the lab with it: no other can be started."""
        return self._dialogue.is_closed or self.process.poll() is not None

    def remove_after(self, link: Path | None = None, target: str = "", folder: Path | None = None) -> None:
        """Have process 1 remove a symlink (if it still points to `target`) or a folder when the lab is gone."""
        thing = {"link": str(link), "target": target} if link is not None else {"folder": str(folder)}
        self._dialogue.say({"do": "remove", **thing})

    async def place(
        self,
        host: str,
        net: int,
        folder: Path,
        names: Path,
        files: Sequence[tuple[Path, str]] = (),
        covers: Sequence[tuple[Path, str]] = (),
        programs: Sequence[tuple[Path, str]] = (),
        empty: Sequence[str] = (),
    ) -> list[str]:
        """Make a host's place: its own mount and UTS namespace on the network namespace `net`. Once for each host.

        `names` becomes its /etc/hosts; `covers` are laid over files that the machine has, where it has them; `files`
        are others, each with where it is to be; what the host writes beside them is kept in folders whose paths begin
        with `folder`; `programs` are laid over names, be they symlinks; `empty` are folders of its own.
        Returns what the kernel refused, in words; KernelError if a file can't be placed.
        """
        request = {
            "do": "place",
            "host": host,
            "folder": str(folder),
            "names": str(names),
            "covers": [(str(source), target) for source, target in covers],
            "files": [(str(source), target) for source, target in files],
            "empty": list(empty),
            "programs": [(str(source), name) for source, name in programs],
        }
        answer, _ = await self._ask(host, request, [net])
        return list(answer["said"])

    async def enter(self, host: str) -> list[int]:
        """Descriptors of a host's network, UTS and mount namespace, in this order, for the caller to close."""
        _, fds = await self._ask(host, {"do": "enter", "host": host}, [])
        return fds

    async def start(
        self,
        command: Sequence[str],
        streams: tuple[int, int, int],
        *,
        host: str | None = None,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
        user: str | None = None,
    ) -> Process:
        """Start a process on a host that has its place; `streams` stay the caller's. Raises UsageError, KernelError.

        Without `environment` it has this process's own; without `folder` it starts where this process is, or in /.
        A caller that is cancelled meanwhile leaves no process behind.
        """
        request = {
            "do": "start",
            "host": host,
            "command": [str(part) for part in command],
            "environment": {
                str(name): str(value) for name, value in (os.environ if environment is None else environment).items()
            },
            "folder": str(folder) if folder is not None else _here(),
            "must": folder is not None,
            "user": user,
        }

        def accept(answer: Message, fds: list[int], wanted: bool) -> Process:
            if "error" in answer:
                raise _start_error(answer, request)
            number = answer["id"]
            try:
                process = Process(command, fds[0], lambda *how: self._signal(number, *how))
            finally:
                _close(fds)
            self._living[number] = process
            if not wanted:
                process.kill()
            return process

        started: Process = await self._dialogue_with(host, request, list(streams), accept)
        return started

    async def close(self) -> None:
        """Let process 1 tidy up and end, and every process with it; returns when they are gone.

        The kernel ends process 1 only once all the others are collected: collect those you started before this. One
        that a stopped process of another started is not waited for beyond a bound.
        """
        if self.fd < 0:
            return
        os.close(self.fd)
        self.fd = -1
        self._dialogue.close()
        try:
            async with asyncio.timeout(GONE_WITHIN):
                await ended(self.process)
        except TimeoutError:
            self.process.kill()  # a child of somebody who does not collect it: the kernel ends it all the same

    async def _ask(self, host: str, request: dict[str, Any], descriptors: list[int]) -> tuple[Message, list[int]]:
        def accept(answer: Message, fds: list[int], wanted: bool) -> tuple[Message, list[int]]:
            if not wanted:
                _close(fds)
            if "error" in answer:
                raise KernelError(f"host {host}: {answer['error']}")
            return answer, fds

        answered: tuple[Message, list[int]] = await self._dialogue_with(host, request, descriptors, accept)
        return answered

    async def _dialogue_with(
        self, host: str | None, request: dict[str, Any], descriptors: list[int], accept: Any
    ) -> Any:
        try:
            return await self._dialogue.ask(request, descriptors, accept)
        except ConnectionError as error:
            where = f"host {host}: " if host is not None else ""
            raise KernelError(where + PROCESS_1_HAS_ENDED) from error

    def _signal(self, number: int, signal_: int, group: bool, stop: bool) -> None:
        self._dialogue.say({"do": "signal", "id": number, "number": int(signal_), "group": group, "stop": stop})

    def _told(self, message: Message) -> None:
        if (process := self._living.pop(message["ended"], None)) is not None:
            process.note_end(message["code"])

    def _lost(self) -> None:
        for process in self._living.values():
            process.note_end(-signal.SIGKILL)
        self._living = {}


def _start_process_1(theirs: socket.socket) -> subprocess.Popen[bytes]:
    """Process 1, in a PID namespace of its own.

    The calling thread starts all its children there from then on, as it may not step out again without root: it ends.
    """
    unshare(CLONE_NEWPID)
    return subprocess.Popen(
        [sys.executable, "-I", "-S", os.path.join(os.path.dirname(init.__file__), "__main__.py")],
        stdin=theirs.fileno(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env={},
        start_new_session=True,
    )


def _why_not(error: OSError) -> str:
    """Python tries again where its first fork fails; by then the namespace takes no process (ENOMEM)."""
    if error.errno != errno.ENOMEM:
        return str(error.strerror)
    return "out of memory, or the limit of processes is reached: raise it (ulimit -u, or pids.max)"


def _start_error(answer: Message, request: Mapping[str, Any]) -> NetemuError:
    where = f"host {request['host']}: " if request["host"] is not None else ""
    why = answer["error"]
    match answer["doing"]:
        case "run":
            return UsageError(f"{where}can't run {request['command'][0]}: {why}")
        case "folder":
            return UsageError(f"{where}can't work in {request['folder']}: {why}")
        case "user" if answer["errno"] in (errno.EINVAL, errno.EPERM):  # of a number that the user namespace lacks
            return MachineError(f"{where}user {request['user']} is not there without root: {no_other_users()}")
        case "user":
            return UsageError(f"{where}can't run {request['command'][0]} as user {request['user']}: {why}")
    return KernelError(f"{where}{request['command'][0]} was not started: {why}")


def _here() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:
        return "/"


def _close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
