"""A host's services: what runs, how to know that it is ready, what it waits for, and what happens when it ends."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from netemu.topology.frozen import FrozenDict
from netemu.topology.strict import Strict
from netemu.topology.units import TimeAllowed
from netemu.topology.values import Command, Environment, Port, SocketPath, User

KINDS = ("tcp", "udp", "unix", "command", "log")
"""The ways to know that a service is ready."""


def _check_regex(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"'{pattern}' is no regular expression: {error}") from None
    return pattern


SERVICE = r"^([A-Za-z0-9][A-Za-z0-9_-]*:)?[A-Za-z0-9][A-Za-z0-9_-]*$"
ServiceName = Annotated[str, StringConstraints(pattern=SERVICE)]
"""A service of the same host, or HOST:SERVICE."""


class Ready(Strict):
    """How to know that a service is ready: one of these holds."""

    tcp: Port | None = Field(default=None, description="its process listens on this TCP port")
    udp: Port | None = Field(default=None, description="its process is bound to this UDP port")
    unix: SocketPath | None = Field(
        default=None, description="somebody listens on this unix socket: a path, also in the service's folder, or @name"
    )
    command: Command | None = Field(
        default=None, min_length=1, description="this command, run in the service's folder again and again, exits 0"
    )
    log: Annotated[str, AfterValidator(_check_regex)] | None = Field(
        default=None, min_length=1, description="a line of its output matches this regular expression"
    )
    within: TimeAllowed = Field(default="10s", description="how long that may take")

    @model_validator(mode="after")
    def _one_kind(self) -> Ready:
        if sum(getattr(self, kind) is not None for kind in KINDS) != 1:
            raise ValueError(f"give one of {', '.join(KINDS[:-1])} and {KINDS[-1]}")
        return self


class Service(Strict):
    """A process that runs on a host as long as the lab is up."""

    command: Command = Field(min_length=1, description="the program and its arguments")
    environment: Environment = Field(default=FrozenDict(), description="beyond the host's")
    user: User | None = Field(default=None, description="who runs it, by name or number; the host's, unless given")
    ready: Ready | None = Field(default=None, description="how to know that it is ready; without it, it is at once")
    after: tuple[ServiceName, ...] = Field(
        default=(), description="services that must be ready before it starts: SERVICE, or HOST:SERVICE"
    )
    restart: Literal["never", "on-failure", "always"] = Field(
        default="never", description="whether it is started again when it ends"
    )
