"""The small values that a topology is written with: names, addresses, ports, endpoint patterns."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StrictInt, StringConstraints, WithJsonSchema

from netemu.topology.counting import Numeral
from netemu.topology.frozen import FrozenMapping


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address and port to compare with: either may be None, for any."""

    address: str | None
    port: int | None
    text: str

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """`192.168.0.2:30000`, `192.168.0.1:*`, `*:80`, `192.168.0.1`, `[fd00::1]:80`, `fd00::1`; else ValueError."""
        match = re.fullmatch(r"\[(.+)\]:(\*|\d+)|([^:]+):(\*|\d+)|(.+)", text)
        if match is None:
            raise ValueError("an endpoint can't be empty")
        host = match[1] or match[3] or match[5]
        port = match[2] or match[4] or "*"
        try:
            address = None if host == "*" else str(ip_address(host))
        except ValueError:
            raise ValueError(
                f"'{text}' is no endpoint: write ADDRESS:PORT, with * for any, as in 192.168.0.1:*"
            ) from None
        if port != "*" and not 0 <= int(port) <= 65535:
            raise ValueError(f"'{text}': a port is 0 to 65535")
        return cls(address, None if port == "*" else int(port), text)

    def matches(self, address: str, port: int | None) -> bool:
        """Whether an address and port fit this pattern."""
        return (self.address is None or self.address == address) and (self.port is None or self.port == port)


def endpoint_text(address: str, port: int | None) -> str:
    """An address and port as people write them: `192.168.0.1:80`, `[fd00::1]:80`, or the address alone."""
    if port is None:
        return address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _written(value: Any, what: str) -> str | None:
    """The text that was written, None for an object that needs no reading."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        raise ValueError(f"'{value}' is a bare number: {what} is due here")  # noqa: TRY004  pydantic wants it
    if value is None or isinstance(value, dict | list | tuple):
        raise ValueError(f"{what} is due here")
    return None


def _check_address(value: Any) -> Any:
    text = _written(value, "an address with its prefix length, as in 192.168.0.1/24,")
    if text is None:
        return value
    if "/" not in text:
        raise ValueError(f"'{text}' needs its prefix length, as in {text}/24")
    try:
        return ip_interface(text)
    except ValueError:
        raise ValueError(f"'{text}' is no address: write ADDRESS/PREFIX, as in 192.168.0.1/24") from None


def _check_subnet(value: Any) -> Any:
    text = _written(value, "a network, as in 10.0.0.0/24,")
    if text is None or text == "default":
        return value
    try:
        return ip_network(text)
    except ValueError as error:
        raise ValueError(f"'{text}' is no network: {error}") from None


def _check_host_address(value: Any) -> Any:
    text = _written(value, "an address, as in 192.168.0.1,")
    if text is None:
        return value
    try:
        return ip_address(text)
    except ValueError:
        raise ValueError(f"'{text}' is no address, as in 192.168.0.1") from None


def _check_user(value: Any) -> Any:
    if isinstance(value, bool | float) or not isinstance(value, str | int):
        raise ValueError("a user is due here, by name or number")  # noqa: TRY004  pydantic wants it
    return value


def _check_text(value: Any) -> Any:
    """A number is taken as it stands where a text is due whose meaning is often a number; true and 1.5 are not."""
    return _without_zero(str(value) if isinstance(value, int) and not isinstance(value, bool) else value)


def _check_word(value: Any) -> Any:
    """A bare number is refused, as YAML may have read it otherwise; a counted host's `{n}` is as it stands."""
    return _without_zero(str(value) if isinstance(value, Numeral) else value)


def _without_zero(value: Any) -> Any:
    """A text that a process can be given: execve(2) takes them up to a zero byte."""
    if isinstance(value, str) and "\0" in value:
        raise ValueError("there is a zero byte in this text: no process can be given one")
    return value


def _check_endpoint(text: str) -> str:
    Endpoint.parse(text)
    return text


NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"
INTERFACE_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
MAC = r"^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$"
USER = r"^[a-z_][a-z0-9_-]*[$]?$"
VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"
ABSOLUTE = r"^/[^\x00]*[^/\x00]$"

Name = Annotated[str, StringConstraints(pattern=NAME, max_length=48)]
"""A lab's, host's, network's, service's or traffic item's name: letters, digits, - and _."""

InterfaceName = Annotated[str, StringConstraints(pattern=INTERFACE_NAME, max_length=15)]
"""An interface's name: at most 15 bytes (IFNAMSIZ in linux/if.h, less its closing zero)."""

Address = Annotated[IPv4Interface | IPv6Interface, BeforeValidator(_check_address)]
"""An interface's address with its prefix length, as in 192.168.0.1/24."""
Subnet = Annotated[IPv4Network | IPv6Network, BeforeValidator(_check_subnet)]
"""A network, as in 10.0.0.0/24."""
Destination = Annotated[Literal["default"] | IPv4Network | IPv6Network, BeforeValidator(_check_subnet)]
HostAddress = Annotated[IPv4Address | IPv6Address, BeforeValidator(_check_host_address)]
"""An address without a prefix length."""
EndpointPattern = Annotated[str, AfterValidator(_check_endpoint)]
MacAddress = Annotated[str, StringConstraints(pattern=MAC)]
Port = Annotated[int, Field(ge=1, le=65535, strict=True)]
Command = tuple[Annotated[str, BeforeValidator(_check_word)], ...]
"""A program and its arguments."""
User = Annotated[
    Annotated[str, StringConstraints(pattern=USER, max_length=32)] | Annotated[StrictInt, Field(ge=0, lt=2**32 - 1)],
    BeforeValidator(_check_user),
]
"""A user to run as, by name or number."""
Environment = FrozenMapping[
    Annotated[str, StringConstraints(pattern=VARIABLE)],
    Annotated[str, BeforeValidator(_check_text), WithJsonSchema({"type": ["string", "integer"]})],
]
"""Variables of a process's environment, by name."""
SOCKET_PATH = r"^[^\x00\n]+$"
SocketPath = Annotated[str, StringConstraints(pattern=SOCKET_PATH, max_length=107)]
"""A unix socket's path, with room for it in sockaddr_un (unix(7)); an abstract one's name begins with @."""
AbsolutePath = Annotated[str, StringConstraints(pattern=ABSOLUTE, max_length=4095)]
