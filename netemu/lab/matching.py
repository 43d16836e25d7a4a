"""Whether a line matches a regular expression, found out in bounded time.

Python's engine tries one way after another; some expressions, as `(a+)+b`, have exponentially many ways to fail. The
search looks for signals (MAYBE_CHECK_SIGNALS in Modules/_sre/sre_lib.h), so a timer's handler can end it.
"""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Sequence

from netemu.errors import UsageError

LONGEST = 0.5
"""Seconds of processor time that one look at new lines may take."""


def any_matches(pattern: re.Pattern[str], lines: Sequence[str]) -> bool:
    """Whether one of some lines matches; unbounded outside of the main thread, which alone has signal handlers.

    Raises UsageError if that takes longer than LONGEST.
    """
    if threading.current_thread() is not threading.main_thread():
        return any(pattern.search(line) for line in lines)
    armed = True

    def end(_signal: int, _frame: object) -> None:
        if armed:  # it may still be on its way when the search is over
            raise TimeoutError

    before = signal.signal(signal.SIGVTALRM, end)
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, LONGEST)
        return any(pattern.search(line) for line in lines)
    except TimeoutError:
        raise UsageError(
            f"'{pattern.pattern}' takes too long on a line of its output: write it so that a text matches in few ways"
        ) from None
    finally:
        armed = False
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
