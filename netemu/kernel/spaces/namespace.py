"""A network namespace held by a descriptor: the kernel frees it, and all that is in it, when the last holder closes.

A socket belongs for life to the namespace that its thread was in when it was made: step in, make it, step out.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from netemu.errors import KernelError, PrivilegeError
from netemu.kernel.spaces.descriptors import out_of_the_way
from netemu.kernel.spaces.syscalls import CLONE_NEWNET, setns, unshare

_OWN = "/proc/thread-self/ns/net"


class NetworkNamespace:
    """One network namespace. Make it with `create`; `close` lets go of it."""

    def __init__(self, name: str, fd: int) -> None:
        self.name = name
        self.fd = fd

    @classmethod
    def create(cls, name: str) -> NetworkNamespace:
        """A new, empty namespace. Raises PrivilegeError or KernelError."""
        try:
            with back_home():
                return cls.around(name)
        except OSError as error:
            raise _namespace_error(error, name) from error

    @classmethod
    def around(cls, name: str) -> NetworkNamespace:
        """A new, empty namespace, which the calling thread is in from now on: for use inside `back_home`. Raises alike.

        So many are made one after the other without a step out of each.
        """
        try:
            unshare(CLONE_NEWNET)
            return cls(name, out_of_the_way(os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)))
        except OSError as error:
            raise _namespace_error(error, name) from error

    @contextmanager
    def entered(self) -> Iterator[None]:
        """The calling thread is in this namespace inside the `with`. Never await in there."""
        with back_home():
            setns(self.fd, CLONE_NEWNET)
            yield

    def close(self) -> None:
        """Let go; once is enough, twice does no harm."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


@contextmanager
def back_home() -> Iterator[None]:
    """After the `with` the calling thread is in the namespace again that it was in before. Never await in there."""
    home = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            yield
        finally:
            setns(home, CLONE_NEWNET)
    finally:
        os.close(home)


def _namespace_error(error: OSError, name: str) -> Exception:
    if error.errno == errno.EPERM:
        return PrivilegeError("making network namespaces needs root (CAP_SYS_ADMIN): run it with sudo")
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return KernelError(f"host {name}: out of file descriptors: raise the limit (ulimit -n)")
    if error.errno == errno.ENOSPC:
        return KernelError(f"host {name}: too many network namespaces: raise user.max_net_namespaces")
    return KernelError(f"host {name}: the kernel made no network namespace: {error.strerror}")
