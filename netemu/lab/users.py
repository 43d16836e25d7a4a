"""Whether the users that a topology names are there: asked before anything is built.

In an ordinary user's own user namespace only those are whose numbers are mapped there (user_namespaces(7)): root, and
the user's subordinate ids where newuidmap maps them.
"""

from __future__ import annotations

import pwd

from netemu.errors import MachineError, TopologyError
from netemu.kernel.spaces.userspace import mapped_ids, no_other_users
from netemu.topology.document import Path
from netemu.topology.hostfile import HostFile
from netemu.topology.load import Source
from netemu.topology.model import Host, Topology

_USERS = "/etc/passwd"


def require_users(topology: Topology, source: Source) -> None:
    """Raise TopologyError that names every user whom nobody knows, MachineError those who aren't here without root."""
    uids, gids = mapped_ids("uid"), mapped_ids("gid")
    unknown, problems = [], []
    for name, host in topology.hosts.items():
        for user, path in _wanted(host, ("hosts", name)).items():
            numbers = _numbers(user, host)
            if numbers is None:
                unknown.append(source.problem(f"host {name}: there is no user {user}", path))
                continue
            for number, there, kind in ((numbers[0], uids, "user"), (numbers[1], gids, "group")):
                if not any(number in each for each in there):
                    who = f"user {user}" if user == str(number) else f"user {user} has {kind} number {number}, which"
                    problems.append(source.problem(f"{who} is not there without root", path))
                    break
    if unknown:
        raise TopologyError(unknown)
    if problems:
        raise MachineError("\n".join([*map(str, problems), no_other_users()]))


def _wanted(host: Host, path: Path) -> dict[str, Path]:
    """The users that a host's services run as, or would, each with where the topology first says so."""
    found: dict[str, Path] = {}
    if host.user is not None:
        found[str(host.user)] = (*path, "user")
    for name, service in host.services.items():
        if service.user is not None:
            found.setdefault(str(service.user), (*path, "services", name, "user"))
    return found


def _numbers(user: str, host: Host) -> tuple[int, int] | None:
    """A user's number and its group's, as the host's /etc/passwd has them; None for a name that is nobody's."""
    entry = _placed(user, host.files[_USERS]) if _USERS in host.files else _machines(user)
    if entry is None and user.isdigit():
        return int(user), int(user)  # as kernel/init/spawn.py takes it
    return entry


def _placed(user: str, file: HostFile) -> tuple[int, int] | None:
    """From a passwd(5) that the topology places."""
    for line in file.data.decode(errors="replace").splitlines():
        name, *rest = line.split(":")
        if len(rest) > 2 and user in (name, rest[1]) and rest[1].isdigit() and rest[2].isdigit():
            return int(rest[1]), int(rest[2])
    return None


def _machines(user: str) -> tuple[int, int] | None:
    try:
        entry = pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
    except (KeyError, OverflowError):
        return None
    return entry.pw_uid, entry.pw_gid
