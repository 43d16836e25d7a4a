"""This process's own sockets in the namespaces of a lab that another process holds: for who captures and watches.

The descriptors come from the lab's supervisor. Where the lab is an ordinary user's, this process joins its user
namespace, and gets a network of its own there: nobody may step back from a lab's network into one that is not its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from netemu.kernel.spaces.namespace import NetworkNamespace
from netemu.kernel.spaces.userspace import enter_user_namespace, join_user_namespace
from netemu.lab.asking import ask

_MOST = 250
"""Descriptors that one message can carry (SCM_MAX_FD in net/core/scm.c), less a few."""


@dataclass(frozen=True, slots=True)
class Inside:
    """The namespaces of some hosts, and a descriptor that becomes readable when the lab's holder ends."""

    nets: dict[str, NetworkNamespace]
    holder: int


@contextmanager
def inside(lab: str, hosts: Sequence[str]) -> Iterator[Inside]:
    """Namespaces of these hosts, for sockets to be made in. For a process of its own that has no threads yet.

    Raises UsageError if there is no such lab or host, PrivilegeError.
    """
    holder = os.pidfd_open(ask(lab, {"do": "facts"})[0]["pid"])
    nets: dict[str, NetworkNamespace] = {}
    try:
        users: list[int] = []
        for first in range(0, len(hosts), _MOST):
            some = list(hosts[first : first + _MOST])
            _, (user, *fds) = ask(lab, {"do": "namespaces", "hosts": some}, descriptors=len(some) + 1)
            users.append(user)
            nets |= {host: NetworkNamespace(host, fd) for host, fd in zip(some, fds, strict=True)}
        join_user_namespace(users[0])
        for user in users:
            os.close(user)
        enter_user_namespace()
        yield Inside(nets, holder)
    finally:
        for net in nets.values():
            net.close()
        os.close(holder)
