"""Mounting over a folder while what is mounted below it stays in sight."""

from __future__ import annotations

import os

from .calls import MS_BIND, MS_REC, mount


class Covering:
    """Inside the `with`, something is mounted over `folder`; afterwards what was mounted below is put back there.

    So is the folder `also`, if it lies below.
    """

    def __init__(self, folder: str, also: str = "") -> None:
        paths = [*mounted_below(folder), *([also] if is_below(also, folder) else [])]
        self._kept = [(path, os.open(path, os.O_PATH)) for path in paths]

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *_more: object) -> None:
        try:
            for path, fd in self._kept:
                if kind is None and os.path.exists(path):
                    mount(f"/proc/self/fd/{fd}", path, flags=MS_BIND | MS_REC)
        finally:
            for _, fd in self._kept:
                os.close(fd)


def mounted_below(folder: str) -> list[str]:
    """The mount points below a folder, without those below one of them: they come along with it."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        points = sorted({_unescaped(line.split()[4]) for line in file})
    found: list[str] = []
    for point in points:
        if is_below(point, folder) and not any(is_below(point, other) for other in found) and os.path.exists(point):
            found.append(point)
    return found


def is_below(path: str, folder: str) -> bool:
    """Whether a path lies below a folder, by their names."""
    return path != folder and path.startswith(f"{folder.rstrip('/')}/")


def _unescaped(path: str) -> str:
    """A path as /proc/self/mountinfo writes it: blanks, tabs, newlines and backslashes are octal (proc(5))."""
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        path = path.replace(code, character)
    return path
