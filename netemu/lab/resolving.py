"""Whom a host's processes ask for a name: nobody but their /etc/hosts, unless the host is given name servers.

The machine's own name servers, and what else its nsswitch.conf(5) asks, are out of a host's reach: whoever asks them
waits long for nothing, and puts packets into the lab that nobody sent. A host whose topology places an
/etc/resolv.conf asks whom that names.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

RESOLV, SWITCH = "/etc/resolv.conf", "/etc/nsswitch.conf"
_CACHE = "/run/nscd/socket"
"""Of nscd(8), which the C library asks before anything else, and which asks for the machine."""
_NO_SERVER = """\
# A host of a lab has no name server, unless its topology places one in this file:
#   files: {/etc/resolv.conf: "nameserver 192.0.2.53\\n"}
options timeout:1 attempts:1
"""
_ON_THE_WIRE = frozenset(("dns", "nis", "nisplus", "hesiod"))
"""Sources whose questions the asking process itself sends over its network. What a daemon of the machine answers over
a socket (sss, systemd, ldap by nslcd) stays: users are the machine's."""


class Resolving:
    """The files of all hosts of a lab, in its folder; written as they are needed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._switches: dict[bool, Path] = {}

    def covers(self, host: str, placed: Iterable[str]) -> list[tuple[Path, str]]:
        """What is to cover files of this machine on a host whose topology places `placed`: each with where it is."""
        given = {os.path.realpath(target) for target in placed}
        asks = os.path.realpath(RESOLV) in given
        found = [(Path(os.devnull), _CACHE)]
        if not asks:
            own = self.folder / f"{host}.resolv.conf"  # a host's own: what writes to it does so for that host alone
            _write(own, _NO_SERVER)
            found.append((own, RESOLV))
        if os.path.realpath(SWITCH) not in given:
            found.append((self._switch(asks), SWITCH))
        return found

    def _switch(self, asks: bool) -> Path:
        if asks not in self._switches:
            try:
                text = Path(SWITCH).read_text(encoding="utf-8", errors="replace")
            except OSError:
                text = ""
            path = self.folder / ("nsswitch.asks" if asks else "nsswitch")
            _write(path, switch(text, asks=asks))
            self._switches[asks] = path
        return self._switches[asks]


def switch(text: str, *, asks: bool) -> str:
    """An nsswitch.conf(5) by which hosts come from files, and then, if the host `asks`, from its name servers.

    Whatever else there is stays, without sources that ask over the network.
    """
    lines = [f"hosts: files{' dns' if asks else ''}"]
    for line in text.splitlines():
        database, colon, sources = line.partition("#")[0].partition(":")
        if colon and database.strip() != "hosts":
            lines.append(f"{database.strip()}: {' '.join(_local(sources)) or 'files'}")
    return "\n".join(lines) + "\n"


def _local(sources: str) -> list[str]:
    """The sources that ask nobody on the network, each with the [STATUS=ACTION] behind it."""
    kept: list[str] = []
    wanted = True
    for word in sources.replace("[", " [").replace("]", "] ").split():
        in_action = word.startswith("[") or word.endswith("]") or "=" in word
        wanted = wanted if in_action else word not in _ON_THE_WIRE
        if wanted:
            kept.append(word)
    return kept


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o644)
