"""Where text is printed: colour on a terminal, plain in a pipe, and how wide a line may be."""

from __future__ import annotations

import shutil
import sys

from rich.console import Console

NARROWEST, PIPE = 60, 100


def console() -> Console:
    """A console on standard output that never wraps a line by itself."""
    width = shutil.get_terminal_size((PIPE, 24)).columns if sys.stdout.isatty() else PIPE
    return Console(width=max(width, NARROWEST), highlight=False, soft_wrap=True, emoji=False, markup=False)
