"""scripts/bench record: netemu's record, a tcpdump a tap and a scapy AsyncSniffer a tap, each alone on the same load.

UDP in frames of 60 bytes goes from A through B to C, with taps at A out, B in, B out and C in. Each run is a process of
its own; the ways take turns, so that a machine that slows down slows all of them. netemu's CPU is that of its whole
process, from the load's start until all frames are columns; tcpdump's is that of all four, which write files.

What netemu and scapy hold is compared at the highest rate at which each loses nothing: what is kept of an overload is
no record. Both are looked for: the rate is doubled until every run at it loses something, or sends less than that, and
then looked for in between; a rate at which one run loses nothing is held, as is that of an unthrottled run. netemu's
load is sent by two processes there, as one sends no more than a core can. Beside it are two floors with as many: what
is sent and routed without a tap (nothing-2), and what goes through rings such as netemu's that a reader empties and
keeps nothing of (rings-2).
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from operator import itemgetter
from pathlib import Path
from statistics import median

import click
from rich.console import Console
from rich.progress import track
from rich.table import Table

RUN = Path(__file__).parent / "record_run.py"
CPU_AIM, SCAPY_AIM = 1.5, 200.0
"""How many times tcpdump's CPU a record may take, and how many times what scapy's sniffers hold it should."""
LADDER, HALVINGS = {"scapy": 250, "netemu-2": 20_000}, 6
"""Packets a second at which the search for the highest rate begins, and how often the last step is halved."""
HELD = 0.98
"""Of the packets offered through hooks, so many have to have been sent for their rate to be held."""
NETEMU_HELD, SCAPY_HELD = "netemu-2, most held", "scapy, most held"
FLOORS = {"without a tap": "nothing-2 unthrottled", "through rings of which nothing is kept": "rings-2 unthrottled"}
TAPS = 4
Numbers = dict[str, float]


def run(way: str, rate: int, seconds: float) -> Numbers:
    """One run; ends the bench if it fails."""
    command = [sys.executable, str(RUN), way, str(rate), str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"a run of {way} failed:\n{done.stderr}")
    told: Numbers = json.loads(done.stdout)
    told["offered"] = rate
    told["records_s"] = told["records"] / seconds
    told["cpu_per_million"] = told["cpu"] / max(told["records"], 1) * 1e6
    return told


def middle(runs: list[Numbers]) -> Numbers:
    """The median of each figure; of losses, the largest."""
    worst = ("lost", "told_lost")
    return {key: (max if key in worst else median)(each[key] for each in runs) for key in runs[0]}


def most_held(way: str, seconds: float, runs: int, before: list[Numbers]) -> Numbers:
    """The run at the highest rate at which one of so many loses nothing; the least rate's, if none holds that.

    Runs `before`, of the same way at other rates, count as those that are made to look for it.
    """

    def held(rate: int) -> Numbers | None:
        found = (run(way, rate, seconds) for _ in range(runs))
        return next((each for each in found if not each["lost"] and each["rate"] >= HELD * rate), None)

    low, high = 0, LADDER[way]
    best = run(way, high, seconds) | {"records_s": 0.0}
    while found := held(high):
        low, best, high = high, found, 2 * high
    for _ in range(HALVINGS if low else 0):
        middle_rate = (low + high) // 2
        if found := held(middle_rate):
            low, best = middle_rate, found
        else:
            high = middle_rate
    return max([best, *(each for each in before if not each["lost"])], key=itemgetter("records_s"))


def missed_goals(found: dict[str, Numbers]) -> list[str]:
    """Which goals are missed, in words."""
    missed = []
    for name, ours in found.items():
        way, _, rate = name.partition(" ")
        if way == "hooks" and (ours["lost"] or ours["rate"] < HELD * ours["offered"]):
            bare = found[f"floor {rate}"]["rate"]
            missed.append(
                f"hook taps at {rate} packets/s: {ours['rate']:,.0f} went through and {ours['lost']:.0f} events"
                f" were lost (through the same hooks, with a reader that keeps nothing: {bare:,.0f})"
            )
        theirs = found.get(f"tcpdump {rate}")
        if way != "netemu" or theirs is None:
            continue
        if ours["lost"] and not theirs["told_lost"]:
            missed.append(f"at {rate} packets/s tcpdump dropped nothing and netemu lost {ours['lost']:.0f} frames")
        times = ours["cpu_per_million"] / theirs["cpu_per_million"]
        if times > CPU_AIM:
            missed.append(f"at {rate} packets/s a record takes {times:.2f} times tcpdump's CPU, more than {CPU_AIM}")
    ours, theirs = found[NETEMU_HELD]["records_s"], found[SCAPY_HELD]["records_s"]
    if ours < SCAPY_AIM * theirs:
        floors = (f"{what} {found[name]['rate'] * TAPS / theirs:.0f} times" for what, name in FLOORS.items())
        missed.append(
            f"netemu held {ours:,.0f} records/s without a loss, {ours / theirs:.0f} times the {theirs:,.0f} that"
            f" scapy's sniffers held, not {SCAPY_AIM:.0f} (packets went {' and '.join(floors)} as fast)"
        )
    return missed


def table(found: dict[str, Numbers]) -> Table:
    """A row for each way and rate."""
    grid = Table(box=None, pad_edge=False, title="scripts/bench record", title_justify="left")
    grid.add_column("")
    for name in ("packets/s", "records/s", "lost", "told lost", "CPU s/million", "MiB"):
        grid.add_column(name, justify="right")
    for name, each in found.items():
        figures = (each["rate"], each["records_s"], each["lost"], each["told_lost"])
        rest = (f"{each['cpu_per_million']:.2f}", f"{each['memory']:.0f}")
        grid.add_row(name, *(f"{figure:,.0f}" for figure in figures), *rest)
    return grid


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@click.option(
    "--rate",
    "rates",
    multiple=True,
    type=int,
    default=(20_000, 80_000, 0),
    show_default=True,
    help="Packets a second; 0 is as fast as it goes. May be given more than once.",
)
@click.option("--hooks", "hook_rate", default=80_000, show_default=True, help="Packets a second through traced hooks.")
@click.option("--seconds", default=2.0, show_default=True, help="How long each load lasts.")
@click.option("--runs", default=3, show_default=True, help="How often each is measured.")
def main(as_json: bool, rates: tuple[int, ...], hook_rate: int, seconds: float, runs: int) -> None:
    """Measure what a record holds, loses and takes, beside tcpdump and scapy on the same load."""
    if shutil.which("tcpdump") is None:
        sys.exit("tcpdump is missing: apt-get install -y tcpdump")
    wanted = [(way, rate) for rate in rates for way in ("netemu", "tcpdump", "scapy")] + [
        ("netemu-2", 0),
        ("nothing-2", 0),
        ("rings-2", 0),
        ("hooks", hook_rate),
        ("floor", hook_rate),
    ]
    console = Console(stderr=True)
    gathered: dict[str, list[Numbers]] = {}
    turns = [each for _ in range(runs) for each in wanted]
    for way, rate in track(turns, "measuring", console=console, disable=not console.is_terminal, transient=True):
        name = f"{way} {f'{rate:,}' if rate else 'unthrottled'}"
        gathered.setdefault(name, []).append(run(way, rate, seconds))
    found = {name: middle(each) for name, each in gathered.items()}
    for name, way in ((NETEMU_HELD, "netemu-2"), (SCAPY_HELD, "scapy")):
        before = [each for told, several in gathered.items() if told.split()[0] == way for each in several]
        found[name] = most_held(way, seconds, runs, before)
    missed = missed_goals(found)
    if as_json:
        click.echo(json.dumps({"seconds": seconds, "runs": runs, "figures": found, "missed": missed}))
    else:
        Console(width=100).print(table(found))
        for each in missed:
            click.echo(f"missed: {each}")
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
