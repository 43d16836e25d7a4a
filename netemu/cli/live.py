"""capture and watch: what a lab does now, until somebody ends it. What is said besides goes to standard error."""

from __future__ import annotations

import json
import os
import re
import time

import click

from netemu import HeldLab, Journey, Loss, UsageError, journey_json
from netemu.cli.complaint import discard_output
from netemu.cli.held import named
from netemu.cli.recordings import refuse_terminal
from netemu.cli.rows import jump, rows

_STDOUT = 1
_INDENT = 17


def capture(lab: str, words: list[str], file: str | None, count: int | None) -> None:
    """Write what passes points as pcapng to a file or to standard output."""
    if file is None:
        refuse_terminal()
    held = named(lab)
    points, filter_ = _points(held, words)
    out = _STDOUT if file is None else _opened(file)
    try:
        done = held.capture(
            points, out, filter=filter_, count=count, ready=lambda: _say(f"capturing at {', '.join(points)}")
        )
    finally:
        if out != _STDOUT:
            os.close(out)
    _ended(held, done.why, f"{done.packets} packet{'' if done.packets == 1 else 's'}, {done.lost} lost")


def watch(lab: str, filter_: str, settle: str, walk: bool, as_json: bool) -> None:
    """Print journeys as they complete."""
    held = named(lab)

    def tell(what: Journey | Loss) -> str:
        if isinstance(what, Loss):
            text = f"lost {what.lost} at {what.host}'s {what.tap} tap: what follows may be incomplete\n"
            if not as_json:
                return text
            _say(text.rstrip())
            return ""
        if as_json:
            return json.dumps(journey_json(what), ensure_ascii=False) + "\n"
        return _walked(what) if walk else _short(what)

    done = held.watch(_STDOUT, tell, filter=filter_, settle=settle, ready=lambda: _say(f"watching {held.name}"))
    _ended(held, done.why, f"{done.journeys} journey{'' if done.journeys == 1 else 's'}, {done.lost} lost")


def _points(held: HeldLab, words: list[str]) -> tuple[list[str], str]:
    """The words that begin with a host's name are points, up to the first that does not: what follows is a filter."""
    hosts = set(held.facts()["hosts"])
    count = next((place for place, word in enumerate(words) if re.split("[:@]", word)[0] not in hosts), len(words))
    if not count:
        raise UsageError(f"'{words[0]}' is no point of lab {held.name}: its hosts are {', '.join(sorted(hosts))}")
    return words[:count], " ".join(words[count:])


def _opened(file: str) -> int:
    try:
        return os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise UsageError(f"{file} can't be written: {error.strerror}") from error


def _say(text: str) -> None:
    click.echo(f"netemu: {text}", err=True)


def _ended(held: HeldLab, why: str, counts: str) -> None:
    if why == "reader":
        discard_output()
    _say(f"lab {held.name} went down: {counts}" if why == "lab" else counts)


def _head(journey: Journey) -> str:
    """One line: when, which packet, what it was, from where to where, how it ended."""
    h, last = journey.first.headers, journey.sightings[-1].headers
    seconds, rest = divmod(journey.start_ns or journey.since_ns, 1_000_000_000)
    at = f"{time.strftime('%H:%M:%S', time.localtime(seconds))}.{rest // 1000:06d}"
    what = " ".join([h.proto, *([h.flags] if h.flags else []), *([f"{h.length} bytes"] if h.length else [])])
    way = "request" if journey.direction == "original" else "reply"
    ends = f"{h.source} → {h.destination}"
    if (last.source, last.destination) != (h.source, h.destination):
        ends += f" ⇒ {last.source} → {last.destination}"
    return f"{at}  flow {journey.flow} {way} {journey.nth}  {what}  {ends}  {_end(journey)}\n"


def _end(journey: Journey) -> str:
    end = journey.end
    if end.kind == "delivered":
        return f"delivered at {end.at.host}"
    if end.turn is not None:
        return f"dropped at {end.at.host} by {end.turn.table} {end.turn.chain}: {end.turn.text}"
    return f"not seen after {end.at}"


def _short(journey: Journey) -> str:
    """The head, and a line for each address or port that was rewritten: where, what, by what."""
    lines = [_head(journey)]
    for change in journey.rewrites:
        if change.by != "route":
            by = f"rule {jump(change.rule or '')}" if change.by == "rule" else change.by
            lines.append(f"{'':{_INDENT}}{change.at}  {change.field} {change.before} ⇒ {change.after}  {by}\n")
    return "".join(lines)


def _walked(journey: Journey) -> str:
    """The head, and the whole walk."""
    walk = rows(journey, {})
    width = max(len(row.point) for row in walk)
    lines = [
        f"{row.time:>{_INDENT - 2}}  {row.point:<{width}}  {row.text}  {row.cause}".rstrip() + "\n" for row in walk
    ]
    return "".join([_head(journey), *lines, "\n"])
