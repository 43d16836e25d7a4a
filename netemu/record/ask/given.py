"""Values that words are given: each is what its word takes, or UsageError says what that would be."""

from __future__ import annotations

import numpy as np

from netemu.errors import UsageError
from netemu.topology.naming import hint


def number(value: int | str, what: str) -> int:
    """The number that was given, or text of decimal digits."""
    if isinstance(value, str) and value.isdecimal() and value.isascii():
        return int(value)
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return int(value)
    raise UsageError(f"'{value}' is no number for {what}")


def within(value: int, what: str, first: int, last: int) -> int:
    """The value, from `first` to `last`."""
    if not first <= value <= last:
        raise UsageError(f"there is no {what} {value}: write {first} to {last}")
    return value


def true_or_false(what: str, value: object) -> None:
    """A truth value was given."""
    if not isinstance(value, bool | np.bool_):
        raise UsageError(f"{what} is True or False, not {value!r}")


def one_of(what: str, value: str, known: tuple[str, ...]) -> None:
    """One of the `known` was given."""
    if value not in known:
        raise UsageError(f"there is no {what} '{value}'{hint(str(value), known)}")
