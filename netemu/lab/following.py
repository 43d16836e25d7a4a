"""Services' logs of a lab that another process holds: read whole, and followed as they grow."""

from __future__ import annotations

import os
from collections.abc import Iterator

from netemu.errors import NetemuError
from netemu.kernel.processes.growth import Growth
from netemu.lab.asking import ask

_MOST_SERVICES = 250
"""Descriptors that one message can carry (SCM_MAX_FD in net/core/scm.c), less a few."""
_PIECE = 65536


def logs(lab: str, host: str, service: str | None = None, *, follow: bool = False) -> Iterator[tuple[str, bytes]]:
    """Pieces of what a host's services wrote, each with its service's name; with `follow`, until the lab is down.

    Raises UsageError if there is no such lab, host or service.
    """
    there = _open(lab, host, service)
    end = os.pidfd_open(ask(lab, {"do": "facts"})[0]["pid"])
    try:
        while True:
            growth = Growth(list(there.values()))  # before reading: what comes in between is told
            try:
                yield from _read(there)
                ended = not follow or not growth.wait(end)
            finally:
                growth.close()
            aside = _aside(there)
            yield from _read(there)  # the rest of what is put aside
            if ended:
                return
            if aside:
                there = _renewed(there, aside, lab, host, service)
    finally:
        os.close(end)
        for fd in there.values():
            os.close(fd)


def _open(lab: str, host: str, service: str | None) -> dict[str, int]:
    request = {"do": "logs", "host": host} | ({"service": service} if service is not None else {})
    answer, fds = ask(lab, request, _MOST_SERVICES)
    return dict(zip(answer["services"], fds, strict=True))


def _read(there: dict[str, int]) -> Iterator[tuple[str, bytes]]:
    for name, fd in there.items():
        while piece := os.read(fd, _PIECE):
            yield name, piece


def _aside(there: dict[str, int]) -> list[str]:
    """The services whose log grew so long that it was put aside for a new one."""
    return [name for name, fd in there.items() if os.readlink(f"/proc/self/fd/{fd}").endswith((".1", " (deleted)"))]


def _renewed(there: dict[str, int], aside: list[str], lab: str, host: str, service: str | None) -> dict[str, int]:
    try:
        fresh = _open(lab, host, service)
    except NetemuError:
        return there  # going down
    for name in fresh.keys() - aside:
        os.close(fresh[name])
    for name in aside:
        os.close(there[name])
    return there | {name: fresh[name] for name in aside}
