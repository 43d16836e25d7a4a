"""A check that did not pass: expected and actual side by side at the point where they part, and the packet before."""

from __future__ import annotations

from textwrap import wrap
from typing import Any

from rich.console import Console
from rich.text import Text

from netemu import Check, Report, Verdict

MOST = 4
"""How many are told in full; the others in two lines each."""
_INDENT = " " * 9
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
        elif said := _brief(check):
            console.print(Text(_INDENT + _clipped(said, console.width - len(_INDENT))))
    if len(parted) > MOST and not unfold:
        console.print(Text("         --all tells these in full too", "dim"))


def _told(console: Console, check: Check) -> None:
    """The reason, the two sides where there are two, and the packet as it was just before."""
    room = console.width - len(_INDENT)
    for line in wrap(check.reason, room, subsequent_indent="  "):
        console.print(f"{_INDENT}{line}")
    if check.actual and (keys := [key for key in check.expected if key != "fault"]):
        width = max(len(key) for key in keys)
        wanted = {key: _shown(check.expected[key]) for key in keys}
        column = max(len("expected"), *(len(text) for text in wanted.values()))
        console.print(Text(f"{_INDENT}{'':<{width}}  {'expected':<{column}}  actual", "dim"))
        for key in keys:
            actual = _clipped(_shown(check.actual[key]), room - width - column - 4)
            style = "bold red" if key in check.wrong else ""
            console.print(Text.assemble(f"{_INDENT}{key:<{width}}  {wanted[key]:<{column}}  ", (actual, style)))
    elif check.expected.keys() - {"fault"}:
        console.print(
            _INDENT + _clipped("expected " + ", ".join(f"{k} {_shown(v)}" for k, v in check.expected.items()), room)
        )
    if check.before:
        before = dict(check.before)
        place, ends = before.pop("point", ""), f"{before.pop('src', '')} → {before.pop('dst', '')}"
        view = "   ".join([ends, *(f"{key} {value}" for key, value in before.items())])
        console.print(Text(f"{_INDENT}just before, at {place}: {view}", "dim"))


def _brief(check: Check) -> str:
    """In one line: what parts, expected and actual; where nothing was seen to compare, the reason."""
    parted = [key for key in check.wrong if key in check.expected and key in check.actual]
    sides = [f"{key}: expected {_shown(check.expected[key])}, actual {_shown(check.actual[key])}" for key in parted]
    return "; ".join(sides) or check.reason


def _clipped(text: str, room: int) -> str:
    return text if len(text) <= room else f"{text[: max(room - 1, 0)]}…"


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value)
