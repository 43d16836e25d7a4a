"""scripts/bench lab: how long a user waits for the nodeport lab, and for the same lab built by Mininet.

A round measures everything once, so that a machine that slows down slows all of it; the first round warms the
caches up and is not counted. Figures are medians over the other rounds.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from figures import Figure, table
from rich.console import Console
from rich.progress import track
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
NETEMU = str(ROOT / ".venv/bin/netemu")
SCRIPT = str(ROOT / "scripts/netemu")
PARTS = ("up", "traffic", "check", "down")

LACKING = 4
"""netemu's exit code when the machine lacks something, and ours then."""

SYSTEM_PYTHON = "/usr/bin/python3"
APART = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]
MININET = [*APART, SYSTEM_PYTHON, str(Path(__file__).with_name("mininet_nodeport.py"))]
INSTALL_MININET = "apt-get install -y --no-install-recommends mininet bridge-utils"


class RunError(click.ClickException):
    """A measured command failed, so there is nothing to measure."""


class LackError(RunError):
    """It failed for something that this machine lacks, root for one."""

    exit_code = LACKING


@dataclass(frozen=True)
class Finished:
    """A process that ended well: what it printed, its wall time in ms, and the most memory it held in MiB."""

    output: str
    wall_ms: float
    rss_mib: float


def run(command: Sequence[str], given: str = "") -> Finished:
    """Run a command to its end; raises RunError, with what it said, unless its exit code is 0."""
    with (
        tempfile.TemporaryFile("w+") as stdin,
        tempfile.TemporaryFile("w+") as out,
        tempfile.TemporaryFile("w+") as err,
    ):
        stdin.write(given)
        stdin.seek(0)
        start = time.perf_counter()
        process = subprocess.Popen(command, stdin=stdin, stdout=out, stderr=err)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        output = out.read()
        if process.returncode != 0:
            said = err.read().strip() or unproved(output) or "it said nothing"
            failure = LackError if process.returncode == LACKING else RunError
            raise failure(f"{' '.join(command)} exited {process.returncode}: {said}")
    return Finished(output, wall * 1000, usage.ru_maxrss / 1024)


def unproved(output: str) -> str:
    """The verdict and the checks that did not pass, of what `netemu run --json` printed; empty if it is no JSON."""
    try:
        report = json.loads(output)
    except ValueError:
        return output.strip()
    missed = [check for check in report["checks"] if check["verdict"] != "pass"]
    return "\n".join([f"verdict {report['verdict']}, {report['capture']}", *(json.dumps(check) for check in missed)])


def netemu_figures() -> dict[str, Figure]:
    """netemu's rows, still empty."""
    return {
        "run": Figure("netemu run nodeport --json, whole process", aim=1500.0),
        "run.rss": Figure("  its largest resident memory", unit="MiB"),
        **{f"run.{part}": Figure(f"  its part: {part}") for part in PARTS},
        "run.parts": Figure("  these parts together", aim=300.0),
        "help": Figure("netemu --help, whole process", aim=200.0),
        "version": Figure("netemu --version, whole process"),
        "set-up": Figure("  what scripts/netemu adds to it", aim=300.0),
    }


def mininet_figures() -> dict[str, Figure]:
    """Mininet's rows, still empty; each stands beside netemu's of the same name."""
    return {
        "run": Figure("Mininet, one request, whole process", beside="run"),
        "run.up": Figure("  its part: up", beside="run.up"),
        "run.traffic": Figure("  its part: traffic", beside="run.traffic"),
        "run.down": Figure("  its part: down", beside="run.down"),
        "run.parts": Figure("  these parts together", beside="run.parts"),
    }


def measure_netemu(figures: Mapping[str, Figure]) -> None:
    """One round of netemu; raises RunError when a verdict is not pass."""
    ran = run([NETEMU, "run", "nodeport", "--json"])
    report = json.loads(ran.output)
    if report["verdict"] != "pass":
        raise RunError(f"netemu run nodeport exited 0, but: {unproved(ran.output)}")
    parts = {part: float(report["timing_ms"][part]) for part in PARTS}
    figures["run"].values.append(ran.wall_ms)
    figures["run.rss"].values.append(ran.rss_mib)
    for part, took in parts.items():
        figures[f"run.{part}"].values.append(took)
    figures["run.parts"].values.append(sum(parts.values()))
    figures["help"].values.append(run([NETEMU, "--help"]).wall_ms)
    direct = run([NETEMU, "--version"]).wall_ms
    figures["version"].values.append(direct)
    figures["set-up"].values.append(run([SCRIPT, "--version"]).wall_ms - direct)


def measure_mininet(figures: Mapping[str, Figure], rules: str) -> None:
    """One round of Mininet, with nothing of it left in the machine's own namespaces."""
    ran = run(MININET, rules)
    parts = json.loads(ran.output)
    figures["run"].values.append(ran.wall_ms)
    for part, took in parts.items():
        figures[f"run.{part}"].values.append(took)
    figures["run.parts"].values.append(sum(parts.values()))


def mininet_installed() -> bool:
    """Whether the system's Python has Mininet, and the machine what its Linux bridge is made by."""
    if not (shutil.which("brctl") and shutil.which("unshare") and os.access(SYSTEM_PYTHON, os.X_OK)):
        return False
    asked = subprocess.run([SYSTEM_PYTHON, "-c", "import mininet.nodelib"], capture_output=True, check=False)
    return asked.returncode == 0


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--runs", type=click.IntRange(min=1), default=10, show_default=True, help="How many rounds are counted.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the table.")
def bench(runs: int, as_json: bool) -> None:
    """Measure what a user of the nodeport lab waits for: netemu's processes, their parts, and Mininet's beside them.

    Mininet builds the same hosts and rules and sends the HTTP request, but no datagrams, and records and checks
    nothing. Aims are printed, not enforced. Exit codes: 0 measured, 1 when a run fails or its verdict is not pass,
    4 when the machine lacks something.
    """
    rules = YAML(typ="safe").load(ROOT / "topologies/nodeport.yaml")["hosts"]["B"]["iptables"]
    with_mininet = mininet_installed()
    for turn in track(range(runs + 1), "measuring", console=Console(stderr=True), transient=True, disable=as_json):
        if turn <= 1:  # the first round's figures are thrown away
            netemu, mininet = netemu_figures(), mininet_figures() if with_mininet else {}
        measure_netemu(netemu)
        if with_mininet:
            measure_mininet(mininet, rules)
    if as_json:
        found: dict[str, Any] = {"bench": "lab", "runs": runs, "netemu": {}, "mininet": {} if with_mininet else None}
        found["netemu"] = {name: figure.numbers(netemu) for name, figure in netemu.items()}
        if with_mininet:
            found["mininet"] = {name: figure.numbers(netemu) for name, figure in mininet.items()}
        else:
            found["install_mininet"] = INSTALL_MININET
        click.echo(json.dumps(found))
        return
    Console(width=None if sys.stdout.isatty() else 100, highlight=False).print(
        table(f"scripts/bench lab: medians of {runs} runs", netemu, mininet)
    )
    if not with_mininet:
        click.echo(f"Mininet is not installed, so not measured: {INSTALL_MININET}")


if __name__ == "__main__":
    bench.main(prog_name="scripts/bench lab")
