"""Records kept in files: what `--record` writes, `check --record` reads, and `export` makes of them."""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from netemu import CaptureError, Record, Report, Topology, UsageError, check_lab
from netemu.cli.output import refuse_terminal

STDOUT = "-"


class Kept:
    """A file that will hold something once it is whole: written beside it, then renamed. Raises UsageError.

    It is none of `spared`, files that what will be in it comes from.

    The file beside is made at once, so that a place where nothing can be written is known before there is anything to
    write. `drop` it when done: a file that was kept stays.
    """

    def __init__(self, file: str, spared: Sequence[str] = ()) -> None:
        if file == STDOUT:
            raise UsageError("a record can't go to standard output, the report does: name a file (./- is one, too)")
        if any(_same(file, other) for other in spared):
            raise UsageError(f"{file} is what is read, and would be lost: name another file to write to")
        self.file = Path(os.path.realpath(file))
        if self.file.exists() and not self.file.is_file():
            raise UsageError(f"{file} is no regular file: name one to write to")
        self.beside = self.file.with_name(f".{self.file.name[:200]}.{secrets.token_hex(4)}")
        try:
            os.close(os.open(self.beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
        except OSError as error:
            raise UsageError(f"{file} can't be written: {error.strerror}") from error

    def keep(self) -> None:
        """What was written beside is whole: it takes the file's place. Raises OSError."""
        self.beside.replace(self.file)

    def drop(self) -> None:
        """Leave nothing beside; once is enough, twice does no harm."""
        self.beside.unlink(missing_ok=True)

    @contextlib.contextmanager
    def written(self) -> Iterator[IO[bytes]]:
        """The open file beside, kept if nothing goes wrong inside the `with`. Raises UsageError where writing does."""
        try:
            with self.beside.open("wb") as file:
                yield file
            self.keep()
        except OSError as error:
            raise UsageError(f"{self.file} can't be written: {error.strerror}") from error
        finally:
            self.drop()

    def save(self, record: Record) -> None:
        """Write a record and keep it. Raises UsageError."""
        with self.written() as out:
            record.write(out)


def _same(file: str, other: str) -> bool:
    """Whether both are one file, by whatever links."""
    try:
        return os.path.samefile(file, other)
    except OSError:
        return False


def load_record(file: str) -> Record:
    """A saved record. Raises UsageError for a file that can't be read, or is no record."""
    try:
        return Record.load(file)
    except CaptureError as error:
        raise UsageError(str(error)) from error


def recorded_report(topology: Topology, file: str) -> Report:
    """The topology's expectations held against a saved record."""
    return check_lab(topology, load_record(file))


def export(file: str, pcapng: str | None, parquet: str | None) -> None:
    """Write a saved record as pcapng, as Parquet, or as both; `-` is standard output.

    Both or none: what can't be had, or has no place, is told before anything is written.
    """
    if pcapng is None and parquet is None:
        raise UsageError("say what to write: --pcapng OUT for Wireshark, --parquet OUT for data frames; - is a pipe")
    if pcapng == parquet == STDOUT:
        raise UsageError("only one of the two can go to standard output")
    if pcapng is not None and parquet is not None and os.path.realpath(pcapng) == os.path.realpath(parquet):
        raise UsageError(f"{pcapng} can't be both: give each a file of its own")
    if STDOUT in (pcapng, parquet):
        refuse_terminal()
    record = load_record(file)
    whole = io.BytesIO()  # polars tells of a full disk in words of its own
    if parquet is not None:
        record.frame.write_parquet(whole)  # says what is missing before a file is made
    with contextlib.ExitStack() as outputs:
        outs = {out: outputs.enter_context(_opened(out, file)) for out in (pcapng, parquet) if out is not None}
        if pcapng is not None:
            outs[pcapng].writelines(record.pcapng())
        if parquet is not None:
            outs[parquet].write(whole.getbuffer())


@contextlib.contextmanager
def _opened(file: str, record: str) -> Iterator[IO[bytes]]:
    if file != STDOUT:
        with Kept(file, [record]).written() as out:
            yield out
        return
    yield sys.stdout.buffer
    sys.stdout.buffer.flush()
