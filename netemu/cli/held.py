"""down, ls and exec: what is asked of labs that are up. Only light imports, so that they answer at once."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import click

from netemu.errors import UsageError
from netemu.kernel.syscalls import CLONE_NEWNET, CLONE_NEWPID, setns
from netemu.lab.control import ask
from netemu.lab.folder import names_up


def down(lab: str) -> None:
    """Take a lab down that is up."""
    start = time.perf_counter()
    ask(_name(lab), {"do": "down"})
    click.echo(f"{_name(lab)} is down ({(time.perf_counter() - start) * 1000:.0f} ms)")


def ls(as_json: bool) -> None:
    """List the labs that are up."""
    found = []
    for name in names_up():
        try:
            found.append(ask(name, {"do": "show"})[0])
        except UsageError:
            found.append({"lab": name, "hosts": [], "file": "", "pid": None, "since": None})  # coming up, or going down
    if as_json:
        click.echo(json.dumps(found))
        return
    if not found:
        click.echo("no lab is up")
        return
    width = max(len("LAB"), *(len(lab["lab"]) for lab in found))
    click.echo(f"{'LAB':<{width}}  UP SINCE             PID      HOSTS")
    for lab in found:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(lab["since"])) if lab["since"] else "not ready"
        click.echo(f"{lab['lab']:<{width}}  {since:<19}  {lab['pid'] or '':<7}  {', '.join(lab['hosts'])}")


def exec_(lab: str, host: str, command: list[str]) -> int:
    """Run a command on a host, as a child of this process: terminal, input and signals are its own; its exit code."""
    _, (net, pids) = ask(_name(lab), {"do": "enter", "host": host}, descriptors=2)
    setns(pids, CLONE_NEWPID)
    setns(net, CLONE_NEWNET)
    for fd in (pids, net):
        os.close(fd)
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        try:
            os.execvp(command[0], command)  # noqa: S606  no shell, as it should be
        except OSError as error:
            os.write(2, f"netemu: {command[0]}: {os.strerror(error.errno or 0)}\n".encode())
        os._exit(127)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda given, _: os.kill(child, given))
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code if code >= 0 else 128 - code


def _name(lab: str) -> str:
    """The name of the lab that is meant: a file means the lab that it names."""
    from netemu.topology.load import load

    return load(Path(lab))[0].name if "/" in lab or lab.endswith((".yaml", ".yml")) else lab
