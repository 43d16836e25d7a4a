"""What a lab's supervisor does for each request: one small function each, found by the request's `do`.

A function gets the lab as it is held and the request, checks what it needs of it, and gives an `Answer` or raises a
NetemuError. They run side by side, on the loop that the lab lives on: none may block it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from netemu.errors import UsageError
from netemu.kernel.userspace import user_namespace

if TYPE_CHECKING:
    from netemu.lab.lab import Lab

Request = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back: plain facts, and descriptors that travel with them. Those in `opened` are closed afterwards."""

    facts: Mapping[str, Any] = field(default_factory=dict)
    descriptors: tuple[int, ...] = ()
    opened: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Held:
    """A lab that is up, and what its supervisor knows of it from the start."""

    lab: Lab
    facts: Mapping[str, Any]


Handler = Callable[[Held, Request], Awaitable[Answer]]


async def facts(held: Held, _request: Request) -> Answer:
    """What the supervisor knows without asking the kernel: name, file, hosts, process, since when."""
    return Answer(held.facts)


async def enter(held: Held, request: Request) -> Answer:
    """What makes a process one of a host's: the environment, and descriptors of five namespaces.

    They are the host's network, the lab's PID and user namespaces, the host's UTS and mount namespaces.
    """
    host = held.lab[_text(request, "host")]
    net, uts, mnt = await host.enter()
    user = user_namespace()
    facts = {"environment": host.wanted.environment, "remarks": list(host.remarks)}
    return Answer(facts, (net, host.pids.fd, user, uts, mnt), opened=(net, user, uts, mnt))


async def topology(held: Held, _request: Request) -> Answer:
    """The topology that the lab was made of, as plain values."""
    return Answer({"topology": held.lab.topology.model_dump(mode="json", by_alias=True, exclude_defaults=True)})


HANDLERS: Mapping[str, Handler] = {"facts": facts, "enter": enter, "topology": topology}


def _text(request: Request, key: str) -> str:
    value = request.get(key)
    if not isinstance(value, str):
        raise UsageError(f"the request '{request.get('do')}' needs '{key}', a text")
    return value
