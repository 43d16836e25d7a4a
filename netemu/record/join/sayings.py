"""What each kind of trace event of a host means to a packet's pass through its hooks: one look a kind, not an event."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from netemu.netfilter.conntrack import PacketConntrack
from netemu.netfilter.hooks import STARTS
from netemu.netfilter.messages import TraceEvent
from netemu.netfilter.ruleset import Rule
from netemu.record.capture import START, HostCapture, is_tap_table
from netemu.record.decode.events import Events, packet_conntrack
from netemu.record.decode.rows import Column
from netemu.record.join.turn import RuleTurn
from netemu.topology.points import HOOK_STAGES

STAGE_CODE = {stage: code for code, stage in enumerate(HOOK_STAGES)}
LEAVES = [code for stage, code in STAGE_CODE.items() if stage.startswith("postrouting")]
START_CODE = {str(start): code for code, start in enumerate(("", *STARTS))}
IGNORED, BEGINS, SEES, TURN = range(4)
"""What an event means to a pass."""
NAT, OTHER, JUMPED_TO = range(3)
"""What a chain is: a nat hook's base chain, another base chain, one that rules jump to."""


class Sayings:
    """What each saying of the events means: one entry a saying."""

    def __init__(self, capture: HostCapture, events: Events) -> None:
        self.capture = capture
        self.events = events
        said = events.sayings
        self.rules = capture.rules_before.by_handle() | capture.rules_after.by_handle()
        nat = capture.rules_before.nat_chains | capture.rules_after.nat_chains
        others = capture.rules_before.other_chains | capture.rules_after.other_chains
        chains = [(each.family, each.table, each.chain) for each in said]
        self.tap = np.array([each.table == capture.table for each in said], np.bool_)
        self.kind = np.array([self._kind(each) for each in said], np.uint8)
        self.stage = np.array([STAGE_CODE.get(each.chain, -1) for each in said], np.int8)
        self.begins = np.array(
            [START_CODE.get(each.chain.removeprefix(START), 0) if self._kind(each) == BEGINS else 0 for each in said],
            np.uint8,
        )
        self.chain = np.array(
            [NAT if chain in nat else OTHER if chain in others else JUMPED_TO for chain in chains], np.uint8
        )

    def _kind(self, said: TraceEvent) -> int:
        if said.table == self.capture.table:
            return BEGINS if said.chain.startswith(START) else SEES
        if is_tap_table(said.table):
            return IGNORED
        return TURN if said.kind == "policy" or said.handle is not None else IGNORED

    def turn(self, number: int, nat: bool) -> RuleTurn:
        """What a saying tells of a rule."""
        said = self.events.sayings[number]
        chain = (said.family, said.table, said.chain)
        rule = None
        if said.kind == "rule" and said.handle is not None:
            rule = self.rules.get((*chain, said.handle)) or Rule(*chain, -1, f"handle {said.handle}")
        verdict = said.verdict if said.target is None else f"{said.verdict} {said.target}"
        return RuleTurn(self.capture.host, *chain, rule, verdict, nat)

    def conntrack(self, rows: Column) -> tuple[Column, Column, tuple[PacketConntrack, ...]]:
        """The events' conntrack states as numbers, their entries, and what the numbers stand for."""
        events = self.events
        if self.capture.states:
            states = tuple(dict.fromkeys(self.capture.states.values()))
            number = {state: place for place, state in enumerate(states)}
            known = {place: number[state] for place, state in self._told_by_rule()}
            told = np.array([known.get(place, -1) for place in range(len(events.sayings))], np.int32)
            return told[events.said[rows]] if len(told) else np.empty(0, np.int32), np.full(len(rows), -1), states
        has_id = events.ct_id[rows] >= 0
        word = events.ct_state[rows].astype(np.uint64) << np.uint64(40)
        word |= (has_id & events.ct_reply[rows]).astype(np.uint64) << np.uint64(33)
        word |= np.where(has_id, np.uint64(1 << 32) | events.ct_status[rows], np.uint64(0))
        kinds, inverse = np.unique(word, return_inverse=True)
        found: list[PacketConntrack] = []
        codes = []
        for each in kinds.tolist():
            state = packet_conntrack(each >> 40, bool(each >> 33 & 1), 0 if each >> 32 & 1 else -1, each & 0xFFFFFFFF)
            codes.append(-1 if state is None else len(found))
            found += [] if state is None else [state]
        codes_of = np.array(codes, np.int32)
        return codes_of[inverse] if len(codes_of) else np.empty(0, np.int32), events.ct_id[rows], tuple(found)

    def _told_by_rule(self) -> Iterable[tuple[int, PacketConntrack]]:
        for place, said in enumerate(self.events.sayings):
            state = self.capture.states.get((said.chain, said.handle or 0))
            if state is not None and said.table == self.capture.table:
                yield place, state
