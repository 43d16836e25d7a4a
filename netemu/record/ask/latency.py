"""How long packets took from one point to another: differences of the kernel's times of their frames."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from netemu.errors import UsageError
from netemu.record.ask.select import Rows
from netemu.record.decode.rows import Column
from netemu.topology.points import Point

if TYPE_CHECKING:
    from netemu.record.journeys import Journeys


@dataclass(frozen=True, slots=True)
class Latency:
    """Nanoseconds from one point to another: of `n` packets seen at both, at their first visits; None where n is 0.

    `missing` packets were seen at one of the two only. `ns` is each packet's, in order of `journeys` (their ids). A
    quantile is a value that was seen (the smallest below which so many lie).
    """

    n: int
    missing: int
    min: int | None
    median: int | None
    p90: int | None
    p99: int | None
    max: int | None
    ns: Column = field(compare=False, repr=False)
    journeys: Column = field(compare=False, repr=False)


def latency(journeys: Journeys, start: str, end: str, chosen: Column) -> Latency:
    """How long the chosen journeys (by their places) took from one wire point to another. Raises UsageError."""
    one, other = (_first_times(journeys, point) for point in (start, end))
    been, came = one[chosen] >= 0, other[chosen] >= 0
    both = chosen[been & came]
    ns = other[both] - one[both]
    quantiles: list[int | None] = [None] * 5
    if len(ns):
        quantiles = [int(each) for each in np.quantile(ns, (0, 0.5, 0.9, 0.99, 1), method="inverted_cdf")]
    least, median, p90, p99, most = quantiles
    return Latency(len(ns), int((been != came).sum()), least, median, p90, p99, most, ns, both + 1)


def _first_times(journeys: Journeys, text: str) -> Column:
    """When each journey was first at a wire point; -1 for never."""
    try:
        point = Point.parse(text)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if point.stage is not None:
        raise UsageError(f"{point} is a hook, and the kernel tells no times there: name wire points, as in 'B:eth0 in'")
    laid, seen = journeys.laid, journeys.seen
    there = np.flatnonzero(Rows(journeys).at(point)[laid.rows])
    journey = np.searchsorted(laid.offset, there, "right") - 1
    journey, first = np.unique(journey, return_index=True)
    found = np.full(len(laid), -1, np.int64)
    found[journey] = seen.time_ns[laid.rows[there[first]]]
    return found
