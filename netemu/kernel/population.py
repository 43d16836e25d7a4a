"""Which processes live in which network namespaces, as /proc tells."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any


def processes_in(nets: Mapping[str, int]) -> dict[str, list[dict[str, Any]]]:
    """For each name, the processes in its namespace, given by a descriptor: `pid` as this process counts, `command`."""
    name_of = {os.fstat(fd).st_ino: name for name, fd in nets.items()}
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in nets}
    for entry in sorted(int(entry) for entry in os.listdir("/proc") if entry.isdigit()):
        try:
            name = name_of.get(os.stat(f"/proc/{entry}/ns/net").st_ino)
            if name is None:
                continue
            with open(f"/proc/{entry}/cmdline", "rb") as file:
                words = file.read().split(b"\0")[:-1]
        except OSError:
            continue  # gone meanwhile, or another user's
        if words:  # else it has ended, and is not collected yet
            found[name].append({"pid": entry, "command": [word.decode(errors="replace") for word in words]})
    return found
