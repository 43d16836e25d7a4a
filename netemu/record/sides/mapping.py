"""How a NAT maps, in the words of RFC 4787 (4.1, 4.2.1), as far as the flows through it tell; else nothing.

A port that was kept proves nothing of the mapping: any NAT keeps it while it is free. Only where the port changed, and
changed alike for several destination addresses, the mapping was the same one. Mappings that differ tell something
only while neither can have ended meanwhile.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from netemu.netfilter.conntrack import Tuple
from netemu.record.decode.rows import Column
from netemu.record.sides.joined import JoinedSides

_SHORTEST_LIFE_NS = 10_000_000_000
"""No NAT in use forgets a mapping so soon (RFC 4787, 4.3, asks for two minutes; Linux has 30 s)."""
_AT_MOST = 64
"""As many flows of one inner end are compared with one another."""
_WITH_PORTS = ("tcp", "udp", "dccp", "sctp", "udplite")


@dataclass(frozen=True, slots=True)
class MappingNote:
    """What the flows of one protocol tell of the NAT between two sides; `evidence` are ids of two flows that do."""

    between: tuple[str, str]
    proto: str
    said: str
    evidence: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Mapped:
    flow: int
    inner: Tuple
    outer: Tuple
    begin: int
    end: int


def mapping_notes(joined: JoinedSides) -> list[MappingNote]:
    """What is told of each NAT between neighbouring sides."""
    found = []
    begin, end = _spans(joined)
    for one in range(len(joined.sides) - 1):
        groups: dict[str, dict[str, list[_Mapped]]] = defaultdict(lambda: defaultdict(list))
        both = (joined.flows[:, one] >= 0) & (joined.flows[:, one + 1] >= 0) & ~joined.weak
        for flow in np.flatnonzero(both).tolist():
            near, far = (one, one + 1) if joined.forward[flow] else (one + 1, one)
            inner, outer = joined.tuple_at(flow, near), joined.tuple_at(flow, far)
            if inner.proto in _WITH_PORTS and inner.src != outer.src:
                mapped = _Mapped(flow + 1, inner, outer, int(begin[flow]), int(end[flow]))
                groups[inner.proto][inner.source].append(mapped)
        names = joined.sides[one].name, joined.sides[one + 1].name
        for proto, ends in groups.items():
            found += _notes(names, proto, list(ends.values()))
    return found


def _spans(joined: JoinedSides) -> tuple[Column, Column]:
    begin = np.full(len(joined.flows), np.iinfo(np.int64).max)
    end = np.full(len(joined.flows), np.iinfo(np.int64).min)
    for place in range(len(joined.sides)):
        seen = np.flatnonzero(joined.rows[:, place] >= 0)
        times = joined.time_ns[place][joined.rows[seen, place]]
        np.minimum.at(begin, joined.flow[seen], times)
        np.maximum.at(end, joined.flow[seen], times)
    return begin, end


def _notes(between: tuple[str, str], proto: str, ends: list[list[_Mapped]]) -> list[MappingNote]:
    pairs = [pair for mine in ends for pair in combinations(mine[:_AT_MOST], 2) if _at_once(*pair)]
    found = []
    same = [(a, b) for a, b in pairs if a.outer.source == b.outer.source]
    other = [(a, b) for a, b in pairs if a.outer.source != b.outer.source and a.inner.dst == a.outer.dst]
    alike = next(((a, b) for a, b in same if _changed(a) and a.outer.dst != b.outer.dst), None)
    by_port = next(((a, b) for a, b in other if a.outer.dst == b.outer.dst), None)
    by_address = next(((a, b) for a, b in other if a.outer.dst != b.outer.dst), None)
    same_address = any(_changed(a) and a.outer.dst == b.outer.dst and a.outer.dport != b.outer.dport for a, b in same)
    if alike and not (by_port or by_address):
        found.append(("endpoint-independent mapping", alike))
    elif by_port and not alike:
        found.append(("address and port-dependent mapping", by_port))
    elif by_address and not alike:
        said = (
            "address-dependent mapping" if same_address else "address-dependent or address and port-dependent mapping"
        )
        found.append((said, by_address))
    flows = [each for mine in ends for each in mine]
    kept = [each for each in flows if not _changed(each)]
    if len(kept) == len(flows) and len(flows) > 1:
        found.append(("port preservation", (flows[0], flows[1])))
    return [MappingNote(between, proto, said, tuple(each.flow for each in pair)) for said, pair in found]


def _changed(mapped: _Mapped) -> bool:
    return mapped.inner.sport != mapped.outer.sport


def _at_once(one: _Mapped, other: _Mapped) -> bool:
    """Whether a mapping that one flow had was still there for the other."""
    return max(one.begin, other.begin) - min(one.end, other.end) < _SHORTEST_LIFE_NS
