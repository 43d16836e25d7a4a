"""up and run."""

from __future__ import annotations

import asyncio
import json
import signal

import click

from netemu import Lab, Report, Topology, find, hold, load, report_json
from netemu.cli.complaint import complain
from netemu.cli.console import console
from netemu.cli.walk import Walk


def _present(report: Report, topology: Topology, as_json: bool, unfold: bool) -> None:
    if as_json:
        click.echo(json.dumps(report_json(report), ensure_ascii=False))
    else:
        Walk(console(), report, topology, unfold).print()


def up(lab: str, as_json: bool, unfold: bool) -> int:
    """Bring a lab up, held by a supervisor; its exit code."""
    file = find(lab)
    topology, _ = load(file)

    def present(report: Report) -> None:
        _present(report, topology, as_json, unfold)
        if not as_json:
            host = next(iter(topology.hosts))
            click.echo(
                f"\n{topology.name} is up: netemu exec {topology.name} {host} -- COMMAND; netemu down {topology.name}"
            )

    return hold(file, present, complain)


def run(lab: str, as_json: bool, unfold: bool) -> int:
    """Bring a lab up in this process, take it down, and tell; its exit code."""
    file = find(lab)

    async def prove() -> tuple[Report, Topology]:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        brought_up = Lab(file)
        async with brought_up:
            report = await brought_up.prove()
        report.timing_ms["down"] = brought_up.timing_ms["down"]
        return report, brought_up.topology

    report, topology = asyncio.run(prove())
    _present(report, topology, as_json, unfold)
    return report.exit_code
