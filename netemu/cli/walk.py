"""A report as people read it: each packet's walk, the conntrack entries, the rules' counters, the checks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.text import Text

from netemu import Exchange, Flow, Journey, Report, Topology, Verdict, sharded
from netemu.cli.console import counted
from netemu.cli.failures import failures
from netemu.cli.rows import Row, carries, decided, error_words, likeness, packet_words, rows, which

COLOUR = {Verdict.PASS: "bold green", Verdict.FAIL: "bold red", Verdict.UNPROVEN: "bold yellow"}
_TIME, _GAP, _HEAD = 7, 2, 35
_DOZEN = 12
_QUIET_STATUS = {"confirmed", "src-nat-done", "dst-nat-done"}
"""Bits that every entry has once it is set up."""


class Walk:
    """Prints one report."""

    def __init__(self, console: Console, report: Report, topology: Topology, unfold: bool) -> None:
        self.console = console
        self.report = report
        self.topology = topology
        self.unfold = unfold
        self.rules = [(host, rule) for host, mine in sorted(report.record.rules.items()) for rule in mine]
        self.numbers = {(host, rule.text): number for number, (host, rule) in enumerate(self.rules, 1)}

    def print(self) -> None:
        """All of it, top to bottom."""
        self._heading()
        for exchange in self.report.record.exchanges:
            self._exchange(exchange)
        self._rules()
        failures(self.console, self.report, self.unfold)
        self._verdict()
        for remark in self.report.remarks:
            self._line(("note", "yellow"), f"   {remark}")

    def _line(self, *parts: Text | str | tuple[str, str], right: Text | str = "") -> None:
        """One line; where there is no room, what stands on the right, or the excess, goes to lines of its own."""
        line, aside = Text.assemble(*parts), Text.assemble(right)
        room = self.console.width - line.cell_len - aside.cell_len
        lines = (
            [Text.assemble(line, " " * room, aside)] if right and room >= _GAP else [line, aside][: 2 if right else 1]
        )
        for whole in lines:
            whole.rstrip()
            indent = len(whole.plain) - len(whole.plain.lstrip())
            for place, part in enumerate(whole.wrap(self.console, self.console.width) or [whole]):
                part.rstrip()
                self.console.print(Text.assemble(" " * (indent + _GAP) if place else "", part))

    def _heading(self) -> None:
        topology = self.topology
        what = f"   {topology.description}" if topology.description else ""
        up = self.report.timing_ms.get("up")
        self._line((topology.name, "bold"), what, right=f"up in {up:.0f} ms" if up is not None else "")
        bridges = sharded(topology)
        networks = [
            f"{', '.join(_fewer(dict.fromkeys(host for host, _ in topology.members(network))))} on {network}"
            + (f" (sharded over {bridges[network]} bridges)" if network in bridges else "")
            for network in topology.networks
            if topology.members(network)
        ]
        links = [" to ".join(link.endpoints) for link in topology.links]
        wired = "; ".join([*networks, *_fewer(links)])
        self._line((f"{counted(len(topology.hosts), 'host')}{f': {wired}' if wired else ''}", "dim"))

    def _exchange(self, exchange: Exchange) -> None:
        flows = self.report.record.flows_of(exchange)
        requests = sum(len(flow.packets("original")) for flow in flows)
        replies = sum(len(flow.packets("reply")) for flow in flows)
        went = (exchange.result, "green") if exchange.fault is None else (exchange.fault, "bold red")
        counts = f", {_count(requests, 'request')} and {_count(replies, 'reply', 'replies')}"
        self._line()
        head = Text.assemble((exchange.name, "bold cyan"), f"   {exchange.host}: {exchange.what}")
        self._line(head, right=Text.assemble(went, counts))
        for flow in flows:
            self._flow(flow)

    def _flow(self, flow: Flow) -> None:
        told: dict[object, Journey] = {}
        alike: list[tuple[Journey, Journey]] = []
        for journey in flow.journeys:
            key = likeness(journey)
            if not self.unfold and key in told:
                alike.append((journey, told[key]))
                continue
            self._folded(alike)
            alike = []
            told[key] = journey
            self._packet(journey)
        self._folded(alike)
        if flow.entries:
            self._line()
        for host, entry in flow.entries.items():
            label = f"conntrack at {host}   "
            original, reply = entry.original, entry.reply
            width = max(len(original.source), len(reply.source))
            status = [bit.upper().replace("-", "_") for bit in entry.status_names if bit not in _QUIET_STATUS]
            state = [f"{entry.original.proto} {entry.tcp_state}"] if entry.tcp_state else [entry.original.proto]
            self._line((label, "bold"), f"original  {original.source:<{width}} → {original.destination}")
            self._line(" " * len(label), f"reply     {reply.source:<{width}} → {reply.destination}")
            self._line(" " * len(label), (", ".join(state + status), "dim"))

    def _packet(self, journey: Journey) -> None:
        name = self._name(journey)
        h = journey.first.headers
        what = packet_words(h.proto, h.flags, h.length)
        if journey.error is not None and journey.quotes is not None:
            about = self._name_of(journey.quotes)
            among = f", 1 of {journey.error.among} that fit" if journey.error.among > 1 else ""
            what = f"{error_words(journey.error)}, quotes {about}{among}"
        self._line()
        told = [*decided(journey), *which(journey, self._name_of), *carries(journey, self._name_with_ends)]
        beside = bool(told) and len(what) < _HEAD - 12 and all(_HEAD + len(each) <= self.console.width for each in told)
        self._line((f"{name:<11} ", "bold"), f"{what:<22} ", (told[0] if beside else "", "italic"))
        for more in told[1:] if beside else told:
            self._line(" " * (_HEAD if beside else 12), (more, "italic"))
        walk = rows(journey, self.numbers, self._name_with_ends)
        width = max(len(row.point) for row in walk)
        texts = max((len(row.text) for row in walk if row.cause), default=0)
        for place, row in enumerate(walk):
            for line in self._row(row, width, texts, first=place == 0):
                self._line(line)

    def _name(self, journey: Journey) -> str:
        """`request 2`, `reply 1`; errors are counted by themselves in their flow."""
        if journey.quotes is None:
            return f"{'request' if journey.direction == 'original' else 'reply'} {journey.nth}"
        flow = self.report.record.flows[journey.flow - 1]
        errors = [each.id for each in flow.journeys if each.quotes is not None]
        return f"error {errors.index(journey.id) + 1}"

    def _name_of(self, id: int) -> str:
        return self._name(self.report.record.journeys[id - 1])

    def _name_with_ends(self, id: int) -> str:
        """Of a packet of another flow, which may be none that is shown: its ends, as a walk has them."""
        h = self.report.record.journeys[id - 1].first.headers
        return f"{self._name_of(id)} of {h.proto} {h.source} → {h.destination}"

    def _row(self, row: Row, width: int, texts: int, *, first: bool) -> Iterator[Text]:
        time = f"{row.time:>{_TIME}}" + (" µs " if first and row.time else "    ")
        style = "bold yellow" if row.rewrite else ""
        if not row.text:
            yield Text.assemble((time, "dim"), row.point)
            return
        line = Text.assemble((time, "dim"), f"{row.point:<{width}}{' ' * _GAP}", (row.text, style))
        room = self.console.width - line.cell_len - len(row.cause)
        if not row.cause:
            yield line
        elif room >= _GAP:
            gap = max(_GAP, min(texts - len(row.text) + _GAP, room))
            yield Text.assemble(line, " " * gap, (row.cause, "magenta"))
        else:
            yield line
            yield Text.assemble(" " * (len(time) + width + _GAP), "by ", (row.cause, "magenta"))

    def _folded(self, alike: list[tuple[Journey, Journey]]) -> None:
        if not alike:
            return
        told: list[str] = []
        errors = [(journey.id, like.id) for journey, like in alike if journey.error is not None]
        for like in dict.fromkeys(like for _, like in errors):
            ids = [journey for journey, other in errors if other == like]
            told.append(f"{_count(len(ids), 'error')} more as {self._name_of(like)}")
        for direction, one, many in (("original", "request", "requests"), ("reply", "reply", "replies")):
            mine = [
                (journey.nth, like.nth)
                for journey, like in alike
                if journey.direction == direction and journey.error is None
            ]
            for like in dict.fromkeys(like for _, like in mine):
                numbers = [nth for nth, other in mine if other == like]
                span = _spans(numbers)
                told.append(f"{many if len(numbers) > 1 else one} {span} as {one} {like}")
        self._line()
        self._line(("; ".join(told), "dim"))

    def _rules(self) -> None:
        counters = self.report.record.counters
        used = {(turn.host, turn.text) for journey in self.report.record.journeys for turn in journey.rules}
        matched = [(n, host, rule) for n, (host, rule) in enumerate(self.rules, 1) if (host, rule.text) in used]
        if not matched:
            return
        self._line()
        for number, host, rule in matched:
            counted = counters[host].get(rule.key)
            head = f"rule {number} at {host}   {_count(counted, 'packet') if counted is not None else 'no counter':<12}"
            said = rule.text if rule.line.startswith("iptables ") else rule.line
            self._line((head, "bold"), said)
        if any(turn.told_by != "trace" for journey in self.report.record.journeys for turn in journey.rules):
            self._line(("* known by the rules' counters: no trace shows the rules of iptables-legacy", "dim"))

    def _verdict(self) -> None:
        report = self.report
        by = {verdict: sum(check.verdict is verdict for check in report.checks) for verdict in Verdict}
        words = {Verdict.PASS: "passed", Verdict.FAIL: "failed", Verdict.UNPROVEN: "unproven"}
        counts = ", ".join(f"{by[verdict]} {words[verdict]}" for verdict in Verdict if by[verdict])
        lost = f"{report.record.lost} lost" if report.record.lost else "nothing lost"
        self._line()
        if not report.checks:
            self._line("no traffic and no expectations: nothing to check")
            return
        self._line(
            f"{_count(len(report.checks), 'check')}: {counts}; {report.record.captured} sightings, {lost}",
            right=Text(str(report.verdict), COLOUR[report.verdict]),
        )


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def _fewer(things: Iterable[str]) -> list[str]:
    """A dozen at most: of more, the first few and the last."""
    listed = list(things)
    return listed if len(listed) <= _DOZEN else [*listed[:3], "…", listed[-1]]


def _spans(numbers: list[int]) -> str:
    """3, 4, 5, 8 as `3-5, 8`."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)
