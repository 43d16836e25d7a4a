"""What was told already, for ICMP errors that come later: the packets that they may quote, while they are known.

What is kept is bounded: what was told longest ago is forgotten.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from netemu.netfilter.conntrack import Direction
from netemu.record.decode.rows import Column
from netemu.record.join.forest import Laid
from netemu.record.join.quotes import Lone
from netemu.record.join.quoting import quoted_as
from netemu.record.join.sightings import Sightings
from netemu.record.journeys import Journey

MOST_TOLD = 65_536


@dataclass(frozen=True, slots=True)
class Told:
    """A journey that was told, and how many until then were quoted alike."""

    id: int
    flow: int
    direction: Direction
    among: int = 1


class ToldPackets:
    """`keep` journeys as they are told; `name` the packet in an error that comes later."""

    def __init__(self, most: int = MOST_TOLD) -> None:
        self.most = most
        self._by_key: OrderedDict[int, Told] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_key)

    def keep(self, journey: Journey, keys: Sequence[int]) -> None:
        """Remember a journey by the digests of what an error would quote of it."""
        for key in keys:
            before = self._by_key.pop(key, None)
            among = before.among + 1 if before is not None else 1
            self._by_key[key] = Told(journey.id, journey.flow, journey.direction, among)
        while len(self._by_key) > self.most:
            self._by_key.popitem(last=False)

    def name(self, journey: Journey, lone: Lone) -> Told | None:
        """Say in an error what it is about; the packet's journey, the last one that fits, if it is still known."""
        found = self._by_key.get(lone.key)
        journey.error = replace(lone.says, journey=journey.id, among=found.among if found is not None else 0)
        journey.quotes = found.id if found is not None else None
        journey.about = lone.about
        return found


def keys_of(laid: Laid, seen: Sightings, told: Column) -> dict[int, Sequence[int]]:
    """By the places of the journeys to be told, the digests of what an error would quote of each."""
    rows = [laid.rows[laid.offset[number] : laid.offset[number + 1]] for number in told.tolist()]
    keys = quoted_as(seen.packets, np.concatenate([np.empty(0, np.int64), *rows]))
    edges = np.cumsum([len(each) for each in rows])[:-1]
    parts = np.split(keys, edges) if rows else []
    return {number: np.unique(part).tolist() for number, part in zip(told.tolist(), parts, strict=True)}
