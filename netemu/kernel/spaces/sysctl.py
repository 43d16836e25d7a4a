"""Sysctls of a network namespace: /proc/sys/net shows those of the namespace that opens it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Self

from netemu.errors import KernelError
from netemu.kernel.spaces.namespace import NetworkNamespace
from netemu.kernel.spaces.syscalls import detached_mount
from netemu.topology.sysctl import swapped

_RENEWED = 32


class ProcView:
    """A /proc of one's own, mounted nowhere, for those who write sysctls of many namespaces one after the other.

    The names of all namespaces' sysctls are in one chain of the kernel's name cache, which each look-up walks through
    (proc_sys_compare in fs/proc/proc_sysctl.c): with a thousand namespaces a write takes ten times as long. A new /proc
    has no names cached; this one is renewed every now and then. The machine's own serves for the first few, as letting
    go of one takes the kernel a millisecond, and where there can be none.
    """

    def __init__(self) -> None:
        self._fd: int | None = None
        self._used = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def write(self, net: NetworkNamespace, values: Iterable[tuple[str, str, bool]], *, inside: bool = False) -> None:
        """As `write_sysctls`."""
        if self._used and self._used % _RENEWED == 0:
            self._close()
            try:
                self._fd = detached_mount("proc")
            except OSError:
                self._fd = None  # before Linux 5.2, or not allowed here
        self._used += 1
        write_sysctls(net, values, self._fd, inside=inside)

    def _close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def read_sysctls(net: NetworkNamespace, names: Iterable[str]) -> dict[str, str]:
    """The values of those sysctls that the kernel has."""
    values = {}
    with net.entered():
        for name in names:
            try:
                with open(_path(name), encoding="utf-8") as file:
                    values[name] = file.read().strip()
            except OSError:
                pass  # one that can't be read is written, and what is wrong with it is said then
    return values


def write_sysctls(
    net: NetworkNamespace,
    values: Iterable[tuple[str, str, bool]],
    proc: int | None = None,
    *,
    inside: bool = False,
) -> None:
    """Write (name, value, wanted) in order; one that the kernel does not have is an error only where wanted.

    `proc` is the descriptor of another /proc than the machine's; `inside` is whether the thread is in `net` already.
    """
    with ExitStack() as stack:
        if not inside:
            stack.enter_context(net.entered())
        for name, value, wanted in values:
            try:
                try:
                    _write(name, value, proc)
                except OSError as error:
                    if error.errno != errno.EROFS or proc is not None:
                        raise
                    proc = detached_mount("proc")  # a container's may be read-only, where its root may mount another
                    stack.callback(os.close, proc)
                    _write(name, value, proc)
            except FileNotFoundError as error:
                if wanted:
                    raise KernelError(
                        f"host {net.name}: this kernel has no sysctl {name} for a network namespace"
                    ) from error
            except OSError as error:
                why = error.strerror
                if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                    why = "it is the whole machine's, or read-only: no namespace can set it"
                raise KernelError(f"host {net.name}: sysctl {name} = {value}: {why}") from error


def _write(name: str, value: str, proc: int | None) -> None:
    path = _path(name) if proc is None else _path(name).removeprefix("/proc/")
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC, dir_fd=proc)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)


def _path(name: str) -> str:
    """A name's file; a slash in it stands for a dot, as in net.ipv4.conf.eth0/100.rp_filter (sysctl(8))."""
    return "/proc/sys/" + swapped(name)
