"""What changed between two neighbouring sightings of a packet, and what changed it.

A nat chain that was walked and matched is `rule`; an address that changed though no chain was walked, where the
entry had that manip set up before, comes from the conntrack entry (nf_nat_packet); a chain walked with no match that
still changed a port is the null binding's search for a free tuple (nf_nat_alloc_null_binding); TTL falls by routing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from netemu.netfilter.hooks import STAGE
from netemu.record.join.turn import RuleTurn, Teller
from netemu.record.sighting import Sighting
from netemu.topology.points import Point

Cause = Literal["rule", "conntrack", "route", "null-binding", "unknown"]


@dataclass(frozen=True, slots=True)
class Rewrite:
    """One field that changed: `at` is the point where the new value was first seen, by the journey's sighting `place`.

    A packet may come to a point more than once; its places tell the visits apart. `told_by` is how the rule is known.
    """

    place: int
    at: Point
    field: Literal["src", "dst", "ttl"]
    before: str
    after: str
    by: Cause
    rule: str | None = None
    told_by: Teller = "trace"


def rewrites(before: Sighting, after: Sighting, turns: Sequence[RuleTurn], place: int = 0) -> list[Rewrite]:
    """What changed from one sighting to the next, which is a journey's sighting `place`; `turns` lie between them."""
    was, now = before.headers, after.headers
    found: list[Rewrite] = []
    part = was.sport is None or now.sport is None  # a fragment that has no ports beside the whole packet, or its first
    for name, old, new in (
        ("dst", was.destination, now.destination),
        ("src", was.source, now.source),
    ):
        bare = part and getattr(was, name) == getattr(now, name) and (was.fragment or now.fragment)
        if old != new and not bare:
            by, turn = _cause(before, after, turns)
            how = (turn.text if turn.rule is not None else None, turn.told_by) if turn is not None else ()
            found.append(Rewrite(place, after.point, name, old, new, by, *how))  # type: ignore[arg-type]
    if was.ttl != now.ttl:
        found.append(Rewrite(place, after.point, "ttl", str(was.ttl), str(now.ttl), "route"))
    return found


def walked(turns: Sequence[RuleTurn]) -> bool:
    """Whether a nat chain was walked, by the turns between a stage and its .nat stage."""
    return any(turn.nat for turn in turns)


def matched(turns: Sequence[RuleTurn]) -> RuleTurn | None:
    """The nat rule that ended the walk: the last one whose verdict was final."""
    final = [turn for turn in turns if turn.nat and turn.rule is not None and turn.verdict in ("accept", "drop")]
    return final[-1] if final else None


def _cause(before: Sighting, after: Sighting, turns: Sequence[RuleTurn]) -> tuple[Cause, RuleTurn | None]:
    stage = STAGE.get(after.point.stage or "")
    if stage is None or stage.nat is None:
        return "unknown", None
    if (turn := matched(turns)) is not None:
        return "rule", turn
    if (turn := next((turn for turn in turns if turn.told_by == "nothing"), None)) is not None:
        return "unknown", turn
    if walked(turns):
        return "null-binding", None
    manips = before.ct.manips if before.ct is not None else None
    return ("conntrack" if manips is not None and stage.nat in manips else "unknown"), None
