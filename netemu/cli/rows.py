"""One packet's walk as rows, a row a point where there is something to say; and which packets are alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from netemu import End, Journey, Quote, Rewrite, Sighting
from netemu.cli.console import counted

BOTH = 2


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a walk: `time` in whole µs since the packet's first wire, or empty; `cause` only for a rewrite."""

    time: str
    point: str
    text: str
    cause: str = ""
    rewrite: bool = False


def _by_id(id: int) -> str:
    return f"journey {id}"


def rows(journey: Journey, numbers: dict[tuple[str, str], int], name_of: Callable[[int], str] = _by_id) -> list[Row]:
    """A packet's walk. Wires are always there; of the hooks, those at which something changed.

    `numbers` gives each rule's number in the listing below the walk, by host and text; `name_of` what another journey
    is called, by its id.
    """
    found: list[Row] = []
    start = journey.start_ns
    shown: tuple[str, str] | None = None
    ttl: int | None = None
    for place, seen in enumerate(journey.sightings):
        changes = [change for change in journey.rewrites if change.place == place]
        if seen.point.stage is not None:
            found += [_change(change, journey, numbers) for change in changes]
            ttl = seen.headers.ttl if ttl is not None else None
            continue
        h = seen.headers
        part = h.fragment is not None and h.fragment[0] > 0
        ends = shown if part and shown is not None else (h.source, h.destination)
        parts = [f"{ends[0]} → {ends[1]}"] if ends != shown else []
        parts += [f"fragment from byte {h.fragment[0]} on"] if h.fragment is not None else []
        parts += [f"ttl {h.ttl}"] if h.ttl != ttl else []
        parts += [f"{name} checksum wrong" for name in seen.wrong_checksums]
        shown, ttl = ends, h.ttl
        time = "" if seen.time_ns is None or start is None else str(round((seen.time_ns - start) / 1000))
        found.append(Row(time, str(seen.point), "   ".join(parts)))
        found += [
            Row("", "", _carried(hop.carrier, hop.among, name_of)) for hop in journey.tunnels if hop.place == place
        ]
    return found + [Row("", str(end.at), _ended(end)) for end in journey.ends or (journey.end,)]


def _carried(carrier: int | None, among: int, name_of: Callable[[int], str]) -> str:
    """What carried a packet through the tunnel that it went into."""
    if carrier is not None:
        return f"carried by {name_of(carrier)}{f', 1 of {among} alike, told by order' if among > 1 else ''}"
    if not among:
        return "in a tunnel, no whole datagram that carries it was seen"
    return f"in a tunnel, carried by 1 of {among} alike, which one can't be told"


def _ended(end: End) -> str:
    said = f": {error_words(end.error)}" if end.error is not None else ""
    if end.why == "checksum":
        said += ", and dropped there for its checksum" if end.kind == "delivered" else ": dropped for its checksum"
    if end.turn is not None:
        return f"last seen; dropped by {end.turn.table} {end.turn.chain}: {end.turn.text}{said}"
    words = {"delivered": "delivered", "reassembled": "put together with the packet's other fragments"}
    return f"{words.get(end.kind, 'not seen any further')}{said}"


def packet_words(proto: str, flags: str, length: int) -> str:
    """What a packet is, in a few words: `PSH ACK 17 bytes`, `UDP 1 byte`."""
    return " ".join(part for part in (flags or proto.upper(), counted(length, "byte") if length else "") if part)


def error_words(error: Quote) -> str:
    """What an ICMP error says, as the walk has it: PORT UNREACHABLE."""
    mtu = f", next MTU {error.mtu}" if error.mtu else ""
    return f"{error.kind.replace('-', ' ').upper()}{mtu}"


def _change(change: Rewrite, journey: Journey, numbers: dict[tuple[str, str], int]) -> Row:
    text = f"{change.field} {change.before} ⇒ {change.after}"
    return Row("", str(change.at), text, _cause(change, journey, numbers), rewrite=change.by != "route")


def _cause(change: Rewrite, journey: Journey, numbers: dict[tuple[str, str], int]) -> str:
    if change.by == "rule":
        number = numbers.get((change.at.host, change.rule or ""))
        told = " *" if change.told_by == "counters" else ""
        return f"rule {number if number is not None else ''} {jump(change.rule or '')}{told}".replace("  ", " ")
    if change.by == "conntrack":
        return f"conntrack, {'reply' if journey.direction == 'original' else 'original'} tuple"
    return "" if change.by == "route" else change.by


def jump(rule: str) -> str:
    """A rule's chain and target: `PREROUTING -j DNAT`; the whole text where it has none."""
    words = rule.split()
    if words[:1] != ["-A"] or "-j" not in words[:-1]:
        return rule
    return f"{words[1]} -j {words[words.index('-j') + 1]}"


def decided(journey: Journey) -> list[str]:
    """How each host that tracks saw the packet: ctinfo, which manips were set up, whether nat chains were walked."""
    found: dict[str, str] = {}
    for seen in journey.sightings:
        if seen.ct is not None and seen.point.host not in found:
            found[seen.point.host] = f"{seen.point.host}: {_state(seen, journey)}"
    return list(found.values())


def which(journey: Journey, name_of: Callable[[int], str]) -> list[str]:
    """What is to be said of which packet this is: alike to others, sent again, or come twice."""
    found = []
    if journey.retransmits is not None:
        found.append(f"sent again: repeats {name_of(journey.retransmits)}")
    if journey.duplicates is not None:
        found.append(f"came a second time: {name_of(journey.duplicates)} once more")
    if journey.alike > 1:
        told = "told by order" if journey.certain else "which one it is can't be told"
        found.append(f"1 of {journey.alike} alike, {told}")
    return found


def carries(journey: Journey, name_of: Callable[[int], str]) -> list[str]:
    """What is to be said of the packet that a tunnel's datagram carries."""
    if journey.carries is not None:
        return [f"carries {name_of(journey.carries)}"]
    if journey.carries_among:
        return [f"carries 1 of {journey.carries_among} alike, which one can't be told"]
    return []


def _state(seen: Sighting, journey: Journey) -> str:
    assert seen.ct is not None
    if seen.ct.state == "untracked":
        return "UNTRACKED"
    manips = seen.ct.manips
    if manips is None:
        told = "manips unknown"
    elif len(manips) == BOTH:
        told = "both manips set up"
    else:
        told = f"{manips[0] if manips else 'no'} manip set up"
    walked = any(point.host == seen.point.host for point in journey.walked)
    return f"{seen.ct.ctinfo}, {told}: {'nat chains walked' if walked else 'no nat chain walked'}"


def likeness(journey: Journey) -> object:
    """What two packets must share to be told as one: everything but their time, flags and length."""
    return (
        journey.flow,
        journey.direction,
        tuple(
            (
                seen.point,
                seen.headers.ttl,
                seen.ct and (seen.ct.ctinfo, seen.ct.manips) if seen.point.stage is not None else None,
                seen.wrong_checksums,
            )
            for seen in journey.sightings
        ),
        tuple((change.at, change.field, change.before, change.after, change.by) for change in journey.rewrites),
        journey.walked,
        tuple((end.kind, end.why, end.error and end.error.kind) for end in journey.ends),
        journey.error and journey.error.kind,
        journey.certain,
        journey.retransmits is not None,
        journey.duplicates is not None,
        tuple((hop.place, hop.carrier is not None, hop.among > 0) for hop in journey.tunnels),
        (journey.carries is not None, journey.carries_among > 0),
    )
