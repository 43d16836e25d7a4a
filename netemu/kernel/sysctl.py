"""Sysctls of a network namespace: /proc/sys/net shows those of the namespace that opens it."""

from __future__ import annotations

import os
from collections.abc import Iterable

from netemu.errors import KernelError
from netemu.kernel.namespace import NetworkNamespace


def read_sysctls(net: NetworkNamespace, names: Iterable[str]) -> dict[str, str]:
    """The values of those sysctls that the kernel has."""
    values = {}
    with net.entered():
        for name in names:
            try:
                with open(_path(name), encoding="ascii") as file:
                    values[name] = file.read().strip()
            except OSError:
                pass  # one that can't be read is written, and what is wrong with it is said then
    return values


def write_sysctls(net: NetworkNamespace, values: Iterable[tuple[str, str, bool]]) -> None:
    """Write (name, value, wanted) in order; one that the kernel does not have is an error only where wanted."""
    with net.entered():
        for name, value, wanted in values:
            try:
                fd = os.open(_path(name), os.O_WRONLY | os.O_CLOEXEC)
                try:
                    os.write(fd, value.encode())
                finally:
                    os.close(fd)
            except FileNotFoundError as error:
                if wanted:
                    raise KernelError(
                        f"host {net.name}: this kernel has no sysctl {name} for a network namespace"
                    ) from error
            except OSError as error:
                raise KernelError(f"host {net.name}: sysctl {name} = {value}: {error.strerror}") from error


def _path(name: str) -> str:
    return "/proc/sys/" + name.replace(".", "/")
