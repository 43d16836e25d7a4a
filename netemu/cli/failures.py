"""A check that did not pass: expected and actual side by side at the point where they part, and the packet before."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from netemu.check.report import Report
from netemu.check.verdict import Check, Verdict

MOST = 4
"""How many are told in full; the others a line each."""
_STYLE = {Verdict.FAIL: "bold red", Verdict.UNPROVEN: "bold yellow"}


def failures(console: Console, report: Report, unfold: bool) -> None:
    """Tell every check that did not pass: failed ones first."""
    parted = [check for check in report.checks if check.verdict is Verdict.FAIL]
    parted += [check for check in report.checks if check.verdict is Verdict.UNPROVEN]
    for place, check in enumerate(parted):
        full = unfold or place < MOST
        if full or place == MOST:
            console.print()
        console.print(Text.assemble((f"{check.verdict.upper():<9}", _STYLE[check.verdict]), (check.name, "bold")))
        if full:
            _told(console, check)
    if len(parted) > MOST and not unfold:
        console.print(Text("         --all tells these in full too", "dim"))


def _told(console: Console, check: Check) -> None:
    indent = " " * 9
    if check.reason:
        console.print(f"{indent}{check.reason}")
    keys = [key for key in check.expected if key != "fault"]
    if keys:
        width = max(len(key) for key in keys)
        wanted = {key: _shown(check.expected[key]) for key in keys}
        column = max(len("expected"), *(len(text) for text in wanted.values()))
        console.print(Text(f"{indent}{'':<{width}}  {'expected':<{column}}  actual", "dim"))
        for key in keys:
            actual = _shown(check.actual[key]) if key in check.actual else "not seen there"
            parts = key not in check.actual or key in check.reason
            console.print(
                Text.assemble(
                    f"{indent}{key:<{width}}  {wanted[key]:<{column}}  ", (actual, "bold red" if parts else "")
                )
            )
    if check.before:
        before = dict(check.before)
        place = before.pop("point", "")
        view = f"{before.pop('src', '')} → {before.pop('dst', '')}   " + "   ".join(
            f"{k} {v}" for k, v in before.items()
        )
        console.print(Text(f"{indent}just before, at {place}: {view}", "dim"))


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value)
