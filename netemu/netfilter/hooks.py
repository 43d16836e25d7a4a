"""netfilter's hooks, and the stages around the NAT ones where a hook tap looks at a packet.

Priorities are those of linux/netfilter_ipv4.h: raw -300, conntrack -200, mangle -150, DNAT -100, filter 0, SNAT 100.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Hook = Literal["prerouting", "input", "forward", "output", "postrouting"]
Manip = Literal["src", "dst"]

START_PRIORITY = -450
"""Before everything, conntrack's defragmentation (-400) included: where the trace of a packet is switched on."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One place of a hook tap: in `hook` at `priority`; `nat` is set where the nat chains were just passed."""

    name: str
    hook: Hook
    priority: int
    nat: Manip | None = None


STAGES: tuple[Stage, ...] = (
    Stage("prerouting", "prerouting", -101),
    Stage("prerouting.nat", "prerouting", -99, "dst"),
    Stage("input", "input", 99),
    Stage("input.nat", "input", 101, "src"),
    Stage("forward", "forward", 1),
    Stage("output", "output", -101),
    Stage("output.nat", "output", -99, "dst"),
    Stage("postrouting", "postrouting", 99),
    Stage("postrouting.nat", "postrouting", 101, "src"),
)
"""DNAT happens at prerouting and output, SNAT at postrouting and input (HOOK2MANIP in nf_nat_core.c)."""

STAGE = {stage.name: stage for stage in STAGES}
STARTS: tuple[Hook, ...] = ("prerouting", "output")
"""The hooks at which a packet's pass through a host begins."""
