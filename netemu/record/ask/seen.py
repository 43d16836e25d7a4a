"""A record's sightings as a sequence: each is made when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, SupportsIndex, Unpack, overload

import numpy as np

from netemu.record.ask.askable import Askable
from netemu.record.ask.select import Words, positions_where
from netemu.record.decode.rows import Column
from netemu.record.sighting import Sighting

if TYPE_CHECKING:
    from netemu.record.journeys import Journeys


class Seen(Askable[Sighting]):
    """The sightings of packets that were followed, journey by journey, each journey's in order; called, some of them.

    `positions` are places in the journeys' `laid.rows`.
    """

    def __init__(self, journeys: Journeys, positions: Column | None = None) -> None:
        self.journeys = journeys
        self.positions = np.arange(len(journeys.laid.rows)) if positions is None else positions

    def __call__(self, text: str = "", **words: Unpack[Words]) -> Seen:
        """Those among them that a text in pcap's manner and all words fit (select.py tells which words there are).

        Raises UsageError on a word, host, point or value that there is not.
        """
        found = positions_where(self.journeys, text, words)
        return Seen(self.journeys, self.positions[np.isin(self.positions, found, assume_unique=True)])

    def __len__(self) -> int:
        return len(self.positions)

    @overload
    def __getitem__(self, place: SupportsIndex) -> Sighting: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Sighting]: ...
    def __getitem__(self, place: SupportsIndex | slice) -> Sighting | Sequence[Sighting]:
        if isinstance(place, slice):
            return Seen(self.journeys, self.positions[place])
        return self.journeys.seen.sighting(int(self.journeys.laid.rows[self.positions[place]]))

    def __iter__(self) -> Iterator[Sighting]:
        return map(self.journeys.seen.sighting, self.journeys.laid.rows[self.positions].tolist())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or len(self) != len(other):
            return False
        return all(one == another for one, another in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{len(self)} sightings>"
