"""A sysctl's name: parted by dots or by slashes, as sysctl(8) has it, and one name whichever way it is written."""

from __future__ import annotations

from collections.abc import Iterable

_SWAPPED = str.maketrans("./", "/.")


def dotted(name: str) -> str:
    """A name parted by dots: where its first separator is a slash, slashes part it, and dots are dots."""
    return swapped(name) if name.startswith("net/") else name


def swapped(name: str) -> str:
    """A name that dots part as its path below /proc/sys, where a slash stood for a dot, and back."""
    return name.translate(_SWAPPED)


def twice(names: Iterable[str]) -> tuple[str, str] | None:
    """The first name that is an earlier one in the other spelling, and that one; None if all are different sysctls."""
    first: dict[str, str] = {}
    for name in names:
        other = first.setdefault(dotted(name), name)
        if other != name:
            return name, other
    return None
