"""Where the programs of a host's processes are looked for, root's too: in the caller's PATH, or in a plain one."""

from __future__ import annotations

import os
from collections.abc import Mapping

_ROOTS = ("/usr/local/sbin", "/usr/sbin", "/sbin")
"""On Debian, an ordinary user's PATH lacks them, and iptables, sysctl and tcpdump are there."""
PLAIN = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": "/"}
"""What services and traffic commands find in their environment, so that no lab hangs on its caller's shell."""


def with_roots_programs(environment: Mapping[str, str]) -> dict[str, str]:
    """The same environment, its PATH, where it has one, with those folders last that it lacks."""
    path = environment.get("PATH")
    if path is None:
        return dict(environment)
    folders = path.split(os.pathsep)
    return {**environment, "PATH": os.pathsep.join([*folders, *(each for each in _ROOTS if each not in folders)])}
