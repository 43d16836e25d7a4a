"""Quantities with their units: durations, shares in percent, rates in bits a second, queue lengths, sizes in bytes."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

_NUMBER = r"(\d+(?:\.\d+)?)"
_DURATION = re.compile(rf"^{_NUMBER}(us|ms|s|min)$", re.ASCII)
_SHARE = re.compile(rf"^{_NUMBER}%$", re.ASCII)
_RATE = re.compile(rf"^{_NUMBER}(bit|kbit|mbit|gbit)$", re.ASCII)
_QUEUE = re.compile(r"^(\d+)packets?$", re.ASCII)
_SIZE = re.compile(rf"^{_NUMBER}(B|KiB|MiB|GiB)$", re.ASCII)

_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0}
_BITS = {"bit": 1, "kbit": 1_000, "mbit": 1_000_000, "gbit": 1_000_000_000}
_BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_LARGEST = 1 << 40


def seconds(duration: str) -> float:
    """Seconds in a duration such as `300ms`; ValueError on a bare number or an unknown unit."""
    match = _DURATION.fullmatch(duration)
    if match is None:
        raise ValueError(f"'{duration}' is no duration: write a number with its unit (us, ms, s, min), as in 300ms")
    return float(match[1]) * _SECONDS[match[2]]


def time_allowed(duration: str) -> float:
    """Seconds in a duration in which something has to happen: ValueError if it is none, or no time at all."""
    found = seconds(duration)
    if not found:
        raise ValueError(f"'{duration}' is no time: it must be more than 0, as in 300ms")
    return found


def share(percent: str) -> float:
    """The part of one in a share such as `0.5%`, 0 to 1; ValueError on a bare number or more than 100%."""
    match = _SHARE.fullmatch(percent)
    if match is None or float(match[1]) > 100:
        raise ValueError(f"'{percent}' is no share: write a number of 0 to 100 with its %, as in 0.5%")
    return float(match[1]) / 100


def bits_per_second(rate: str) -> int:
    """Bits a second in a rate such as `10mbit` (units of a thousand, as tc has them); ValueError if it is none."""
    match = _RATE.fullmatch(rate)
    bits = round(float(match[1]) * _BITS[match[2]]) if match else 0
    if bits < 8:
        raise ValueError(f"'{rate}' is no rate: write a number with its unit (bit, kbit, mbit, gbit), as in 10mbit")
    return bits


def packets(queue: str) -> int:
    """Packets in a queue length such as `100packets`; ValueError on a bare number or none at all."""
    match = _QUEUE.fullmatch(queue)
    if match is None or not 0 < int(match[1]) < 2**32:
        raise ValueError(f"'{queue}' is no queue length: write a number of packets, as in 100packets")
    return int(match[1])


def size(text: str) -> int:
    """Bytes in a size such as `8MiB` (units of 1024); ValueError on a bare number, on none and on over 1024GiB."""
    match = _SIZE.fullmatch(text)
    found = round(float(match[1]) * _BYTES[match[2]]) if match else 0
    if not 0 < found <= _LARGEST:
        raise ValueError(f"'{text}' is no size: write a number with its unit (B, KiB, MiB, GiB), as in 8MiB")
    return found


def _checked(read: Callable[[str], object]) -> BeforeValidator:
    def check(value: object) -> str:
        read(str(value))
        return str(value)

    return BeforeValidator(check)


def _schema(pattern: re.Pattern[str]) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": pattern.pattern})


Duration = Annotated[str, _checked(seconds), _schema(_DURATION)]
TimeAllowed = Annotated[str, _checked(time_allowed), _schema(_DURATION)]
"""A duration that is more than 0."""
Share = Annotated[str, _checked(share), _schema(_SHARE)]
Rate = Annotated[str, _checked(bits_per_second), _schema(_RATE)]
QueueLength = Annotated[str, _checked(packets), _schema(_QUEUE)]
Size = Annotated[str, _checked(size), _schema(_SIZE)]
