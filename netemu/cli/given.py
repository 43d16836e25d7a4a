"""The topology that a command is given: a shipped one's name, a file, or the text on standard input.

Only light imports: commands that are given a lab's name should answer at once.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from netemu import Topology

STDIN = ("-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0")
"""The ways in which standard input is said."""


def is_text(lab: str) -> bool:
    """Whether a topology's text is meant, in a file or on standard input: not a name."""
    return lab == "-" or "/" in lab or lab.endswith((".yaml", ".yml"))


def file_name(lab: str) -> str:
    """The file that is meant, as messages name it. Raises UsageError if there is none."""
    from netemu import find

    return "<stdin>" if lab in STDIN else str(find(lab))


def given(lab: str, **more: Any) -> tuple[Topology, Any]:
    """What `load` gives of what is meant by `lab`, with the same options."""
    from netemu import UsageError, find, load

    if lab not in STDIN:
        return load(find(lab), **more)
    if sys.stdin is None:
        raise UsageError("standard input is closed: there is no topology to read")
    return load(sys.stdin, **more)
