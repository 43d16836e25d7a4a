"""journeys: what captures of several sides show together, as people read it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Literal

import click
from rich.console import Console
from rich.text import Text

from netemu import SideFlow, SideJourney, Sides, UsageError, join_files, sides_json
from netemu.cli.console import console, printed
from netemu.cli.rows import packet_words

_FLOWS = 40
"""As many flows are listed, unless all are asked for."""
_UNPROVEN = 3


def journeys(files: Sequence[str], flow: int | None, unfold: bool, as_json: bool) -> int:
    """Print what was joined; the exit code: 3 if nothing was."""
    sides = join_files(files)
    if flow is not None and not 1 <= flow <= sides.flow_count:
        raise UsageError(f"there is no flow {flow}: there are 1 to {sides.flow_count}")
    if as_json:
        click.echo(json.dumps(sides_json(sides, flow)))
    else:
        out = console()
        _Told(out, sides).print(flow, unfold)
        click.echo(printed(out), nl=False)
    return 0 if sides.joined_flows else _UNPROVEN


class _Told:
    def __init__(self, out: Console, sides: Sides) -> None:
        self.out, self.sides = out, sides
        self.width = max(len(name) for name in sides.names)

    def print(self, flow: int | None, unfold: bool) -> None:
        self._sides()
        everything = range(1, self.sides.flow_count + 1)
        ids = [flow] if flow is not None else everything if unfold else self.sides.joined_flows
        listed = ids if unfold else ids[:_FLOWS]
        for id in listed:
            self._flow(self.sides.flow(id), walks=unfold or flow is not None)
        if len(ids) > len(listed):
            self._line(f"\n… and {len(ids) - len(listed)} more flows: --all or --json prints them")
        if flow is None:
            for note in self.sides.mapping:
                by = " and ".join(str(each) for each in note.evidence)
                self._line()
                self._line(
                    f"{note.between[0]}-{note.between[1]} ", (f"{note.proto}: {note.said}", "bold"), f" (by flows {by})"
                )
        self._last()

    def _line(self, *parts: Text | str | tuple[str, str]) -> None:
        self.out.print(Text.assemble(*parts))

    def _sides(self) -> None:
        files = [side.file for side in self.sides.joined.sides]
        for number, notes in enumerate(self.sides.notes):
            mine = [side for side in self.sides.joined.sides if side.file == number]
            for side in mine:
                told = self._clock(number) if files.count(number) == 1 or side is mine[0] else "same file's clock"
                self._line((f"{side.name:<{self.width}}", "bold cyan"), f"   {_count(len(side), 'packet')}   {told}")
            for note in notes:
                self._line(f"{'':<{self.width}}   ", (note, "yellow"))

    def _clock(self, file: int) -> str:
        clock = self.sides.clocks[file]
        if not file:
            return "times are told by this clock"
        if clock.offset_ns is None:
            bounds = [f"at least {_time(clock.least_ns)}"] if clock.least_ns is not None else []
            bounds += [f"at most {_time(clock.most_ns)}"] if clock.most_ns is not None else []
            bound = f"; ahead by {' and '.join(bounds)}" if bounds else ""
            return f"clock not corrected: {clock.note}{bound}"
        drift = f", drifts {clock.drift * 1e6:+.2f} µs a second" if clock.drift is not None else ""
        ahead = "behind" if clock.offset_ns < 0 else "ahead"
        return f"clock {_time(abs(clock.offset_ns))} {ahead}, ± {_time(clock.uncertainty_ns or 0)}{drift}"

    def _flow(self, flow: SideFlow, *, walks: bool) -> None:
        first = next(iter(flow.tuples.values()))
        self._line()
        marks = [
            word
            for word, there in (
                ("weak evidence", flow.weak),
                ("other flows could be its own", flow.unclear),
                ("no TTL tells the way: the client is taken to be at the first file", flow.assumed and flow.joined),
                ("seen on one side only", not flow.joined),
            )
            if there
        ]
        counts = f"{_count(flow.packets['original'], 'request')}, {_count(flow.packets['reply'], 'reply', 'replies')}"
        self._line(
            (f"flow {flow.id}", "bold"),
            f"   {first.proto}   {counts}",
            (f"   {'; '.join(marks)}" if marks else "", "yellow"),
        )
        for side, directed in flow.tuples.items():
            self._line(f"   {side:<{self.width}}   {directed.source} → {directed.destination}")
        for change in flow.changes:
            self._line(
                f"   {'':<{self.width}}   ",
                (f"{change.field} {change.before} ⇒ {change.after}", "bold yellow"),
                (f"   between {change.before_side} and {change.at_side}", "magenta"),
            )
        for place, hop in enumerate(flow.hops):
            self._line(f"   {hop.one}-{hop.other}   ", _ways(flow, place))
        said = [f"{count} {word}" for word, count in flow.missing.items() if word != "lost"]
        said += [f"{flow.by_order} joined by order among alike"] if flow.by_order else []
        if said:
            self._line("   ", ("; ".join(said), "yellow"))
        if walks:
            for journey in self.sides.journeys(flow.id):
                self._walk(journey)

    def _walk(self, journey: SideJourney) -> None:
        h = journey.sightings[0].headers
        name = f"{'request' if journey.direction == 'original' else 'reply'} {journey.nth}"
        what = packet_words(h.proto, h.flags, h.length)
        start, comparable, shown = journey.sightings[0].time_ns, journey.sightings[0].corrected, None
        self._line()
        self._line(("   " + f"{name:<12}", "bold"), what, ("   joined by order" if journey.by_order else "", "yellow"))
        for seen in journey.sightings:
            ends = f"{seen.headers.tuple.source} → {seen.headers.tuple.destination}"
            took = f"{round((seen.time_ns - start) / 1000)} µs" if seen.corrected and comparable else "?"
            text = f"{took:>13}   {seen.side:<{self.width}}   #{seen.number:<8} ttl {seen.headers.ttl:<3}"
            wrong = "".join(f"   {name} checksum wrong" for name in seen.wrong_checksums)
            self._line(text, f"   {ends}" if ends != shown else "", (wrong, "yellow"))
            shown = ends
        for side, why in journey.missing:
            self._line(f"{'':>16}{side:<{self.width}}   ", (why, "yellow"))

    def _last(self) -> None:
        joined = len(self.sides.joined_flows)
        alone = self.sides.flow_count - joined
        self._line()
        if not joined:
            self._line(("nothing could be joined: ", "bold yellow"), f"{_count(alone, 'flow')} on one side only")
            return
        rest = f", {alone} on one side only" if alone else ""
        self._line(f"{_count(joined, 'flow')} joined{rest}")


def _ways(flow: SideFlow, place: int) -> str:
    told, hop = [], flow.hops[place]
    ways: list[tuple[Literal["original", "reply"], str, str]] = [
        ("original", "request", "requests"),
        ("reply", "reply", "replies"),
    ]
    for direction, one, many in ways:
        packets, lost, took = hop.packets[direction], hop.lost[direction], hop.delay_ns[direction]
        if packets or lost:
            words = _count(packets, one, many) + (f", {lost} lost between" if lost else "")
            told.append(words + (f", {_time(took)}" if took is not None else ""))
    return "; ".join(told) or "no packet on both sides"


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def _time(ns: int) -> str:
    """A span as people write it: `1.5 ms`, `2 h 3 min 4 s`."""
    size = abs(ns)
    sign = "-" if ns < 0 else ""
    for unit, name in ((60_000_000_000, ""), (1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "µs")):
        if size >= unit and name:
            return f"{sign}{size / unit:.3f}".rstrip("0").rstrip(".") + f" {name}"
        if size >= unit:
            minutes, rest = divmod(size, unit)
            hours, minutes = divmod(minutes, 60)
            return f"{sign}{f'{hours} h ' if hours else ''}{minutes} min {rest / 1e9:.3f} s"
    return f"{ns} ns"
