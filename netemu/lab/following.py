"""Services' logs of a lab that another process holds: read whole, and followed as they grow."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from netemu.errors import NetemuError
from netemu.kernel.processes.growth import Growth
from netemu.lab.asking import ask

_MOST_SERVICES = 250
"""Descriptors that one message can carry (SCM_MAX_FD in net/core/scm.c), less a few."""
_PIECE = 65536


def logs(
    lab: str, host: str | None = None, service: str | None = None, *, follow: bool = False
) -> Iterator[tuple[str, bytes]]:
    """Pieces of what a host's services wrote, each with its service's name; with `follow`, until the lab is down.

    Without `host` they are those of all hosts, by HOST:SERVICE. A service that has written nothing by now gives one
    empty piece, once the others have given what there is; of whom there are no services, nothing comes, and it ends.
    Raises UsageError if there is no such lab, host or service.
    """
    facts, _ = ask(lab, {"do": "facts"})

    def open_() -> dict[str, int]:
        return _open(lab, host, service) if host is not None else _open_all(lab, facts["hosts"])

    there = open_()
    end = os.pidfd_open(facts["pid"])
    try:
        yield from _read_before(there)
        yield from _read(there)
        yield from ((name, b"") for name, fd in there.items() if _is_empty(fd))
        while True:
            growth = Growth(list(there.values()))  # before reading: what comes in between is told
            try:
                yield from _read(there)
                ended = not there or not follow or not growth.wait(end)
            finally:
                growth.close()
            aside = _aside(there)
            yield from _read(there)  # the rest of what is put aside
            if ended:
                return
            if aside:
                there = _renewed(there, aside, open_)
    finally:
        os.close(end)
        for fd in there.values():
            os.close(fd)


def _open(lab: str, host: str, service: str | None) -> dict[str, int]:
    request = {"do": "logs", "host": host} | ({"service": service} if service is not None else {})
    answer, fds = ask(lab, request, _MOST_SERVICES)
    return dict(zip(answer["services"], fds, strict=True))


def _open_all(lab: str, hosts: Sequence[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    try:
        for host in hosts:
            found |= {f"{host}:{name}": fd for name, fd in _open(lab, host, None).items()}
    except BaseException:
        for fd in found.values():
            os.close(fd)
        raise
    return found


def _is_empty(log: int) -> bool:
    """Whether nothing is in a log, nor was before it became so long that it was put aside."""
    return os.fstat(log).st_size == 0 and not os.path.exists(os.readlink(f"/proc/self/fd/{log}") + ".1")


def _read_before(there: dict[str, int]) -> Iterator[tuple[str, bytes]]:
    """What was in logs before they became so long that they were put aside."""
    for name, fd in there.items():
        with suppress(FileNotFoundError), Path(os.readlink(f"/proc/self/fd/{fd}") + ".1").open("rb") as before:
            if not os.path.sameopenfile(before.fileno(), fd):  # else it was put aside just now
                while piece := before.read(_PIECE):
                    yield name, piece


def _read(there: dict[str, int]) -> Iterator[tuple[str, bytes]]:
    for name, fd in there.items():
        while piece := os.read(fd, _PIECE):
            yield name, piece


def _aside(there: dict[str, int]) -> list[str]:
    """The services whose log grew so long that it was put aside for a new one."""
    return [name for name, fd in there.items() if os.readlink(f"/proc/self/fd/{fd}").endswith((".1", " (deleted)"))]


def _renewed(there: dict[str, int], aside: list[str], open_: Callable[[], dict[str, int]]) -> dict[str, int]:
    try:
        fresh = open_()
    except NetemuError:
        return there  # going down
    for name in fresh.keys() - aside:
        os.close(fresh[name])
    for name in aside:
        os.close(there[name])
    return there | {name: fresh[name] for name in aside}
