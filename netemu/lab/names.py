"""What names a lab's hosts: one /etc/hosts for all of them, an /etc/hostname for each, written when they are needed."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from netemu.topology.model import Topology
from netemu.topology.names import hosts_file

HOSTNAME = "/etc/hostname"


class Names:
    """Where they are, once they are written."""

    def __init__(self, topology: Topology, folder: Path) -> None:
        self.topology = topology
        self.folder = folder
        self.path = folder / "hosts"
        self._written = False

    def file(self) -> Path:
        """The file; it is written the first time that it is asked for."""
        if not self._written:
            self.path.write_text(hosts_file(self.topology), encoding="utf-8")
            self.path.chmod(0o644)
            self._written = True
        return self.path

    def covers(self, host: str, placed: Iterable[str]) -> list[tuple[Path, str]]:
        """What is to cover files of this machine on a host whose topology places `placed`: each with where it is."""
        if os.path.realpath(HOSTNAME) in {os.path.realpath(target) for target in placed}:
            return []
        own = self.folder / f"{host}.hostname"
        own.write_text(f"{host}\n", encoding="utf-8")
        own.chmod(0o644)
        return [(own, HOSTNAME)]
