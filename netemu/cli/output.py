"""Standard output: what goes wrong with it is told from what goes wrong with any other file."""

from __future__ import annotations

import io
import sys
from typing import Any

from netemu import UsageError


class OutputError(OSError):
    """Standard output can't be written to."""


class Output(io.FileIO):
    """The descriptor 1. What a reader that went is sent goes nowhere, so that a command's exit code is what it is.

    All else that goes wrong is OutputError.
    """

    reader_gone = False

    def __init__(self) -> None:
        super().__init__(1, "w", closefd=False)

    def write(self, data: Any, /) -> int:
        """Write; how many bytes were."""
        try:
            return super().write(data)
        except BrokenPipeError:
            Output.reader_gone = True
            return len(data)
        except OSError as error:
            raise OutputError(error.errno, error.strerror) from error


def guarded(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    """Standard output as text, over `Output`; what the locale can't say is printed as `?`."""
    buffer = io.BufferedWriter(Output())
    return io.TextIOWrapper(buffer, stream.encoding, errors="replace", line_buffering=stream.line_buffering)


def refuse_terminal() -> None:
    """Raise UsageError where standard output is a terminal: what is written is not for eyes; or where it is closed."""
    refuse_closed()
    if sys.stdout.isatty():
        raise UsageError("a capture is not for a terminal: pipe it (| wireshark -k -i -), or name a file")


def refuse_closed() -> None:
    """Raise UsageError where this process was started without a standard output: nobody would ever read it."""
    if sys.__stdout__ is None:
        raise UsageError("standard output is closed: pipe it, or send it to a file")
