"""One packet seen at one point."""

from __future__ import annotations

from dataclasses import dataclass

from netemu.netfilter.conntrack import PacketConntrack
from netemu.record.headers import Headers
from netemu.topology.points import Point


@dataclass(frozen=True, slots=True)
class Sighting:
    """One packet at one point: kernel time in ns (None at a hook, whose events carry none), headers, conntrack."""

    point: Point
    time_ns: int | None
    headers: Headers
    ct: PacketConntrack | None = None
