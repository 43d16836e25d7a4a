"""The packets that expectations select: each selection of a record is made once, for all that ask for it."""

from __future__ import annotations

from collections.abc import Sequence

from netemu.check.alike import Alike
from netemu.netfilter.conntrack import Direction
from netemu.record.exchange import Exchange
from netemu.record.journeys import Chosen, Journey
from netemu.record.record import Record

_WHICH: dict[str, tuple[int, int | None]] = {"first": (1, 1), "nth": (2, None), "all": (1, None)}
"""From which packet of a flow and direction to which."""


class Selections:
    """What was selected of a record so far."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self._made: dict[tuple[Exchange, str], Sequence[Journey]] = {}
        self._alike: dict[int, Alike] = {}

    def packets(self, exchange: Exchange, packet: str) -> Sequence[Journey]:
        """The packets of an exchange, as in `request.first`, flow by flow."""
        key = exchange, packet
        if key not in self._made:
            self._made[key] = self._select(exchange, packet)
        return self._made[key]

    def alike(self, selected: Chosen) -> Alike:
        """What was looked at so far of packets that were selected here."""
        if id(selected) not in self._alike:
            self._alike[id(selected)] = Alike(selected)
        return self._alike[id(selected)]

    def _select(self, exchange: Exchange, packet: str) -> Sequence[Journey]:
        side, _, which = packet.partition(".")
        direction: Direction = "original" if side == "request" else "reply"
        low, high = _WHICH.get(which) or (int(which), int(which))
        flows = self.record.flows_of(exchange)
        chosen = Chosen.of([flow.journeys for flow in flows])
        if chosen is not None:
            return chosen.going(direction).counting(low, high)
        packets = (each for flow in flows for each in flow.packets(direction))
        return [each for each in packets if low <= each.nth <= (high or each.nth)]
