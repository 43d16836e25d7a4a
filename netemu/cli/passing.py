"""Journeys as they pass: a line of JSON each, a few lines of text, or the whole walk."""

from __future__ import annotations

import json
import time

from netemu import Journey, journey_json
from netemu.cli.rows import jump, rows

_INDENT = 17


def line(journey: Journey) -> str:
    """One line of JSON, with the keys of `journeys` in the report."""
    return json.dumps(journey_json(journey), ensure_ascii=False) + "\n"


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
