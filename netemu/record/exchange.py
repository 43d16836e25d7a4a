"""One traffic item as it went."""

from __future__ import annotations

from dataclasses import dataclass

from netemu.netfilter.conntrack import Tuple


@dataclass(frozen=True, slots=True)
class Exchange:
    """One traffic item as it went: when, from which host, over which sockets, and how it ended.

    `sockets` are the directed tuples of the connections it opened itself; empty for a command, whose flows are those
    that its host began in its time. `events` are the places in its host's trace between which the hooks told of its
    packets (None where that was not noted): the kernel gives hooks no time, and what no wire saw has none. `fault` is
    None where the answer came.
    """

    name: str
    host: str
    what: str
    start_ns: int
    end_ns: int
    sockets: tuple[Tuple, ...] = ()
    result: str = ""
    fault: str | None = None
    events: tuple[int, int] | None = None
