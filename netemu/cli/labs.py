"""up and run."""

from __future__ import annotations

import json
import sys
from typing import Literal

import click

from netemu import Report, Topology, find, hold, load, report_json, run_once
from netemu.cli.complaint import complain, discard_output
from netemu.cli.console import console, printed
from netemu.cli.progress import ProgressLine
from netemu.cli.walk import Walk

Backend = Literal["nft", "legacy"]


def _present(report: Report, topology: Topology, as_json: bool, unfold: bool, more: str = "") -> None:
    """Print a report. Trouble with printing changes neither the verdict nor the lab: it is told on standard error."""
    if as_json:
        text = json.dumps(report_json(report), ensure_ascii=False) + "\n"
    else:
        screen = console()
        Walk(screen, report, topology, unfold).print()
        text = printed(screen) + more
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        discard_output()  # whoever read has seen enough
    except OSError as error:
        click.echo(f"netemu: the report can't be printed: {error.strerror}", err=True)
        discard_output()


def up(lab: str, name: str | None, backend: Backend | None, as_json: bool, unfold: bool) -> int:
    """Bring a lab up, held by a supervisor; its exit code."""
    topology, source = load(find(lab), name=name, backend=backend)
    progress = ProgressLine(topology.name)

    def present(report: Report) -> None:
        progress.close()
        host = next(iter(topology.hosts))
        hint = f"netemu exec {topology.name} {host} -- COMMAND; netemu down {topology.name}"
        _present(report, topology, as_json, unfold, f"\n{topology.name} is up: {hint}\n")

    def fail(error: BaseException) -> int:
        progress.close()
        return complain(error)

    return hold(topology, source, present, fail, progress)


def run(lab: str, name: str | None, backend: Backend | None, as_json: bool, unfold: bool) -> int:
    """Bring a lab up in this process, take it down, and tell; its exit code."""
    topology, source = load(find(lab), name=name, backend=backend)
    with ProgressLine(topology.name) as progress:
        report = run_once(topology, source, progress)
    _present(report, topology, as_json, unfold)
    return report.exit_code
