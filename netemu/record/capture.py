"""What a host's taps hand over: raw bytes in the order in which they came, and what was lost."""

from __future__ import annotations

from dataclasses import dataclass, field

from netemu.netfilter.conntrack import PacketConntrack
from netemu.netfilter.ruleset import Ruleset
from netemu.record.frames import Datagrams, Frames

HOST, BROADCAST, MULTICAST, OTHERHOST, OUTGOING = range(5)
"""sockaddr_ll's packet types (linux/if_packet.h): OTHERHOST is a flooded frame that is not for this host."""

UNFINISHED, VOUCHED = 1 << 3, 1 << 7
"""What the kernel says of a frame's checksum (TP_STATUS_CSUMNOTREADY, TP_STATUS_CSUM_VALID in linux/if_packet.h): it is
left to a device to compute, as far as one is there; or it is known to be right, without a look at the bytes."""

START = "start-"
"""The tap chains that switch a packet's trace on are named `start-HOOK`; the others are named after their stage."""
TAP_TABLE = "netemu"
"""The nft table (family inet) that a lab's own hook taps have; whoever else looks has one named `netemu-` and more."""


def is_tap_table(name: str) -> bool:
    """Whether an nft table is a hook tap's: the lab's own, or that of somebody who watches besides."""
    return name == TAP_TABLE or name.startswith(f"{TAP_TABLE}-")


@dataclass(frozen=True, slots=True)
class TapHealth:
    """Whether one tap can be believed: what it lost, whether it showed itself alive, what else speaks against it.

    conntrack's tap has no canary of its own: its table is read at the end besides.
    """

    tap: str
    host: str
    lost: int = 0
    alive: bool = True
    note: str = ""

    @property
    def sound(self) -> bool:
        """Nothing lost, alive throughout: what it did not see was not there."""
        return self.alive and not self.lost and not self.note

    def __str__(self) -> str:
        what = f"lost {self.lost}" if self.lost else self.note or "was not alive throughout"
        return f"{self.host}'s {self.tap} tap{':' if what == self.note else ''} {what}"


@dataclass(slots=True)
class HostCapture:
    """All that one host's taps saw between the start and the end of a record.

    `trace` and `conntrack` hold netlink datagrams; `entries` the datagrams of the conntrack dump at the end.
    `counted` are the places in `trace` between which every match is in the rules' counters; before and after, a match
    may be. Taps are read out one after the other: what began after `until_ns` (kernel time; 0: no end) may be known in
    part. `states` tells, where the trace carries no conntrack state, what a matched tap rule (by chain and handle)
    means. `table` is the hook tap's own: chains of other taps' tables say nothing of a packet.
    """

    host: str
    interfaces: dict[int, str]
    frames: Frames = field(default_factory=Frames.of)
    trace: Datagrams = field(default_factory=Datagrams.of)
    conntrack: Datagrams = field(default_factory=Datagrams.of)
    entries: list[bytes] = field(default_factory=list)
    states: dict[tuple[str, int], PacketConntrack] = field(default_factory=dict)
    rules_before: Ruleset = field(default_factory=Ruleset)
    rules_after: Ruleset = field(default_factory=Ruleset)
    health: list[TapHealth] = field(default_factory=list)
    counted: tuple[int, int] | None = None
    until_ns: int = 0
    table: str = TAP_TABLE
