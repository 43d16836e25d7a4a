"""scripts/bench bring-up: how fast large labs come up and go down, beside the same made by ip -batch and by Mininet.

Every lab is brought up by a process of its own, so that its memory and descriptors are its own; the lab's turn, the
floor's and Mininet's follow each other, so that a machine that slows down slows all three. Each begins once the kernel
has freed what the one before it let go of.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import click
from bring_up_settled import settled
from rich.console import Console
from rich.progress import track
from rich.table import Table

HERE = Path(__file__).parent
SYSTEM_PYTHON = "/usr/bin/python3"
APART = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]
INSTALL_MININET = "apt-get install -y --no-install-recommends mininet bridge-utils"
UP_AIM, DOWN_AIM, FLOOR_AIM, MININET_AIM = 2.0, 1.0, 2.0, 0.1
"""Milliseconds a host up and down, and how many times the floor and Mininet, a lab may take."""

SMALL, SMALL_RUNS = 100, 5
"""Labs of so many hosts at most are measured so many times as often: of a few milliseconds, chance is a large part."""


@dataclass(frozen=True)
class Case:
    """A star of hosts on one network, or a line of routers."""

    shape: str
    hosts: int

    @property
    def label(self) -> str:
        """How the table calls it."""
        return f"{self.shape} of {self.hosts:,}"

    @property
    def often(self) -> int:
        """How many times it is measured in each run."""
        return SMALL_RUNS if self.hosts <= SMALL else 1


@dataclass
class Measured:
    """What was measured of one case, run after run: each a dict of numbers."""

    case: Case
    netemu: list[dict[str, float]] = field(default_factory=list)
    floor: list[dict[str, float]] = field(default_factory=list)
    mininet: list[dict[str, float]] = field(default_factory=list)

    def numbers(self) -> dict[str, Any]:
        """Medians, as `--json` prints them."""
        ours = middle(self.netemu)
        found: dict[str, Any] = {"case": self.case.shape, "hosts": self.case.hosts, "runs": len(self.netemu)}
        found["netemu"] = ours | {
            "up_ms_per_host": ours["up_ms"] / self.case.hosts,
            "down_ms_per_host": ours["down_ms"] / self.case.hosts,
        }
        found["aims"] = {
            "up_ms_per_host": {"aim": UP_AIM, "held": found["netemu"]["up_ms_per_host"] <= UP_AIM},
            "down_ms_per_host": {"aim": DOWN_AIM, "held": found["netemu"]["down_ms_per_host"] <= DOWN_AIM},
        }
        for name, runs in (("floor", self.floor), ("mininet", self.mininet)):
            if runs:
                theirs = middle(runs)
                found[name] = theirs | {"up_ratio": ours["up_ms"] / theirs["up_ms"]}
        if self.floor:
            ratio = found["floor"]["up_ratio"]
            found["aims"]["floor"] = {"aim": FLOOR_AIM, "held": ratio <= FLOOR_AIM}
        if self.mininet:
            found["aims"]["mininet"] = {"aim": MININET_AIM, "held": found["mininet"]["up_ratio"] <= MININET_AIM}
        return rounded(found)


def missed_aims(measured: Sequence[Measured]) -> list[str]:
    """Which aims are missed, in words."""
    return [
        f"{each.case.label}: {name.replace('_', ' ')}, aim {told['aim']:g}"
        for each in measured
        for name, told in each.numbers()["aims"].items()
        if not told["held"]
    ]


def middle(runs: Sequence[dict[str, float]]) -> dict[str, float]:
    """The median of each number."""
    return {name: median(run[name] for run in runs) for name in runs[0]}


def rounded(value: Any) -> Any:
    """The same with every fraction to three places."""
    if isinstance(value, dict):
        return {name: rounded(part) for name, part in value.items()}
    return round(value, 3) if isinstance(value, float) else value


def run(command: Sequence[str], minutes: float | None = None) -> dict[str, float] | None:
    """What a measuring process prints; its failure is ours, with what it said. None if it takes longer than it may."""
    asyncio.run(settled())
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=minutes and minutes * 60)
    except subprocess.TimeoutExpired:
        return None
    if done.returncode != 0:
        said = done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}"
        raise click.ClickException(f"{' '.join(command)}: {said}")
    numbers: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return numbers


def measure(case: Case, into: Measured, mininet: float) -> None:
    """One run of a case: netemu's, the floor's, and Mininet's if it may take any minutes."""
    shape = [case.shape, str(case.hosts)]
    beside = [
        (into.netemu, [sys.executable, str(HERE / "bring_up_netemu.py"), *shape], None),
        (into.floor, [*APART, sys.executable, str(HERE / "bring_up_floor.py"), *shape], None),
        (into.mininet, [*APART, SYSTEM_PYTHON, str(HERE / "bring_up_mininet.py"), str(case.hosts)], mininet),
    ]
    for numbers, command, minutes in beside if mininet else beside[:2]:
        measured = run(command, minutes)
        if measured is not None:
            numbers.append(measured)
        else:
            click.echo(f"Mininet took longer than {mininet:g} min for a {case.label}: not measured", err=True)


def mininet_installed() -> bool:
    """Whether the system's Python has Mininet, and the machine what its Linux bridge is made by."""
    if not (shutil.which("brctl") and shutil.which("unshare") and os.access(SYSTEM_PYTHON, os.X_OK)):
        return False
    asked = subprocess.run([SYSTEM_PYTHON, "-c", "import mininet.nodelib"], capture_output=True, check=False)
    return asked.returncode == 0


def table(measured: Sequence[Measured], runs: int) -> Table:
    """A row for each case."""
    grid = Table(
        box=None,
        pad_edge=False,
        title=f"scripts/bench bring-up: medians of {runs} runs, of {runs * SMALL_RUNS} for up to {SMALL} hosts",
        title_justify="left",
    )
    for name in ("", "up ms", "a host", "down ms", "a host", "MiB", "fds", "floor ms", "ratio", "Mininet ms", "ratio"):
        grid.add_column(name, justify="left" if not name else "right")

    def judged(value: float, aim: float) -> str:
        return f"{value:.2f}" if value <= aim else f"[bold red]{value:.2f}[/]"

    for each in measured:
        numbers = each.numbers()
        ours, floor, mininet = numbers["netemu"], numbers["floor"], numbers.get("mininet")
        grid.add_row(
            each.case.label,
            f"{ours['up_ms']:.0f}",
            judged(ours["up_ms_per_host"], UP_AIM),
            f"{ours['down_ms']:.0f}",
            judged(ours["down_ms_per_host"], DOWN_AIM),
            f"{ours['peak_mib']:.0f}",
            f"{ours['descriptors']:.0f}",
            f"{floor['up_ms']:.0f}",
            judged(floor["up_ratio"], FLOOR_AIM),
            *((f"{mininet['up_ms']:.0f}", f"{mininet['up_ratio']:.3f}") if mininet else ("", "")),
        )
    return grid


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--hosts", default="10,100,500,1000", show_default=True, help="Sizes of the stars.")
@click.option("--routers", default=200, show_default=True, help="Length of the line of routers; 0 for none.")
@click.option(
    "--runs", type=click.IntRange(min=1), default=3, show_default=True, help="How often; small labs five times so."
)
@click.option(
    "--mininet-most", default=1000, show_default=True, help="The largest star Mininet builds (once); 0: none."
)
@click.option(
    "--mininet-within", default=10.0, show_default=True, help="Minutes that Mininet may take for one star, up and down."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the table.")
def bench(hosts: str, routers: int, runs: int, mininet_most: int, mininet_within: float, as_json: bool) -> None:
    """Measure how long stars of hosts and a line of routers take up and down, with the memory and descriptors held.

    The floor is ip -batch making the same namespaces, veths and addresses in one process. Mininet builds the same
    star on a Linux bridge. Red is over the aim: 2 ms a host up, 1 ms down, twice the floor. Exit codes: 0 every aim
    held, 1 when one is missed or a run fails.
    """
    try:
        sizes = [int(size) for size in hosts.split(",") if size]
    except ValueError as error:
        raise click.UsageError(f"--hosts {hosts}: numbers with commas between are due") from error
    cases = [Case("star", size) for size in sizes] + ([Case("line", routers)] if routers else [])
    with_mininet = mininet_installed()
    measured = [Measured(case) for case in cases]
    turns = [(turn, each) for turn in range(runs * SMALL_RUNS) for each in measured if turn < runs * each.case.often]
    for turn, each in track(turns, "measuring", console=Console(stderr=True), transient=True, disable=as_json):
        wanted = with_mininet and turn == 0 and each.case.shape == "star" and each.case.hosts <= mininet_most
        measure(each.case, each, mininet_within if wanted else 0)
    missed = missed_aims(measured)
    if as_json:
        found = {"bench": "bring-up", "runs": runs, "cases": [each.numbers() for each in measured]}
        click.echo(json.dumps(found if with_mininet else found | {"install_mininet": INSTALL_MININET}))
        sys.exit(bool(missed))
    Console(width=None if sys.stdout.isatty() else 110, highlight=False).print(table(measured, runs))
    if not with_mininet:
        click.echo(f"Mininet is not installed, so not measured: {INSTALL_MININET}")
    for each in missed:
        click.echo(f"missed: {each}")
    sys.exit(bool(missed))


if __name__ == "__main__":
    bench.main(prog_name="scripts/bench bring-up")
