"""What a service writes: taken off a pipe, kept in a file that does not grow without end, and looked at as it comes."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

from netemu.errors import UsageError
from netemu.lab.matching import any_matches

MOST = 1 << 20
"""Bytes after which a log becomes LOG.1, in the place of the one before, and a new one begins."""
_PIECE = 65536
_PIPE = 1 << 20
"""Bytes that a pipe may hold, its writer having made it as large as it may (pipe(7), pipe-max-size)."""


class Log:
    """One service's log: `writer` is for its processes, `lost` how many bytes found no room. `close` when done."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("wb", buffering=0)
        try:
            self._reader, self.writer = os.pipe()
        except OSError:
            self._file.close()
            raise
        os.set_blocking(self._reader, False)
        self.lost = 0
        self._rest = b""
        self._pattern: re.Pattern[str] | None = None
        self._matched = asyncio.Event()
        self.unmatched: UsageError | None = None
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._reader, self._take)

    def expect(self, pattern: str) -> asyncio.Event:
        """An event that is set once a line written from now on matches, or `unmatched` says why it never will."""
        self._pattern, self._matched, self.unmatched = re.compile(pattern), asyncio.Event(), None
        return self._matched

    async def until(self, pattern: str) -> None:
        """Return once a line written from now on matches a regular expression.

        Raises UsageError if the expression takes too long to be looked for.
        """
        await self.expect(pattern).wait()
        if self.unmatched is not None:
            raise self.unmatched

    def take(self) -> None:
        """Take what was written by now, at most what its pipe holds: of who writes without end there is always more."""
        for _ in range(_PIPE // _PIECE):
            if not self._take():
                return

    def last_lines(self, count: int) -> list[str]:
        """The last lines that are there by now."""
        self.take()
        return self.path.read_text(errors="replace").strip().splitlines()[-count:]

    def close(self) -> None:
        """Take what is still there, and close; once is enough, twice does no harm."""
        if self._reader < 0:
            return
        self._loop.remove_reader(self._reader)
        while self._take():
            pass
        os.close(self._reader)
        os.close(self.writer)
        self._reader = -1
        self._file.close()

    def _take(self) -> bool:
        try:
            data = os.read(self._reader, _PIECE)
        except BlockingIOError:
            return False
        self._store(data)
        if self._pattern is not None:
            *lines, self._rest = (self._rest + data).split(b"\n")
            texts = [line.decode(errors="replace") for line in (*lines, self._rest)]
            if self._looked_through(self._pattern, texts):
                self._pattern = None
                self._matched.set()
            self._rest = self._rest[-_PIECE:]
        return bool(data)

    def _looked_through(self, pattern: re.Pattern[str], texts: list[str]) -> bool:
        """Whether nothing more is to be looked for: one text matches, or that can't be told in time."""
        try:
            return any_matches(pattern, texts)
        except UsageError as error:
            self.unmatched = error
            return True

    def _store(self, data: bytes) -> None:
        """Keep what was written. On a full disk it is lost, and counted: the service and the lab go on."""
        kept, length = 0, len(data)
        try:
            if self._file.tell() + len(data) > MOST:
                whole = data.rfind(b"\n") + 1 or len(data)  # so that no line is in two files
                kept += self._file.write(data[:whole]) or 0
                self.path.replace(f"{self.path}.1")
                fresh = self.path.open("wb", buffering=0)
                self._file.close()
                self._file = fresh
                data = data[whole:]
            kept += self._file.write(data) or 0
        except OSError:
            pass
        self.lost += length - kept
