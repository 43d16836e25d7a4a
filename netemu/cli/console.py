"""Where text is printed: colour on a terminal, plain in a pipe, and how wide a line may be."""

from __future__ import annotations

import io
import shutil
import sys

from rich.console import Console

NARROWEST, PIPE = 60, 100


def console() -> Console:
    """A console that collects its text, for `printed`, as standard output would show it."""
    terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size((PIPE, 24)).columns if terminal else PIPE
    return Console(
        file=io.StringIO(),
        width=max(width, NARROWEST),
        force_terminal=terminal,
        highlight=False,
        soft_wrap=True,
        emoji=False,
        markup=False,
    )


def printed(made: Console) -> str:
    """The text that a console collected."""
    assert isinstance(made.file, io.StringIO)
    return made.file.getvalue()


def counted(number: int, what: str) -> str:
    """`1 host`, `2 hosts`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"
