"""What a lab sends: one HTTP request, UDP datagrams, or a command run on a host."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from netemu.topology.strict import Strict
from netemu.topology.units import TimeAllowed
from netemu.topology.values import Endpoint, EndpointPattern, Name


def _check_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError(f"'{url}' is no HTTP address: write http://ADDRESS:PORT/PATH")
    try:
        ip_address(parts.hostname)
    except ValueError:
        raise ValueError(
            f"'{url}' is no HTTP address: write http://ADDRESS:PORT/PATH, the address in numbers"
        ) from None
    if parts.port == 0:
        raise ValueError(f"'{url}': a port is 1 to 65535")
    return url


class Datagrams(Strict):
    """UDP datagrams sent from one socket, back to back, before any answer is read."""

    to: EndpointPattern = Field(description="address and port, as in 192.168.0.2:30053")
    count: int = Field(default=1, ge=1, le=10_000, strict=True, description="how many datagrams")
    answers: int = Field(default=1, ge=0, strict=True, description="how many datagrams must come back")

    @model_validator(mode="after")
    def _one_destination(self) -> Datagrams:
        endpoint = Endpoint.parse(self.to)
        if endpoint.address is None or endpoint.port is None:
            raise ValueError(f"'{self.to}': a destination needs its address and its port")
        return self


class Traffic(Strict):
    """One traffic item; items are sent in the order of the file, each after the one before has ended."""

    name: Name
    source: Name = Field(alias="from", description="the host that sends")
    http: Annotated[str, AfterValidator(_check_url)] | None = Field(default=None, description="an address to GET, once")
    udp: Datagrams | None = None
    command: tuple[str, ...] | None = Field(
        default=None, min_length=1, description="a command that sends; it must exit 0"
    )
    within: TimeAllowed = Field(default="3s", description="how long until the answer must be there")

    @model_validator(mode="after")
    def _one_kind(self) -> Traffic:
        if sum(kind is not None for kind in (self.http, self.udp, self.command)) != 1:
            raise ValueError("give one of http, udp and command")
        return self
