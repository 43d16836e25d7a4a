"""The commands about labs that are up: ls, down, show, exec, shell, logs, restart, link, capture, watch."""

from __future__ import annotations

import sys

import click

from netemu.cli.options import (
    host_argument,
    hosts,
    json_option,
    lab_argument,
    link_options,
    points,
    services,
    services_there,
)
from netemu.cli.options import labs as labs_up


@click.command()
@json_option
def ls(as_json: bool) -> None:
    """List the labs that are up."""
    from netemu.cli import held

    held.ls(as_json)


@click.command(short_help="Take labs down.")
@click.argument("labs", metavar="LAB...", nargs=-1, shell_complete=labs_up)
@click.option("--all", "all_", is_flag=True, help="Take every lab down that is up.")
@json_option
def down(labs: tuple[str, ...], all_: bool, as_json: bool) -> None:
    """Take each LAB down; returns when all that it held is gone."""
    from netemu.cli import held

    if bool(labs) == all_:
        raise click.UsageError("name the labs to take down, or give --all")
    sys.exit(held.down(list(labs), as_json))


@click.command(
    "exec",
    short_help="Run a command on a host.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@lab_argument
@host_argument
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def exec_(lab: str, host: str, command: tuple[str, ...]) -> None:
    """Run COMMAND on HOST of LAB, with this terminal and its exit code.

    For example: netemu exec nodeport A -- ip route
    """
    from netemu.cli import held

    words = list(command[1:] if command[0] == "--" else command)
    if not words:
        raise click.UsageError("name a command, as in: netemu exec nodeport A -- ip route")
    sys.exit(held.exec_(lab, host, words))


@click.command(short_help="Open a shell on a host.")
@lab_argument
@host_argument
def shell(lab: str, host: str) -> None:
    """Open a shell on HOST of LAB; its prompt names both, its exit code is passed on."""
    from netemu.cli import held

    sys.exit(held.shell(lab, host))


@click.command(short_help="Say what is there, as the kernel says it.")
@lab_argument
@click.argument("hosts", metavar="[HOST]...", nargs=-1, shell_complete=hosts)
@json_option
def show(lab: str, hosts: tuple[str, ...], as_json: bool) -> None:
    """Show the hosts of LAB, or those named: addresses, routes, rules with counters, services, processes, links."""
    from netemu.cli import showing

    showing.show(lab, list(hosts), as_json)


@click.command(short_help="Print what services wrote.")
@lab_argument
@click.argument("host", required=False, shell_complete=hosts)
@click.argument("service", required=False, shell_complete=services_there)
@click.option("-f", "--follow", is_flag=True, help="Go on as they write, until the lab is down.")
def logs(lab: str, host: str | None, service: str | None, follow: bool) -> None:
    """Print what the services of HOST wrote, or SERVICE alone; without HOST, those of all hosts of LAB."""
    from netemu.cli import changing

    changing.logs(lab, host, service, follow)


@click.command(short_help="Restart services.")
@lab_argument
@click.argument("service", metavar="HOST[:SERVICE]", shell_complete=services)
@json_option
def restart(lab: str, service: str, as_json: bool) -> None:
    """End the services of HOST, or one of them, and start them again; returns when they are ready."""
    from netemu.cli import changing

    changing.restart(lab, service, as_json)


@click.command(short_help="Change a link: delay, loss, …, up or down.")
@lab_argument
@click.argument("interface", metavar="HOST:INTERFACE", shell_complete=points)
@link_options
@click.option("--clear", is_flag=True, help="Take away what was set before.")
@click.option("--up", "up_", is_flag=True, help="Set the interface up, and give it its routes back.")
@click.option("--down", "down_", is_flag=True, help="Set the interface down.")
@click.option("--in", "in_", is_flag=True, help="Only what the interface is sent.")
@click.option("--out", "out_", is_flag=True, help="Only what the interface sends.")
@json_option
def link(
    lab: str,
    interface: str,
    clear: bool,
    up_: bool,
    down_: bool,
    in_: bool,
    out_: bool,
    as_json: bool,
    **given: str | None,
) -> None:
    """Change what the link of HOST:INTERFACE does to packets: in both directions, unless --in or --out is given.

    Properties that are not given stay as they are. Without any option it tells what is set.
    For example: netemu link nodeport B:eth0 --delay 20ms --loss 1%
    """
    from netemu.cli import changing

    if (up_ and down_) or (in_ and out_):
        one, other = ("--up", "--down") if up_ and down_ else ("--in", "--out")
        raise click.UsageError(f"{one} and {other} exclude each other")
    way = "in" if in_ else "out" if out_ else "both"
    state = "up" if up_ else "down" if down_ else None
    changing.link(lab, interface, way, clear, state, given, as_json)


@click.command(short_help="Capture what passes, for Wireshark.")
@lab_argument
@click.argument("words", metavar="POINT... [FILTER]", nargs=-1, required=True, shell_complete=points)
@click.option("-w", "file", metavar="FILE", help="Write to FILE; - is standard output, as without.")
@click.option("-c", "count", metavar="N", type=click.IntRange(min=1), help="End after N packets.")
def capture(lab: str, words: tuple[str, ...], file: str | None, count: int | None) -> None:
    """Write what passes POINTs of LAB as pcapng, while it happens, until Ctrl-C, or the reader or the lab goes.

    A POINT is B (all interfaces of B), B:eth0, B:eth0 in, or B@prerouting.nat. FILTER is in pcap's language.
    For example: netemu capture nodeport B:eth0 tcp port 30000 | wireshark -k -i -
    """
    from netemu.cli import live

    live.capture(lab, list(words), None if file == "-" else file, count)


@click.command(short_help="Watch journeys as they complete.")
@lab_argument
@click.argument("words", metavar="[FILTER]", nargs=-1)
@click.option(
    "--settle", metavar="TIME", default="1s", show_default=True, help="How long a packet may be under way unseen."
)
@click.option("-c", "count", metavar="N", type=click.IntRange(min=1), help="End after N packets.")
@click.option("--walk", is_flag=True, help="Print each packet's whole walk.")
@json_option
def watch(lab: str, words: tuple[str, ...], settle: str, count: int | None, walk: bool, as_json: bool) -> None:
    """Print each packet of LAB once its journey is complete, until Ctrl-C, or the reader or the lab goes.

    FILTER, in pcap's language, chooses packets that fit it on any wire. --json prints one object a line.
    For example: netemu watch nodeport tcp port 8080
    """
    from netemu.cli import live

    live.watch(lab, " ".join(words), settle, count, walk, as_json)
