"""A rule or policy that a packet met on its way through a host's hooks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from netemu.netfilter.ruleset import Rule

Teller = Literal["trace", "counters", "nothing"]


@dataclass(frozen=True, slots=True)
class RuleTurn:
    """A rule of the host (not of a tap) that a packet matched, or a base chain's policy that it fell to.

    `nat` tells whether that was on the walk of a nat chain: in one, or in a chain that it jumped to. `told_by` is how
    it is known: by the trace; under iptables-legacy by the rules' counters, or not at all (legacy.py).
    """

    host: str
    family: str
    table: str
    chain: str
    rule: Rule | None
    verdict: str
    nat: bool
    told_by: Teller = "trace"

    @property
    def text(self) -> str:
        """The rule as its tool lists it; `policy` for a chain's policy; `unknown` where nothing tells."""
        if self.told_by == "nothing":
            return "unknown"
        return self.rule.text if self.rule is not None else "policy"
