"""What an error looks like to a person, and which exit code it has."""

from __future__ import annotations

import os
import signal
import sys

import click

from netemu import Interrupted, NetemuError, UsageError
from netemu.cli.output import OutputError

MACHINE = 4
_OUT_OF_MEMORY = ("can't start new thread", "failed to map segment")
"""What Python and the dynamic linker say of it."""
INTERNAL = 70


def complain(error: BaseException) -> int:
    """Print an error as a person should see it; its exit code."""
    if isinstance(error, NetemuError):
        click.echo(f"netemu: {error}", err=True)
        return error.exit_code
    if isinstance(error, MemoryError) or any(said in str(error) for said in _OUT_OF_MEMORY):
        click.echo("netemu: out of memory, or of processes and threads (ulimit -v, ulimit -u)", err=True)
        return MACHINE
    from asyncio import CancelledError  # not before: with too little memory that would fail, too

    if isinstance(error, KeyboardInterrupt | CancelledError):
        error = Interrupted(signal.SIGINT)
    if isinstance(error, Interrupted):
        click.echo(f"netemu: {error}", err=True)
        return error.exit_code
    if isinstance(error, BrokenPipeError):
        return 0
    if isinstance(error, OutputError):
        discard_output()
        click.echo(f"netemu: standard output can't be written: {error.strerror}", err=True)
        return UsageError.exit_code
    if os.environ.get("NETEMU_DEBUG"):
        sys.excepthook(type(error), error, error.__traceback__)
    else:
        click.echo(
            f"netemu: a fault of netemu's own: {type(error).__name__}: {error}\n(NETEMU_DEBUG=1 shows where)", err=True
        )
    return INTERNAL


def discard_output() -> None:
    """Let what is still to be printed go nowhere: Python would complain of it at its end."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.close(nothing)
