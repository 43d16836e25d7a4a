"""What of a lab that is up is not as its user may think: no fault, and nothing that a check is about."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator, Mapping

from netemu.lab.host import Host
from netemu.lab.services import ServiceState


def remarks(
    lab: str | None, hosts: Iterable[Host], services: Iterable[ServiceState], unnamed: Mapping[str, str]
) -> tuple[str, ...]:
    """A sentence each; `lab` is its name, if commands know it; `unnamed` says of hosts without a name who has it."""
    found = [f"host {host.name}: {remark}" for host in hosts for remark in host.remarks]
    found += _failed(lab, services)
    found += [f"ip netns does not know host {host}: {why}" for host, why in unnamed.items()]
    return tuple(found)


def _failed(lab: str | None, services: Iterable[ServiceState]) -> Iterator[str]:
    """Services that ended as none should: whoever promised that they are ready was refused before."""
    for each in services:
        how = _went(each)
        if how:
            logs = f": netemu logs {lab} {each.host} {each.name} tells what it wrote" if lab is not None else ""
            yield f"service {each.name} on {each.host} {how}{logs}"


def _went(service: ServiceState) -> str:
    code, again = service.exit_code, service.restarts
    if code:
        ended = f"ended with exit code {code}"
        if code < 0:
            ended = f"was killed by signal {-code} ({signal.strsignal(-code)})"
        return f"{ended}, and is started again" if service.state == "restarting" else ended
    return f"was started again {'once' if again == 1 else f'{again} times'}" if again else ""
