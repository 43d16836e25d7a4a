"""iptables-legacy's nat rules, which no trace shows: when they were walked, and which of them matched.

Whether a nat chain was walked follows from the conntrack entry: between the stages on either side of a nat hook a
manip is set up by walking its chains, and by nothing else (nf_nat_inet_fn in nf_nat_core.c). Which rule matched only
its counter tells: if as many packets as it counted could have matched it, and no more, they all did. Anything less
certain is left unknown.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from netemu.netfilter.conntrack import PacketConntrack, Tuple
from netemu.netfilter.hooks import STAGE, Manip, Stage
from netemu.netfilter.legacy import Terms, base_chain, could_make, could_match, ends_walk, reachable, terms
from netemu.netfilter.ruleset import Rule
from netemu.record.capture import HostCapture
from netemu.record.decode.rows import Column
from netemu.record.join.passes import HostPasses
from netemu.record.join.rewrites import matched
from netemu.record.join.sayings import STAGE_CODE
from netemu.record.join.turn import RuleTurn

Key = tuple[str, str, str, int]
_NAT = {STAGE_CODE[stage.name.removesuffix(".nat")]: stage for stage in STAGE.values() if stage.nat}
"""By the code of the stage before a nat hook, the one after it."""


@dataclass(slots=True)
class _Walk:
    """A packet's walk of a nat chain: how it came there, and how it left (None if it was not seen to).

    `row` is the sighting after it; a walk that is not `sure` may have been counted or not.
    """

    row: int
    stage: Stage
    before: Tuple
    after: Tuple | None
    sure: bool
    could: list[Rule] = field(default_factory=list)


def settle(capture: HostCapture, passes: HostPasses) -> tuple[HostPasses, dict[Key, int]]:
    """A host's passes with the turns of iptables-legacy's nat rules.

    Besides, how many packets could have matched each of these rules: a counter that says more disagrees.
    """
    families = {family for family, table in capture.rules_after.legacy if table == "nat"}
    if not families:
        return passes, {}
    walks: dict[str, list[_Walk]] = {family: [] for family in families}
    for walk in _walks(capture, passes):
        family = "ip6" if ":" in walk.before.src else "ip"
        if family in families:
            walks[family].append(walk)
    could: dict[Key, int] = {}
    turns: dict[int, RuleTurn] = {}
    for family, mine in walks.items():
        could |= _Settler(capture, family).settle(mine, turns)
    return _with_turns(passes, turns), could


def _walks(capture: HostCapture, passes: HostPasses) -> Iterator[_Walk]:
    """The walks of nat chains of which the trace shows no match."""
    rows = len(passes.stage)
    of_pass = np.repeat(np.arange(len(passes.first)), passes.count)
    outside = _outside(capture, passes)
    for code, stage in _NAT.items():
        not_yet, done = (_each(passes, walking, stage.nat) for walking in (True, False))
        befores = np.flatnonzero((passes.stage == code) & not_yet)
        nexts = np.minimum(befores + 1, rows - 1)
        comes = (befores + 1 < rows) & (of_pass[nexts] == of_pass[befores])
        comes &= passes.stage[nexts] == STAGE_CODE[stage.name]
        walked = np.where(comes, done[nexts], True)
        for before, after, seen in zip(
            befores[walked].tolist(), nexts[walked].tolist(), comes[walked].tolist(), strict=True
        ):
            if seen and matched(_turns(passes, after)) is not None:
                continue
            made = _tuple(passes, after) if seen else None
            sure = seen and not outside[before] and not outside[after]
            yield _Walk(after, stage, _tuple(passes, before), made, sure)


def _each(passes: HostPasses, walking: bool, manip: Manip | None) -> Column:
    """Of each sighting, whether its entry may be walked for and lacks the manip; or else, whether it has it set up."""

    def tells(ct: PacketConntrack) -> bool:
        if ct.manips is None:
            return False
        return ct.state in ("new", "related") and manip not in ct.manips if walking else manip in ct.manips

    told = np.array([*map(tells, passes.states), False], np.bool_)
    return told[passes.ct]


def _outside(capture: HostCapture, passes: HostPasses) -> Column:
    """Of each sighting, whether it lies outside the stretch for which the counters were surely read."""
    if capture.counted is None:
        return np.zeros(len(passes.event), np.bool_)
    start, end = capture.counted
    datagram = passes.events.datagram[passes.event]
    return np.asarray((datagram < start) | (datagram >= end))


def _tuple(passes: HostPasses, row: int) -> Tuple:
    headers = passes.packets.headers(row)
    assert headers is not None
    return headers.tuple


def _turns(passes: HostPasses, row: int) -> list[RuleTurn]:
    first, count = passes.turns_first[row], passes.turns_count[row]
    return [passes.met[turn] for turn in passes.turns[first : first + count]]


class _Settler:
    """One host's legacy nat rules of one family."""

    def __init__(self, capture: HostCapture, family: str) -> None:
        self.host, self.family = capture.host, family
        before, after = (_nat_rules(each.rules, family) for each in (capture.rules_before, capture.rules_after))
        self.same = {rule.key: rule.text for rule in before} == {rule.key: rule.text for rule in after}
        self.counted = capture.rules_after.packets_since(capture.rules_before)
        self.reached = reachable(after)
        self.rules = [(rule, ending) for rule in after if ends_walk(ending := terms(rule.text), self.reached)]

    def settle(self, walks: list[_Walk], turns: dict[int, RuleTurn]) -> dict[Key, int]:
        """Decide each walk's turn, by the row of the sighting after it; how many walks fit each rule."""
        could: dict[Key, int] = {rule.key: 0 for rule, _ in self.rules}
        for walk in walks:
            walk.could = [rule for rule, ending in self.rules if self._could(rule, ending, walk)]
            for rule in walk.could:
                could[rule.key] += 1
        unsure = {rule.key for walk in walks if not walk.sure for rule in walk.could}
        decided = {key for key, fitting in could.items() if self.counted.get(key) == fitting} - unsure
        turns.update({walk.row: self._turn(walk, decided) for walk in walks if walk.after is not None})
        return could if self.same else {}

    def _could(self, rule: Rule, ending: Terms, walk: _Walk) -> bool:
        if rule.chain not in self.reached[base_chain(walk.stage.hook)] or not could_match(ending, walk.before):
            return False
        return walk.after is None or could_make(ending, walk.stage.nat or "dst", walk.before, walk.after)

    def _turn(self, walk: _Walk, decided: set[Key]) -> RuleTurn:
        base = base_chain(walk.stage.hook)
        counting = [rule for rule in walk.could if not walk.sure or self.counted.get(rule.key, 0)]
        found = [rule for rule in counting if rule.key in decided]
        if self.same and (not counting or len(found) == 1):
            rule, chain = (found[0], found[0].chain) if counting else (None, base)
            return RuleTurn(self.host, self.family, "nat", chain, rule, "accept", nat=True, told_by="counters")
        return RuleTurn(self.host, self.family, "nat", base, None, "", nat=True, told_by="nothing")


def _nat_rules(rules: Iterable[Rule], family: str) -> list[Rule]:
    return [rule for rule in rules if rule.legacy and (rule.family, rule.table) == (family, "nat")]


def _with_turns(passes: HostPasses, turns: Mapping[int, RuleTurn]) -> HostPasses:
    """The passes with one more turn before each of some sightings: the last of those before it."""
    met = {turn: number for number, turn in enumerate(dict.fromkeys([*passes.met, *turns.values()]))}
    number = np.array([met[turn] for turn in passes.met], passes.turns.dtype)
    runs = [number[passes.turns] if len(number) else passes.turns]
    first, count = passes.turns_first.copy(), passes.turns_count.copy()
    end = len(passes.turns)
    for row, turn in turns.items():
        run = np.append(runs[0][first[row] : first[row] + count[row]], met[turn]).astype(runs[0].dtype)
        runs.append(run)
        first[row], count[row] = end, len(run)
        end += len(run)
    return replace(passes, turns=np.concatenate(runs), turns_first=first, turns_count=count, met=tuple(met))
