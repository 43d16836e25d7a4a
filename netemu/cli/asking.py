"""The commands about labs that are up: ls, down, exec, shell."""

from __future__ import annotations

import sys

import click

from netemu.cli.options import host_argument, json_option, lab_argument
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
