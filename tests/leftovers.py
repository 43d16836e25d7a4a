"""What this process, those it started, and the tests' own /run hold: equal before and after, if nothing was left.

A network namespace lives as long as a process, a descriptor, a mount or a mapped packet ring holds it. All of those
are looked at here, so no namespace (nor what is in it) is left where nothing here differs.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections import Counter
from pathlib import Path

_SUBREAPER = 36
"""PR_SET_CHILD_SUBREAPER (prctl(2))."""
_STAY = {"/run/netemu", "/run/netemu/.lock", "/run/netns", "/run/xtables.lock", "/run/mount", "/run/mount/utab"}
"""What is made once, empty, and serves every lab; what mount(8) keeps for itself."""
_SHOWN = ("/run/checkout", "/run/environment")
"""What ordinary_user.py shows to other users, for as long as the tests run."""

Belongings = dict[str, Counter[str]]


def adopt_orphans() -> None:
    """From now on whoever loses its parent below this process becomes its child: nothing slips out of sight."""
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)


def descendants() -> dict[int, str]:
    """Every process below this one that has not ended, in whatever namespaces, with its command."""
    parents: dict[int, list[int]] = {}
    found: dict[int, tuple[str, str]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue  # it ended meanwhile
        parents.setdefault(int(parent), []).append(int(entry.name))
        found[int(entry.name)] = state, command
    below, todo = {}, [os.getpid()]
    while todo:
        for child in parents.get(todo.pop(), []):
            todo.append(child)
            state, command = found[child]
            if state != "Z":
                below[child] = command
    return below


def reap(known: set[int]) -> None:
    """Collect those adopted that have ended; `known` are children that somebody else waits for."""
    for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        if int(child) not in known:
            try:
                os.waitpid(int(child), os.WNOHANG)
            except ChildProcessError:
                continue


def belongings() -> Belongings:
    """All that a lab of this process, or of one that it started, may leave."""
    return {
        "descriptors": Counter(_descriptors()),
        "processes": Counter(descendants().values()),
        "files in /run": Counter(files()),
        "mounts": Counter(_mounts()),
        "packet rings": Counter(line for line in Path("/proc/self/maps").read_text().splitlines() if "socket:" in line),
        "namespaces of threads": Counter(_namespaces()),
    }


def left(before: Belongings, within: float = 2.0) -> Belongings:
    """What there is now beyond `before`, once nothing is or `within` seconds are over."""
    end = time.monotonic() + within
    while more := {kind: new for kind, things in belongings().items() if (new := things - before[kind])}:
        if time.monotonic() > end:
            return more
        reap(set())
        time.sleep(0.02)
    return {}


def _descriptors() -> list[str]:
    """Each descriptor by what it leads to, without the numbers that differ from one to the next."""
    kinds = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            kinds.append(os.readlink(f"/proc/self/fd/{fd}").split(":[")[0])
        except OSError:
            continue  # the listing's own
    return [kind for kind in kinds if not kind.startswith("/proc/")]


def _mounts() -> list[str]:
    """Every mount, without its number, which differs from one to the next."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [what for line in lines if not (what := line.split(" ", 4)[4]).startswith(_SHOWN)]


def files() -> list[str]:
    """All that is in /run, but for what stays."""
    found = []
    for folder, folders, names in os.walk("/run"):
        folders[:] = [name for name in folders if f"{folder}/{name}" not in _SHOWN]
        found += [f"{folder}/{name}" for name in folders + names]
    return [path for path in found if path not in _STAY]


def _namespaces() -> set[str]:
    """The kinds of namespace in which a thread of this process is elsewhere than its main thread."""
    home = {kind: os.readlink(f"/proc/self/ns/{kind}") for kind in ("net", "mnt", "uts")}
    home["pid"] = os.readlink("/proc/self/ns/pid_for_children")
    strayed = set()
    for thread in os.listdir("/proc/self/task"):
        for kind, where in home.items():
            name = "pid_for_children" if kind == "pid" else kind
            try:
                if os.readlink(f"/proc/self/task/{thread}/ns/{name}") != where:
                    strayed.add(f"{kind} of a thread")
            except OSError:
                continue  # a thread that ended meanwhile
    main = os.readlink("/proc/self/ns/net")
    return strayed | {f"main thread in {main}"}
