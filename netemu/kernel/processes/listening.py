"""Which ports a namespace's processes listen on, read from /proc/net: nothing is sent, so nothing shows in a record.

The kernel tells nobody when a socket begins to listen, so this is looked at again and again: a read of some tens of
microseconds, until the service is there, has ended, or its time is over.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Literal

from netemu.kernel.spaces.namespace import NetworkNamespace

_LISTEN = "0A"
_ACCEPTS, _DATAGRAMS = 0x10000, "0002"
"""A unix socket's flag (__SO_ACCEPTCON) and type (SOCK_DGRAM)."""
_BETWEEN_LOOKS = 0.002


class Listening:
    """The listening sockets of one namespace; `close` when done."""

    def __init__(self, net: NetworkNamespace, protocol: Literal["tcp", "udp"]) -> None:
        self.protocol = protocol
        with net.entered():
            names = (f"/proc/thread-self/net/{protocol}", f"/proc/thread-self/net/{protocol}6")
            self.files = [os.open(name, os.O_RDONLY | os.O_CLOEXEC) for name in names if os.path.exists(name)]

    def ports(self) -> set[int]:
        """The ports that are listened on (TCP), or bound (UDP), right now."""
        found: set[int] = set()
        for fd in self.files:
            for line in _read(fd).splitlines()[1:]:
                fields = line.split()
                if self.protocol == "udp" or fields[3] == _LISTEN:
                    found.add(int(fields[1].rsplit(":", 1)[1], 16))
        return found

    async def until(self, port: int) -> None:
        """Return once `port` is listened on."""
        while port not in self.ports():  # noqa: ASYNC110  there is no event to wait on, see above
            await asyncio.sleep(_BETWEEN_LOOKS)

    def close(self) -> None:
        """Close the files; once is enough, twice does no harm."""
        while self.files:
            os.close(self.files.pop())


class UnixListening:
    """Whether somebody listens on a unix socket of one path, or has bound one for datagrams; `close` when done.

    The kernel tells a path as it was bound: one in `folder` may be relative, and has to be there too, as others may say
    the same of theirs. One that begins with @ is abstract.
    """

    def __init__(self, net: NetworkNamespace, path: str, folder: Path) -> None:
        self._whole = path.startswith(("/", "@"))
        self._place = folder / path
        self._names = {path} if self._whole else {os.path.normpath(path), os.path.normpath(self._place)}
        with net.entered():
            self._fd = os.open("/proc/thread-self/net/unix", os.O_RDONLY | os.O_CLOEXEC)

    def there(self) -> bool:
        """Whether somebody does right now."""
        if not self._whole and not self._place.is_socket():
            return False
        return any(self._serves(line.split(maxsplit=7)) for line in _read(self._fd).splitlines()[1:])

    async def until(self) -> None:
        """Return once somebody does."""
        while not self.there():  # noqa: ASYNC110  there is no event to wait on, see above
            await asyncio.sleep(_BETWEEN_LOOKS)

    def close(self) -> None:
        """Close the file; once is enough, twice does no harm."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _serves(self, fields: list[str]) -> bool:
        """Whether a line of /proc/net/unix is such a socket (net/unix/af_unix.c)."""
        accepts = len(fields) > 7 and (int(fields[3], 16) & _ACCEPTS or fields[4] == _DATAGRAMS)
        if not accepts:
            return False
        return fields[7] in self._names or (not self._whole and os.path.normpath(fields[7]) in self._names)


def _read(fd: int) -> str:
    os.lseek(fd, 0, os.SEEK_SET)
    parts: list[bytes] = []
    while part := os.read(fd, 65536):
        parts.append(part)
    return b"".join(parts).decode("ascii", "replace")
