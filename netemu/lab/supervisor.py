"""The process that holds a lab which is up, from `netemu up` to `netemu down`.

It is forked before there is any thread, prints what `up` has to say, tells its parent the exit code, and lets go of
the terminal. Until then it goes when its parent goes; afterwards it stays until it is asked, or told, to end.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

from netemu.check.report import Report
from netemu.errors import Interrupted
from netemu.kernel.spaces.forking import fork
from netemu.lab.control import ControlServer
from netemu.lab.folder import LabFolder
from netemu.lab.lab import Lab
from netemu.lab.progress import Tell
from netemu.lab.requests import Held
from netemu.lab.stopping import cancelled_by
from netemu.topology.load import Source
from netemu.topology.model import Topology

Present = Callable[[Report], int]
Complain = Callable[[BaseException], int]


def hold(topology: Topology, source: Source, present: Present, complain: Complain, progress: Tell | None = None) -> int:
    """Bring a lab up in a process of its own; the exit code once its report is printed, or it has failed.

    `topology` and `source` are what `load` gave. `present` prints a report, `complain` an error, and each gives the
    exit code; `progress` is told how far it is, as in `Lab`. All of them run in the new process.
    """
    ours, theirs = socket.socketpair()
    sys.stdout.flush()
    sys.stderr.flush()
    child = fork()
    if child == 0:
        ours.close()
        _keep_only(0, 1, 2, theirs.fileno())
        code = 70
        try:
            os.setsid()
            LabFolder.by_command = True
            code = asyncio.run(_supervise(topology, source, theirs, present, progress))
        except BaseException as error:  # noqa: BLE001  whatever it is, this process ends here
            code = complain(error)
        finally:
            _flush()
            os._exit(code)
    theirs.close()
    return _wait(child, ours)


def _keep_only(*descriptors: int) -> None:
    """Close every other descriptor: what the caller had open must not stay open as long as the lab is up."""
    for entry in os.listdir("/proc/self/fd"):
        if int(entry) not in descriptors:
            with contextlib.suppress(OSError):
                os.close(int(entry))


def _wait(child: int, news: socket.socket) -> int:
    """The parent: wait for the exit code, passing on the signals that ask to stop."""

    def stop(number: int, _: object) -> None:
        os.kill(child, number)

    before = {number: signal.signal(number, stop) for number in Interrupted.heeded()}
    try:
        said = news.recv(16)
        if said:
            return int(said)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return code if code >= 0 else 128 - code
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        news.close()


async def _supervise(
    topology: Topology, source: Source, parent: socket.socket, present: Present, progress: Tell | None
) -> int:
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    parent.setblocking(False)

    def orphaned() -> None:
        loop.remove_reader(parent)  # readable means closed, and stays so: the parent says nothing
        task.cancel()

    loop.add_reader(parent, orphaned)
    lab = Lab(topology, source=source, named=True, progress=progress)
    with cancelled_by(*Interrupted.heeded()):
        async with lab:
            assert lab.folder is not None
            report = await lab.prove()
            await lab.stop_recording()
            server = ControlServer(Held(lab, _facts(lab)), lab.folder.path)
            code = present(report)
            loop.remove_reader(parent)
            _flush()
            parent.send(str(code).encode())
            parent.close()
            _let_go_of_terminal()
            askers = await server.serve()
    for asker in askers:
        asker.close()
    return 0


def run_once(topology: Topology, source: Source, progress: Tell | None = None) -> Report:
    """Bring a lab up in this process, send its traffic, check it, and take it down; stopping signals cut it short.

    `topology` and `source` are what `load` gave; `progress` is told how far it is, as in `Lab`. Raises Interrupted.
    """

    async def prove() -> Report:
        lab = Lab(topology, source=source, progress=progress)
        with cancelled_by(*Interrupted.heeded()):
            async with lab:
                report = await lab.prove()
        report.timing_ms["down"] = lab.timing_ms["down"]
        return report

    return asyncio.run(prove())


def _facts(lab: Lab) -> dict[str, object]:
    """What `netemu ls` tells of a lab."""
    file = lab.source.document.file if lab.source.document is not None else None
    return {
        "lab": lab.topology.name,
        "file": str(Path(file).resolve()) if file is not None and Path(file).exists() else file or "",
        "hosts": list(lab.hosts),
        "pid": os.getpid(),
        "since": time.time(),
    }


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (BrokenPipeError, ValueError):
            continue  # nobody reads any more


def _let_go_of_terminal() -> None:
    os.chdir("/")
    nothing = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nothing, fd)
    os.close(nothing)
