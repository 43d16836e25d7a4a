"""up, run and check."""

from __future__ import annotations

import json
import sys
from typing import Literal

from netemu import HeldLab, Report, Topology, UsageError, hold, report_json, run_once
from netemu.cli.complaint import complain
from netemu.cli.console import console, printed
from netemu.cli.drawing import meant
from netemu.cli.given import given
from netemu.cli.held import named
from netemu.cli.output import OutputError
from netemu.cli.progress import ProgressLine
from netemu.cli.recordings import Kept, recorded_report
from netemu.cli.walk import Walk

Backend = Literal["nft", "legacy"]


def _present(report: Report, topology: Topology, as_json: bool, unfold: bool, more: str = "") -> int:
    """Print a report; the exit code, which is the verdict's, or 2 where it is pass but could not be printed.

    Trouble with printing changes neither the verdict nor the lab: it is told on standard error.
    """
    if as_json:
        text = json.dumps(report_json(report), ensure_ascii=False) + "\n"
    else:
        screen = console()
        Walk(screen, report, topology, unfold).print()
        text = printed(screen) + more
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OutputError as error:
        code = complain(error)
        return report.exit_code or code
    return report.exit_code


def up(lab: str, name: str | None, backend: Backend | None, as_json: bool, unfold: bool, record: str | None) -> int:
    """Bring a lab up, held by a supervisor; its exit code, or 2 where it passed but could not be told or kept."""
    topology, source = given(lab, name=name, backend=backend)
    kept = Kept(record, source.read) if record is not None else None
    progress = ProgressLine(topology.name)

    def present(report: Report) -> int:
        progress.close()
        saved = kept is None or _save(kept, report)
        host = next(iter(topology.hosts))
        hint = f"netemu exec {topology.name} {host} -- COMMAND; netemu down {topology.name}"
        code = _present(report, topology, as_json, unfold, f"\n{topology.name} is up: {hint}\n")
        return code or (0 if saved else UsageError.exit_code)

    def fail(error: BaseException) -> int:
        progress.close()
        return complain(error)

    try:
        return hold(topology, source, present, fail, progress)
    finally:
        if kept is not None:
            kept.drop()


def run(lab: str, name: str | None, backend: Backend | None, as_json: bool, unfold: bool, record: str | None) -> int:
    """Bring a lab up in this process, take it down, and tell; its exit code, as `up` gives it."""
    topology, source = given(lab, name=name, backend=backend)
    kept = Kept(record, source.read) if record is not None else None
    try:
        with ProgressLine(topology.name) as progress:
            report = run_once(topology, source, progress)
        saved = kept is None or _save(kept, report)
    finally:
        if kept is not None:
            kept.drop()
    code = _present(report, topology, as_json, unfold)
    return code or (0 if saved else UsageError.exit_code)


def check(lab: str, record: str | None, as_json: bool, unfold: bool) -> int:
    """Hold a lab's expectations against its traffic sent once more, or against a saved record; the exit code."""
    if record is not None:
        topology = meant(lab)
        report = recorded_report(topology, record)
    else:
        held: HeldLab = named(lab)
        topology, report = held.topology(), held.check()
    return _present(report, topology, as_json, unfold)


def _save(kept: Kept, report: Report) -> bool:
    """Keep the record. Trouble with it does not keep the report from being told."""
    try:
        kept.save(report.record)
    except UsageError as error:
        complain(error)
        return False
    return True
