"""What to say of a name that is not there: the nearest that is, or those that are."""

from __future__ import annotations

from collections.abc import Sequence

MOST = 12
"""How many names are listed."""


def hint(name: str, known: Sequence[str]) -> str:
    """`, did you mean 'B'?`, or `: there are A, B, C`; ready to be put behind a message."""
    if found := near(name, known):
        return found
    return f": there are {listed(known)}" if len(known) != 1 else f": there is only {known[0]}"


def near(name: str, known: Sequence[str]) -> str:
    """`, did you mean 'B'?`, or nothing."""
    import difflib

    folded = {other.casefold(): other for other in reversed(known)}
    found = difflib.get_close_matches(name.casefold(), folded, n=1)
    return f", did you mean '{folded[found[0]]}'?" if found else ""


def listed(names: Sequence[str]) -> str:
    """`A, B, C`, `A, B, … 1000 in all`, or `none`."""
    if len(names) > MOST:
        return f"{', '.join(names[:MOST])}, … {len(names)} in all"
    return ", ".join(names) or "none"
