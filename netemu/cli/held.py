"""down, ls and exec: what is asked of labs that are up. Only light imports, so that they answer at once."""

from __future__ import annotations

import json
import shutil
import time

import click

from netemu import HeldLab, NetemuError, StoppedError, UsageError, labs_up
from netemu.cli.given import STDIN, given, is_text


def down(labs: list[str], as_json: bool) -> int:
    """Take labs down, all that are up if none is named; what does not work with one keeps no other up."""
    told: list[dict[str, str | float | None]] = []
    code = 0
    for lab in labs or labs_up():
        start = time.perf_counter()
        fault, name = None, lab
        try:
            held = named(lab)
            name = held.name
            held.down()
        except NetemuError as error:
            fault, code = str(error), error.exit_code
        spent = (time.perf_counter() - start) * 1000
        told.append({"lab": name, "down_ms": None if fault else spent, "error": fault})
        if not as_json:
            click.echo(f"netemu: {fault}" if fault else f"{name} is down ({spent:.0f} ms)", err=fault is not None)
    if as_json:
        click.echo(json.dumps({"labs": told}))
    elif not told:
        click.echo("no lab is up")
    return code


def ls(as_json: bool) -> None:
    """List the labs that are up."""
    found = []
    for name in labs_up():
        try:
            found.append({"state": "up"} | HeldLab(name).facts())
        except NetemuError as error:  # coming up, going down, or stuck
            state = "stopped" if isinstance(error, StoppedError) else "not ready"
            found.append({"state": state, "lab": name, "hosts": [], "file": "", "pid": None, "since": None})
    if as_json:
        click.echo(json.dumps(found))
        return
    if not found:
        click.echo("no lab is up")
        return
    width = max(len("LAB"), *(len(lab["lab"]) for lab in found))
    click.echo(f"{'LAB':<{width}}  UP SINCE             PID      HOSTS")
    room = max(shutil.get_terminal_size((100, 24)).columns - width - 32, 20)
    for lab in found:
        is_up = lab["state"] == "up"
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(lab["since"])) if is_up else lab["state"]
        hosts = _listed(lab["hosts"], room)
        click.echo(f"{lab['lab']:<{width}}  {since:<19}  {lab['pid'] or '':<7}  {hosts}".rstrip())


def _listed(names: list[str], room: int) -> str:
    """As many names as there is room for, and how many there are if not all are told."""
    whole = ", ".join(names)
    if len(whole) <= room:
        return whole
    end = f", … {len(names)} in all"
    return whole[: whole.rfind(", ", 0, max(room - len(end), 1))] + end


def exec_(lab: str, host: str, command: list[str]) -> int:
    """Run a command on a host; its exit code."""
    return _named_apart(lab).run(host, command)


def shell(lab: str, host: str) -> int:
    """Open a shell on a host; its exit code."""
    return _named_apart(lab).shell(host)


def named(lab: str) -> HeldLab:
    """The lab that is meant: a file, or standard input, means the lab that it names."""
    return HeldLab(given(lab)[0].name if is_text(lab) else lab)


def _named_apart(lab: str) -> HeldLab:
    """The same for a command that standard input is for."""
    if lab in STDIN:
        raise UsageError("standard input is the command's own: give the lab's name, or its file")
    return named(lab)
