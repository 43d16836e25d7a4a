"""down, ls and exec: what is asked of labs that are up. Only light imports, so that they answer at once."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from netemu import HeldLab, UsageError, labs_up


def down(lab: str) -> None:
    """Take a lab down that is up."""
    start = time.perf_counter()
    held = _held(lab)
    held.down()
    click.echo(f"{held.name} is down ({(time.perf_counter() - start) * 1000:.0f} ms)")


def ls(as_json: bool) -> None:
    """List the labs that are up."""
    found = []
    for name in labs_up():
        try:
            found.append(HeldLab(name).facts())
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
    """Run a command on a host; its exit code."""
    return _held(lab).run(host, command)


def _held(lab: str) -> HeldLab:
    """The lab that is meant: a file means the lab that it names."""
    if "/" not in lab and not lab.endswith((".yaml", ".yml")):
        return HeldLab(lab)
    from netemu import load

    return HeldLab(load(Path(lab))[0].name)
