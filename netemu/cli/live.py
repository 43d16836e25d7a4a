"""capture and watch: what a lab does now, until somebody ends it. What is said besides goes to standard error.

Only light imports before there are sockets: an ordinary user's lab can be entered only by a process without threads,
and numpy has some.
"""

from __future__ import annotations

import os
import re
from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from netemu import HeldLab, UsageError
from netemu.cli.complaint import discard_output
from netemu.cli.held import named
from netemu.cli.output import refuse_closed, refuse_terminal

if TYPE_CHECKING:
    from netemu import Journey, Loss

_STDOUT = 1


def capture(lab: str, words: list[str], file: str | None, count: int | None) -> None:
    """Write what passes points as pcapng to a file or to standard output."""
    if file is None:
        refuse_terminal()
    held = named(lab)
    points, filter_ = _points(held, words)
    with ExitStack() as stack:
        done = held.capture(
            points,
            _STDOUT if file is None else lambda: _opened(file, stack),
            filter=filter_,
            count=count,
            ready=lambda: _say(f"capturing at {', '.join(points)}"),
        )
    _ended(held, done.why, f"{done.packets} packet{'' if done.packets == 1 else 's'}, {done.lost} lost")


def watch(lab: str, filter_: str, settle: str, count: int | None, walk: bool, as_json: bool) -> None:
    """Print journeys as they complete."""
    refuse_closed()
    held = named(lab)

    def tell(what: Journey | Loss) -> str:
        from netemu import Loss
        from netemu.cli import passing

        if isinstance(what, Loss):
            lost = f"lost {what.lost} at {what.host}'s {what.tap} tap: what follows may be incomplete"
            text = f"{what.host}'s {what.tap} tap {what.note}: the way of others is not told" if what.note else lost
            if not as_json:
                return f"{text}\n"
            _say(text)
            return ""
        if as_json:
            return passing.line(what)
        return passing.walked(what) if walk else passing.short(what)

    done = held.watch(
        _STDOUT, tell, filter=filter_, settle=settle, count=count, ready=lambda: _say(f"watching {held.name}")
    )
    _ended(held, done.why, f"{done.journeys} journey{'' if done.journeys == 1 else 's'}, {done.lost} lost")


def _points(held: HeldLab, words: list[str]) -> tuple[list[str], str]:
    """The words that begin with a host's name are points, up to the first that does not: what follows is a filter."""
    hosts = set(held.facts()["hosts"])
    words = _with_ways(words)
    count = next((place for place, word in enumerate(words) if re.split("[:@]", word)[0] not in hosts), len(words))
    if not count:
        raise UsageError(f"'{words[0]}' is no point of lab {held.name}: its hosts are {', '.join(sorted(hosts))}")
    return words[:count], " ".join(words[count:])


def _with_ways(words: list[str]) -> list[str]:
    """`B:eth0 in` is one point, in quotes or not: in pcap's language `in` and `out` are no words."""
    found: list[str] = []
    for word in words:
        if word in ("in", "out") and found and re.fullmatch(r"[^:@ ]+:[^:@ ]+", found[-1]):
            found[-1] += f" {word}"
        else:
            found.append(word)
    return found


def _opened(file: str, stack: ExitStack) -> int:
    """The file, empty now, closed with the stack."""
    try:
        out = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise UsageError(f"{file} can't be written: {error.strerror}") from error
    stack.callback(os.close, out)
    return out


def _say(text: str) -> None:
    click.echo(f"netemu: {text}", err=True)


def _ended(held: HeldLab, why: str, counts: str) -> None:
    if why == "reader":
        discard_output()
    _say(f"lab {held.name} went down: {counts}" if why == "lab" else counts)
