"""The command line's entry: its commands, and what an error looks like. Heavy imports wait until they are needed."""

from __future__ import annotations

import io
import os
import signal
import sys
from typing import Any, NoReturn

import click

from netemu import Interrupted
from netemu.cli import asking, building, recording, tending
from netemu.cli.complaint import complain
from netemu.cli.output import OutputError, guarded
from netemu.cli.sections import Sections

_THREADS = "OPENBLAS_NUM_THREADS"


@click.group(cls=Sections, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="netemu")
def cli() -> None:
    """Networks of real Linux namespaces whose every packet is recorded, followed and checked.

    LAB is the name of a topology that comes with netemu, or a file; for a lab that is up, its name. Exit codes: 0 pass,
    1 fail, 2 usage or bad topology, 3 unproven, 4 the machine lacks something.
    """


assert isinstance(cli, Sections)
cli.add_section("Bring labs up and down", building.up, building.run, asking.down, asking.ls)
cli.add_section(
    "In a lab that is up", asking.show, asking.exec_, asking.shell, asking.logs, asking.restart, asking.link
)
cli.add_section("What was seen", asking.watch, asking.capture, building.check, building.export, recording.journeys)
cli.add_section("Topologies", building.validate, building.graph, building.generate, building.schema)
cli.add_section("This machine", tending.doctor, tending.wipe, tending.completion)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and exit."""
    _stand_ready()
    _spare_threads()
    code: Any = 0
    try:
        code = _command(arguments)
        sys.stdout.flush()  # here what could not be written comes out, whatever the command was
    except OutputError as error:
        told = complain(error)
        code = code or told
    except BaseException as error:  # noqa: BLE001  no traceback at a user, whatever it is
        _be_left_alone()
        code = complain(KeyboardInterrupt() if isinstance(error, click.Abort) else error)
    _be_left_alone()
    sys.exit(code or 0)


def _command(arguments: list[str] | None) -> Any:
    """Run the command; its exit code."""
    try:
        return cli.main(arguments, prog_name="netemu", standalone_mode=False)
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except click.ClickException as error:
        error.show()
        return 2
    except SystemExit as exit_:
        return exit_.code


def _be_left_alone() -> None:
    """This process is ending: more of the same keys only get in the way of that."""
    for number in Interrupted.signals:
        signal.signal(number, signal.SIG_IGN)


def _stand_ready() -> None:
    """Be stopped by SIGTERM much as by Ctrl-C; have all three standard streams; print what the locale can't as `?`."""
    for number in Interrupted.heeded():
        signal.signal(number, _stop)
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number is this one
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8", closefd=False)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout = guarded(sys.stdout)
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(errors="replace")


def _spare_threads() -> None:
    """Have no threads for linear algebra, of which there is none here: numpy's would spin a while in every command.

    OpenBLAS reads this process's environment as C has it; `os.environ`, which the lab's commands get, stays as it is.
    """
    if _THREADS not in os.environ:
        os.putenv(_THREADS, "1")


def _stop(number: int, _frame: object) -> NoReturn:
    """End at once, while this process has made nothing yet: an exception could surface inside any callback.

    While there is something to undo, whoever made it has handlers of its own in place.
    """
    error = Interrupted(number)
    os.write(2, f"netemu: {error}\n".encode())
    os._exit(error.exit_code)
