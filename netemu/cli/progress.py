"""What takes longer than a second shows on a terminal how far it is: one line, gone when it is done."""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from rich.progress import Progress

PATIENCE = 1.0
"""Seconds before anything is shown."""


class ProgressLine:
    """A lab's `progress`: call it with how many things are made, and how many there are to make.

    Nothing shows unless standard error is a terminal. Its thread starts with the first call: a process that forks
    before that has none. Leave the `with`, or `close` it, before anything else is printed.
    """

    def __init__(self, lab: str) -> None:
        self.lab = lab
        self._done = self._total = 0
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._shown: Progress | None = None
        self._task: Any = None
        self._closed = not sys.stderr.isatty()

    def __call__(self, done: int, total: int) -> None:
        """So many of so many things are made."""
        with self._lock:
            self._done, self._total = done, total
            if self._closed:
                return
            if self._timer is None:
                self._timer = threading.Timer(PATIENCE, self._show)
                self._timer.daemon = True
                with suppress(RuntimeError):  # no more threads to be had: then nothing shows
                    self._timer.start()
            self._update()

    def close(self) -> None:
        """Take the line away; once is enough, twice does no harm."""
        with self._lock:
            self._closed = True
            shown, self._shown = self._shown, None
            if self._timer is not None:
                self._timer.cancel()
        if shown is not None:
            shown.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _show(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(20),
            TextColumn("{task.completed} of {task.total}"),
            TimeElapsedColumn(),
        )
        with self._lock:
            if self._closed:
                return
            self._shown = Progress(*columns, console=Console(stderr=True), transient=True)
            self._task = self._shown.add_task(self.lab, total=self._total)
            self._update()
            self._shown.start()

    def _update(self) -> None:
        if self._shown is not None:
            what = "sends its traffic" if self._done >= self._total else "comes up"
            description = f"{self.lab} {what}"
            self._shown.update(self._task, description=description, completed=self._done, total=self._total)
