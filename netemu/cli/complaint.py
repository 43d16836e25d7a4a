"""What an error looks like to a person, and which exit code it has."""

from __future__ import annotations

import os
import resource
import signal
import sys

import click

from netemu import Interrupted, MachineError, NetemuError, UsageError
from netemu.cli.output import OutputError

MACHINE = 4
_OUT_OF_MEMORY = ("can't start new thread", "failed to map segment")
"""What Python and the dynamic linker say of it."""
INTERNAL = 70
_SPACE = 160 << 20
"""Bytes of address space that Python takes with all that a record needs, beside what a lab takes."""


def require_address_space() -> None:
    """Raise MachineError where a limit leaves too little for what comes with a record.

    Near its end libraries of others crash, or try for ever, and Python can no longer say anything.
    """
    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    if most != resource.RLIM_INFINITY and most < _SPACE:
        raise MachineError(
            f"out of memory: that takes at least {_SPACE >> 20} MiB of address space, and more for each host, and the"
            f" limit is {most >> 20}: raise it (ulimit -v)"
        )


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
