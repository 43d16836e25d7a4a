"""The commands, their options, and what an error looks like. Heavy imports wait until a command needs them."""

from __future__ import annotations

import io
import os
import signal
import sys
from typing import Any, NoReturn

import click

from netemu.cli.complaint import INTERRUPTED, complain, discard_output

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
all_option = click.option("--all", "unfold", is_flag=True, help="Print every packet, also those alike to one before.")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="netemu")
def cli() -> None:
    """Networks of real Linux namespaces whose every packet is recorded, followed and checked.

    LAB is the name of a topology that comes with netemu, or a file. Exit codes: 0 pass, 1 fail, 2 usage or bad
    topology, 3 unproven, 4 the machine lacks something.
    """


@cli.command(short_help="Build LAB, show its packets' walks and the verdict, leave it up.")
@click.argument("lab")
@json_option
@all_option
def up(lab: str, as_json: bool, unfold: bool) -> None:
    """Build LAB, send its traffic, show each packet's walk and the verdict; leave it up."""
    _be_able()
    from netemu.cli import labs

    sys.exit(labs.up(lab, as_json, unfold))


@cli.command()
@click.argument("lab")
@json_option
@all_option
def run(lab: str, as_json: bool, unfold: bool) -> None:
    """Do what up does, and take the lab down again."""
    _be_able()
    from netemu.cli import labs

    sys.exit(labs.run(lab, as_json, unfold))


@cli.command()
@click.argument("lab")
def down(lab: str) -> None:
    """Take LAB down."""
    from netemu.cli import held

    held.down(lab)


@cli.command()
@json_option
def ls(as_json: bool) -> None:
    """List the labs that are up."""
    from netemu.cli import held

    held.ls(as_json)


@cli.command(
    "exec",
    short_help="Run a command on a host of LAB.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("lab")
@click.argument("host")
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


@cli.command()
@click.argument("file")
@json_option
def validate(file: str, as_json: bool) -> None:
    """Say whether FILE can be built, and what is wrong with it if not.

    FILE may also be the name of a topology that comes with netemu.
    """
    from netemu.cli import files

    sys.exit(files.validate(file, as_json))


@cli.command()
def schema() -> None:
    """Print the topology file's JSON Schema."""
    from netemu.cli import files

    files.schema()


@cli.command(short_help="Try what labs need of this machine.")
@json_option
def doctor(as_json: bool) -> None:
    """Try what labs need of this machine, and say what installs what is missing."""
    from netemu.cli import machine

    sys.exit(machine.doctor(as_json))


def _be_able() -> None:
    """Without root, make labs in a user namespace: entered before anything starts a thread."""
    from netemu import enter_user_namespace

    enter_user_namespace()


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and exit."""
    _stand_ready()
    code: Any = 0
    try:
        code = cli.main(arguments, standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Exit as exit_:
        code = exit_.exit_code
    except click.ClickException as error:
        error.show()
        code = 2
    except SystemExit as exit_:
        code = exit_.code
    except BrokenPipeError:
        discard_output()
    except BaseException as error:  # noqa: BLE001  no traceback at a user, whatever it is
        _be_left_alone()
        code = complain(KeyboardInterrupt() if isinstance(error, click.Abort) else error)
    _be_left_alone()
    sys.exit(code or 0)


def _be_left_alone() -> None:
    """This process is ending: more of the same keys only get in the way of that."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _stand_ready() -> None:
    """Be stopped by SIGTERM as by Ctrl-C; have all three standard streams; print what the locale can't as `?`."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number is this one
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8")
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _stop(_number: int, _frame: object) -> NoReturn:
    """End at once, while this process has made nothing yet: an exception could surface inside any callback.

    While there is something to undo, whoever made it has handlers of its own in place.
    """
    os.write(2, b"netemu: interrupted\n")
    os._exit(INTERRUPTED)
