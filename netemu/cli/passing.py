"""Journeys as they pass: a line of JSON each, a few lines of text, or the whole walk."""

from __future__ import annotations

import json
import time

from netemu import Journey, Sighting, journey_json
from netemu.cli.console import counted
from netemu.cli.rows import error_words, jump, rows

_INDENT = 17


def line(journey: Journey) -> str:
    """One line of JSON, with the keys of `journeys` in the report."""
    return json.dumps(journey_json(journey), ensure_ascii=False) + "\n"


def _head(journey: Journey) -> str:
    """One line: when, which packet, what it was, from where to where, how it ended."""
    h = journey.first.headers
    last = next((seen.headers for seen in reversed(journey.sightings) if not _later(seen)), h)
    seconds, rest = divmod(journey.start_ns or journey.since_ns, 1_000_000_000)
    at = f"{time.strftime('%H:%M:%S', time.localtime(seconds))}.{rest // 1000:06d}"
    what = " ".join(part for part in (h.proto, h.flags, counted(h.length, "byte") if h.length else "") if part)
    way = "request" if journey.direction == "original" else "reply"
    ends = f"{h.source} → {h.destination}"
    if (last.source, last.destination) != (h.source, h.destination):
        ends += f" ⇒ {last.source} → {last.destination}"
    which = f"{way} {journey.nth}"
    if journey.error is not None:
        which, what = "error", f"{error_words(journey.error)}, quotes {_quoted(journey)}"
    return f"{at}  flow {journey.flow} {which}  {what}  {ends}  {_end(journey)}\n"


def _later(seen: Sighting) -> bool:
    """Whether it is a part of a packet that has no ports."""
    return seen.headers.fragment is not None and seen.headers.fragment[0] > 0


def _quoted(journey: Journey) -> str:
    """The packet that an error is about: its journey, or what it says of it."""
    about = journey.about
    words = f"{about.proto} {about.source} → {about.destination}" if about is not None else ""
    if journey.quotes is None:
        return f"{words}, not known"
    among = journey.error.among if journey.error is not None else 1
    named = f"journey {journey.quotes}" + (f", 1 of {among} that fit" if among > 1 else "")
    return f"{named}: {words}" if words else named


def _end(journey: Journey) -> str:
    end = journey.end
    if end.kind == "delivered":
        return f"delivered at {end.at.host}"
    if end.turn is not None:
        return f"dropped at {end.at.host} by {end.turn.table} {end.turn.chain}: {end.turn.text}"
    return f"not seen after {end.at}"


def short(journey: Journey) -> str:
    """The head, and a line for each address or port that was rewritten: where, what, by what."""
    lines = [_head(journey)]
    for change in journey.rewrites:
        if change.by != "route":
            by = f"rule {jump(change.rule or '')}" if change.by == "rule" else change.by
            lines.append(f"{'':{_INDENT}}{change.at}  {change.field} {change.before} ⇒ {change.after}  {by}\n")
    return "".join(lines)


def walked(journey: Journey) -> str:
    """The head, and the whole walk."""
    walk = rows(journey, {})
    width = max(len(row.point) for row in walk)
    lines = [
        f"{row.time:>{_INDENT - 2}}  {row.point:<{width}}  {row.text}  {row.cause}".rstrip() + "\n" for row in walk
    ]
    return "".join([_head(journey), *lines, "\n"])
