"""The names of the places where packets are seen: on a wire, `B:eth0 in`, and inside a hook, `B@prerouting.nat`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Way = Literal["in", "out"]

HOOK_STAGES = (
    "prerouting",
    "prerouting.nat",
    "input",
    "input.nat",
    "forward",
    "output",
    "output.nat",
    "postrouting",
    "postrouting.nat",
)
"""The stages of a host that a hook tap sees; `.nat` is the same hook just after the nat table's turn."""

_WIRE = re.compile(r"^([^:@\s]+):([^:@\s]+) (in|out)$")
_HOOK = re.compile(r"^([^:@\s]+)@(\S+)$")


@dataclass(frozen=True, slots=True)
class Point:
    """One place where packets are seen: a wire point has an interface and a way, a hook point has a stage."""

    host: str
    interface: str | None = None
    way: Way | None = None
    stage: str | None = None

    @classmethod
    def parse(cls, text: str) -> Point:
        """Read `B:eth0 in` or `B@forward`; ValueError says what a point looks like."""
        if match := _WIRE.fullmatch(text):
            return cls(match[1], interface=match[2], way="in" if match[3] == "in" else "out")
        if (match := _HOOK.fullmatch(text)) and match[2] in HOOK_STAGES:
            return cls(match[1], stage=match[2])
        if match:
            raise ValueError(f"no hook stage '{match[2]}': there are {', '.join(HOOK_STAGES)}")
        if re.fullmatch(r"[^:@\s]+:[^:@\s]+", text):
            raise ValueError(f"'{text}' needs its way: '{text} in' or '{text} out'")
        raise ValueError(f"'{text}' is no point: write 'B:eth0 in', 'B:eth0 out' or B@prerouting.nat")

    @property
    def is_nat(self) -> bool:
        """Whether this is a hook point just after the nat table's turn."""
        return self.stage is not None and self.stage.endswith(".nat")

    def __str__(self) -> str:
        if self.stage is not None:
            return f"{self.host}@{self.stage}"
        return f"{self.host}:{self.interface} {self.way}"
