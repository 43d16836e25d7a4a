"""Where the programs of a host's processes are looked for: also where root's are, as they may be root's there."""

from __future__ import annotations

import os
from collections.abc import Mapping

_ROOTS = ("/usr/local/sbin", "/usr/sbin", "/sbin")
"""On Debian, an ordinary user's PATH lacks them, and iptables, sysctl and tcpdump are there."""


def with_roots_programs(environment: Mapping[str, str]) -> dict[str, str]:
    """The same environment, its PATH, where it has one, with those folders last that it lacks."""
    path = environment.get("PATH")
    if path is None:
        return dict(environment)
    folders = path.split(os.pathsep)
    return {**environment, "PATH": os.pathsep.join([*folders, *(each for each in _ROOTS if each not in folders)])}
