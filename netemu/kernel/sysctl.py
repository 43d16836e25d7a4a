"""Sysctls of a network namespace: /proc/sys/net shows those of the namespace that opens it."""

from __future__ import annotations

from collections.abc import Iterable

from netemu.errors import KernelError
from netemu.kernel.namespace import NetworkNamespace


def write_sysctls(net: NetworkNamespace, values: Iterable[tuple[str, str, bool]]) -> None:
    """Write (name, value, wanted) in order; one that the kernel does not have is an error only where wanted."""
    with net.entered():
        for name, value, wanted in values:
            path = "/proc/sys/" + name.replace(".", "/")
            try:
                with open(path, "w", encoding="ascii") as file:
                    file.write(value)
            except FileNotFoundError as error:
                if wanted:
                    raise KernelError(
                        f"host {net.name}: this kernel has no sysctl {name} for a network namespace"
                    ) from error
            except OSError as error:
                raise KernelError(f"host {net.name}: sysctl {name} = {value}: {error.strerror}") from error
