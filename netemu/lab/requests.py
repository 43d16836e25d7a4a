"""What a lab's supervisor does for each request: one small function each, found by the request's `do`.

A function gets the lab as it is held and the request, checks what it needs of it, and gives an `Answer` or raises a
NetemuError. They run side by side, on the loop that the lab lives on: none may block it.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from netemu.errors import KernelError, UsageError
from netemu.kernel.processes.pidspace import PROCESS_1_HAS_ENDED
from netemu.kernel.spaces.userspace import user_namespace
from netemu.topology.naming import hint

if TYPE_CHECKING:
    from netemu.lab.lab import Lab
    from netemu.lab.services import ServiceState

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
    recording: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Whoever sends the lab's traffic and records it: one after another."""


Handler = Callable[[Held, Request], Awaitable[Answer]]


async def facts(held: Held, _request: Request) -> Answer:
    """What the supervisor knows without asking the kernel: name, file, hosts, process, since when.

    With `state`, which is `up`, or `broken` where the lab's process 1 has ended.
    """
    return Answer({**held.facts, "state": _state(held)})


async def enter(held: Held, request: Request) -> Answer:
    """What makes a process one of a host's: the environment, and descriptors of five namespaces.

    They are the host's network, the lab's PID and user namespaces, the host's UTS and mount namespaces.
    """
    host = held.lab[_text(request, "host")]
    net, uts, mnt = await host.enter()
    user = user_namespace()
    facts = {"environment": host.own_environment, "remarks": list(host.remarks)}
    return Answer(facts, (net, host.pids.fd, user, uts, mnt), opened=(net, user, uts, mnt))


async def topology(held: Held, _request: Request) -> Answer:
    """The topology that the lab was made of, as plain values."""
    return Answer({"topology": held.lab.topology.model_dump(mode="json", by_alias=True, exclude_defaults=True)})


async def record(held: Held, _request: Request) -> Answer:
    """Send all traffic of the topology and record it: a descriptor of the saved record, and how long that took."""
    fd = os.memfd_create("netemu-record", os.MFD_CLOEXEC)
    try:
        async with held.recording:
            _require_living(held)
            start = time.perf_counter()
            try:
                async with held.lab.record() as found:
                    for item in held.lab.topology.traffic:
                        await held.lab.send(item.name)
            finally:
                await held.lab.stop_recording()
            spent = (time.perf_counter() - start) * 1000
            _require_living(held)
        await asyncio.to_thread(found.save, f"/proc/self/fd/{fd}")
    except BaseException:
        os.close(fd)
        raise
    told = {"timing_ms": {"traffic": spent}, "remarks": held.lab.remarks()}
    return Answer(told, (fd,), opened=(fd,))


async def namespaces(held: Held, request: Request) -> Answer:
    """Descriptors of the lab's user namespace, then of the network namespace of each of `hosts`, in their order."""
    wanted = request.get("hosts")
    if not isinstance(wanted, list) or not all(isinstance(host, str) for host in wanted) or not wanted:
        raise UsageError("the request 'namespaces' needs 'hosts', a list of names")
    nets = [held.lab[host].net.fd for host in wanted]
    user = user_namespace()
    return Answer({"hosts": wanted}, (user, *nets), opened=(user,))


async def show(held: Held, request: Request) -> Answer:
    """Hosts (all of them, unless `hosts` names some) and networks as the kernel says they are."""
    from netemu.lab.show import shown

    wanted = request.get("hosts") or list(held.lab.hosts)
    if not isinstance(wanted, list) or not all(isinstance(host, str) for host in wanted):
        raise UsageError("the request 'show' needs 'hosts', a list of names")
    return Answer({**held.facts, "state": _state(held), **await shown(held.lab, wanted)})


async def logs(held: Held, request: Request) -> Answer:
    """The state of a host's services (or of one), each with a descriptor of its log, opened for reading."""
    host, service = held.lab[_text(request, "host")].name, request.get("service")
    chosen = _states(held, host, service)
    if service is not None and not chosen:
        there = [state.name for state in _states(held, host, None)]
        if not there:
            raise UsageError(f"host {host} has no services")
        raise UsageError(f"host {host} has no service '{service}'{hint(str(service), there)}")
    held.lab.services.take_logs(host)
    opened: list[int] = []
    try:
        for state in chosen:
            opened += [os.open(state.log, os.O_RDONLY | os.O_CLOEXEC)]
    except BaseException:
        for fd in opened:
            os.close(fd)
        raise
    return Answer({"services": [state.name for state in chosen]}, tuple(opened), tuple(opened))


async def restart(held: Held, request: Request) -> Answer:
    """End a host's services, or one of them, and start them again; answered when they are ready."""
    service = request.get("service")
    host = _text(request, "host")
    await held.lab.restart(host, _text(request, "service") if service is not None else None)
    return Answer({"services": [asdict(one) | {"log": str(one.log)} for one in _states(held, host, service)]})


async def link(held: Held, request: Request) -> Answer:
    """Set properties of an interface's link (`set`), take them away (`clear`), set it `up` or `down`; what holds then.

    `way` is `in`, `out` or `both`.
    """
    host, interface = held.lab[_text(request, "host")].name, _text(request, "interface")
    linkage, end = held.lab.linkage, (host, interface)
    assert linkage is not None
    way: Any = request.get("way", "both")
    given = request.get("set", {})
    if way not in ("in", "out", "both") or not isinstance(given, dict):
        raise UsageError("the request 'link' needs 'way', one of in, out and both, and 'set', an object")
    if request.get("clear"):
        await linkage.clear(end, way)
    if given:
        await linkage.shape(end, given, way)
    if request.get("state") in ("up", "down"):
        await (linkage.set_up(end) if request["state"] == "up" else linkage.set_down(end))
    linkage.there(end)
    state = "down" if end in linkage.down else "up"
    return Answer({"host": host, "interface": interface, "state": state, "properties": linkage.told(end)})


def _state(held: Held) -> str:
    assert held.lab.pids is not None
    return "broken" if held.lab.pids.is_gone else "up"


def _require_living(held: Held) -> None:
    """Raises KernelError where the lab's process 1 has ended: what is sent then is no answer to any expectation."""
    if _state(held) == "broken":
        raise KernelError(PROCESS_1_HAS_ENDED)


def _states(held: Held, host: str, service: Any) -> list[ServiceState]:
    states = held.lab.services.states()
    return [state for state in states if state.host == host and service in (None, state.name)]


HANDLERS: Mapping[str, Handler] = {
    "facts": facts,
    "enter": enter,
    "topology": topology,
    "record": record,
    "namespaces": namespaces,
    "show": show,
    "logs": logs,
    "restart": restart,
    "link": link,
}


def _text(request: Request, key: str) -> str:
    value = request.get(key)
    if not isinstance(value, str):
        raise UsageError(f"the request '{request.get('do')}' needs '{key}', a text")
    return value
