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
    """The descriptors of a host's network namespace, of the lab's PID namespace and of its user namespace."""
    host = held.lab[_text(request, "host")]
    user = user_namespace()
    return Answer(descriptors=(host.net.fd, host.pids.fd, user), opened=(user,))


async def topology(held: Held, _request: Request) -> Answer:
    """The topology that the lab was made of, as plain values."""
    return Answer({"topology": held.lab.topology.model_dump(mode="json", by_alias=True, exclude_defaults=True)})


HANDLERS: Mapping[str, Handler] = {"facts": facts, "enter": enter, "topology": topology}


def _text(request: Request, key: str) -> str:
    value = request.get(key)
    if not isinstance(value, str):
        raise UsageError(f"the request '{request.get('do')}' needs '{key}', a text")
    return value
