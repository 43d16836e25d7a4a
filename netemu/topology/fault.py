"""What verification finds: one thing in a topology that does not fit, and where."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from netemu.topology.document import Path


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that does not fit: where in the topology, and what."""

    path: Path
    message: str


def there_are(names: Iterable[str]) -> str:
    """`there are A, B`: what could have been meant; shortened where it would be a wall of words."""
    known = list(names)
    shown = ", ".join(known[:10]) + (f" and {len(known) - 10} more" if len(known) > 10 else "")
    return f"there are {shown or 'none'}"
