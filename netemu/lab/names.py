"""The /etc/hosts of a lab's hosts: one file for all of them, written when the first of them needs it."""

from __future__ import annotations

from pathlib import Path

from netemu.topology.model import Topology
from netemu.topology.names import hosts_file


class Names:
    """Where it is, once it is written."""

    def __init__(self, topology: Topology, folder: Path) -> None:
        self.topology = topology
        self.path = folder / "hosts"
        self._written = False

    def file(self) -> Path:
        """The file; it is written the first time that it is asked for."""
        if not self._written:
            self.path.write_text(hosts_file(self.topology), encoding="utf-8")
            self.path.chmod(0o644)
            self._written = True
        return self.path
