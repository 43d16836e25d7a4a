"""How long hosts wait for a packet's fragments, from the first one that came on, and no longer.

Linux forgets what it has of a packet when a timer runs out that the first fragment started and no later one starts
anew (inet_frag_create). What comes behind that begins again. A lab's topology may set each host's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from netemu.record.decode.rows import Column

_SECOND_NS = 1_000_000_000
_TICKS_NS = 10_000_000
_SYSCTLS = {
    "ipv4": ("net.ipv4.ipfrag_time", 30),  # IP_FRAG_TIME
    "ipv6": ("net.ipv6.ip6frag_time", 60),  # IPV6_FRAG_TIMEOUT
    "tracked_ipv6": ("net.netfilter.nf_conntrack_frag6_timeout", 60),
}


@dataclass(frozen=True, slots=True)
class FragmentTimers:
    """Each host's timers, in ns: of IPv4, of IPv6 at a packet's own host, of IPv6 at a host that tracks."""

    ipv4: Column
    ipv6: Column
    tracked_ipv6: Column

    @classmethod
    def of(cls, hosts: Sequence[str], topology: Mapping[str, Any] | None = None) -> FragmentTimers:
        """Linux's own, but for what the topology of a lab (as `topology.built` tells it) sets by sysctl."""
        about = (topology or {}).get("hosts", {})
        given = [about.get(host, {}).get("sysctls", {}) for host in hosts]
        return cls(
            **{name: np.array([_ns(each, *what) for each in given], np.int64) for name, what in _SYSCTLS.items()}
        )


def _ns(sysctls: Mapping[str, Any], name: str, seconds: int) -> int:
    told = str(sysctls.get(name, seconds)).strip()
    return (int(told) if told.isdecimal() else seconds) * _SECOND_NS


def at_the_latest(timer_ns: Column) -> Column:
    """When timers have surely run out: the kernel lets them run up to an eighth longer (kernel/time/timer.c)."""
    late: Column = timer_ns + timer_ns // 8 + _TICKS_NS
    return late
