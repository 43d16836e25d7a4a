"""pass, fail or unproven, and one check's result."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from netemu.record.record import Record


class Verdict(StrEnum):
    """`unproven` is where evidence is missing: something was lost, a tap was not alive, nothing matched."""

    PASS = "pass"  # noqa: S105
    FAIL = "fail"
    UNPROVEN = "unproven"


@dataclass(frozen=True, slots=True)
class Check:
    """One check: what was expected and what was seen, at the point where they part, and the packet just before it.

    `expected` and `actual` hold the same keys, `wrong` those that part; `journey` is the packet that decided,
    `journeys` all that were asked.
    """

    name: str
    verdict: Verdict
    point: str | None = None
    expected: dict[str, Any] = field(default_factory=dict)
    actual: dict[str, Any] = field(default_factory=dict)
    journey: int | None = None
    journeys: tuple[int, ...] = ()
    before: dict[str, Any] = field(default_factory=dict)
    wrong: tuple[str, ...] = ()
    reason: str = ""


def overall(verdicts: Iterable[Verdict]) -> Verdict:
    """One fail fails; without one, one unproven is unproven; no checks at all prove nothing."""
    seen = set(verdicts)
    if Verdict.FAIL in seen:
        return Verdict.FAIL
    return Verdict.UNPROVEN if Verdict.UNPROVEN in seen or not seen else Verdict.PASS


def believed(check: Check, record: Record, hosts: set[str]) -> Check:
    """The check, if every tap of the hosts it rests on is sound; else the same check, unproven."""
    unsound = record.unsound(hosts)
    if not unsound:
        return check
    told = "; ".join(map(str, unsound))
    reason = f"{told}; without that it would be {check.verdict}{': ' + check.reason if check.reason else ''}"
    return replace(check, verdict=Verdict.UNPROVEN, reason=reason)
