"""The small values that a topology is written with: names, durations with units, endpoint patterns."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, WithJsonSchema

_DURATION = re.compile(r"^(\d+(?:\.\d+)?)(us|ms|s|min)$")
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0}


def seconds(duration: str) -> float:
    """Seconds in a duration such as `300ms`; ValueError on a bare number or an unknown unit."""
    match = _DURATION.fullmatch(duration)
    if match is None:
        raise ValueError(f"'{duration}' is no duration: write a number with its unit (us, ms, s, min), as in 300ms")
    return float(match[1]) * _SECONDS[match[2]]


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


def _check_duration(text: object) -> str:
    seconds(str(text))
    return str(text)


def _check_endpoint(text: str) -> str:
    Endpoint.parse(text)
    return text


Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=48)]
"""A lab's, host's, network's, service's or traffic item's name: letters, digits, - and _."""

InterfaceName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=15)]
"""An interface's name: at most 15 bytes (IFNAMSIZ in linux/if.h, less its closing zero)."""

Duration = Annotated[
    str, BeforeValidator(_check_duration), WithJsonSchema({"type": "string", "pattern": _DURATION.pattern})
]
EndpointPattern = Annotated[str, AfterValidator(_check_endpoint)]
MacAddress = Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$")]
Port = Annotated[int, Field(ge=1, le=65535)]
