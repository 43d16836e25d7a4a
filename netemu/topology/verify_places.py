"""Whether a host can be the place that is asked for: its files, and services that wait for each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise

from netemu.topology.document import Path
from netemu.topology.fault import Fault, there_are
from netemu.topology.model import Host, Topology

THE_KERNELS = ("/proc", "/sys", "/dev")
"""Folders in which no file can be placed."""
_NEEDED = ("/", *THE_KERNELS, "/etc", "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64")
_SHARED = "/dev/shm"  # noqa: S108  a tmpfs on every machine, where two hosts' shared memory would meet
ServiceKey = tuple[str, str]
"""A host and one of its services."""


def faults(topology: Topology) -> Iterator[Fault]:
    """Everything about a topology's files, folders and services that does not fit."""
    for host_name, host in topology.hosts.items():
        yield from _files(host_name, host)
        yield from _folders(host_name, host)
    waits: dict[ServiceKey, list[tuple[ServiceKey, Path]]] = {}
    for host_name, host in topology.hosts.items():
        for name, service in host.services.items():
            for index, text in enumerate(service.after):
                path: Path = ("hosts", host_name, "services", name, "after", index)
                other_host, other = service_key(host_name, text)
                if other_host not in topology.hosts:
                    yield Fault(path, f"no host '{other_host}': {there_are(topology.hosts)}")
                elif other not in (services := topology.hosts[other_host].services):
                    yield Fault(path, f"no service '{other}' on host '{other_host}': {there_are(services)}")
                else:
                    waits.setdefault((host_name, name), []).append(((other_host, other), path))
    yield from _cycles(waits)


def service_key(host: str, text: str) -> ServiceKey:
    """The service that `SERVICE` or `HOST:SERVICE` means on a host."""
    before, colon, after = text.partition(":")
    return (before, after) if colon else (host, text)


def _plain(name: str) -> str:
    """A place without what means nothing in it: `/a//./b/` is `/a/b`."""
    return "/" + "/".join(part for part in name.split("/") if part not in ("", "."))


def _files(host_name: str, host: Host) -> Iterator[Fault]:
    plain = {name: _plain(name) for name in host.files}
    first = {place: name for name, place in reversed(plain.items())}
    folders = sorted(first)
    for name, place in plain.items():
        path: Path = ("hosts", host_name, "files", name)
        if ".." in place.split("/"):
            yield Fault(path, "write its place without '..'")
        elif any(place == root or place.startswith(f"{root}/") for root in THE_KERNELS):
            yield Fault(path, f"{place} is the kernel's: no file can be placed there")
        elif first[place] != name:
            yield Fault(path, f"is {first[place]} once more")
    for folder, inner in pairwise(folders):
        if inner.startswith(f"{folder}/"):
            yield Fault(("hosts", host_name, "files", first[inner]), f"{folder} is a file, it can't be a folder too")


def _folders(host_name: str, host: Host) -> Iterator[Fault]:
    places = [_plain(name) for name in host.tmpfs]
    for index, place in enumerate(places):
        path: Path = ("hosts", host_name, "tmpfs", index)
        above = next(
            (name for name, other in zip(host.tmpfs, places, strict=True) if place.startswith(f"{other}/")), None
        )
        if ".." in place.split("/"):
            yield Fault(path, "write its place without '..'")
        elif place in _NEEDED:
            yield Fault(path, f"{place} can't be empty: every process needs what is there")
        elif place != _SHARED and any(place.startswith(f"{root}/") for root in THE_KERNELS):
            yield Fault(path, f"{place} is the kernel's: it can't be empty")
        elif place in places[:index]:
            yield Fault(path, f"is {host.tmpfs[places.index(place)]} once more")
        elif above is not None:
            yield Fault(path, f"is in {above}, an empty one")


def _cycles(waits: Mapping[ServiceKey, list[tuple[ServiceKey, Path]]]) -> Iterator[Fault]:
    """Each service that waits for itself in the end is told once, with the way round."""
    done: set[ServiceKey] = set()
    for start in waits:
        way: dict[ServiceKey, Path] = {}
        stack = [(start, iter(waits[start]))]
        while stack:
            here, rest = stack[-1]
            if here in done or (step := next(rest, None)) is None:
                stack.pop()
                done.add(here)
                way.pop(here, None)
                continue
            other, path = step
            way[here] = path
            if other in way:
                round_ = [*way][[*way].index(other) :]
                names = " after ".join(":".join(key) for key in (*round_, other))
                yield Fault(path, f"they wait for each other: {names}")
            elif other not in done:
                stack.append((other, iter(waits.get(other, ()))))
