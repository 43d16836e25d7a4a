"""How far apart two files' clocks are, told by packets that both saw, as NTP has it (RFC 5905, 8).

No packet arrives before it was sent: the least difference of times one way is the offset plus a delay, the least the
other way a delay minus the offset. Half of what they differ by is the offset, half of what they sum to its uncertainty.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from netemu.record.decode.rows import Column

_LONG_NS = 10_000_000_000
"""A capture shorter than this tells nothing about drift."""
_WINDOWS, _FEWEST = 24, 5


@dataclass(frozen=True, slots=True)
class Clock:
    """A file's clock as against the first file's: `time - offset_ns - drift * (time - since_ns)` is the first's time.

    `offset_ns` is None where it is not known. Then `least_ns` or `most_ns` bound it, where packets went one way alone.
    `drift` is in seconds a second, None where it could not be told. `note` says what is wrong.
    """

    offset_ns: int | None
    uncertainty_ns: int | None = None
    drift: float | None = None
    since_ns: int = 0
    least_ns: int | None = None
    most_ns: int | None = None
    note: str = ""

    def corrected(self, time_ns: Column) -> Column:
        """Times by this file's clock, told by the first file's; as they are where the offset is not known."""
        if self.offset_ns is None:
            return time_ns
        found: Column = time_ns - self.offset_ns
        if self.drift:
            found = found - ((time_ns - self.since_ns) * self.drift).astype(np.int64)
        return found


FIRST = Clock(0, 0)
"""The first file's clock: the one that all times are told by."""


def estimate(there: Column, here: Column, forward: Column) -> Clock:
    """The second file's clock as against the first's, from packets seen at both, one row each.

    `there` are times by the first file's clock, `here` by the second's; `forward` tells which packets went from the
    first to the second.
    """
    later = here - there
    if not len(later):
        return Clock(None, note="no packet was seen on both sides: the clocks can't be compared")
    if forward.all():
        return Clock(None, most_ns=int(later.min()), note="packets went one way alone: the offset has only a bound")
    if not forward.any():
        return Clock(None, least_ns=int(later.max()), note="packets went one way alone: the offset has only a bound")
    since = int(here.min())
    drift = _drift(here - since, later, forward)
    if drift is not None:
        later = later - ((here - since) * drift).astype(np.int64)
    ahead, behind = int(later[forward].min()), int(later[~forward].max())
    if ahead < behind:
        return Clock(None, note="the clocks moved against each other during the capture: no offset fits all packets")
    return Clock((ahead + behind) // 2, (ahead - behind + 1) // 2, drift, since)


def after(first: Clock, second: Clock) -> Clock:
    """A file's clock as against the first file's, from that of the file between them."""
    if first.offset_ns is None:
        return Clock(None, note=first.note)
    uncertain = first.uncertainty_ns or 0
    if second.offset_ns is None:
        least = None if second.least_ns is None else second.least_ns + first.offset_ns - uncertain
        most = None if second.most_ns is None else second.most_ns + first.offset_ns + uncertain
        return replace(second, least_ns=least, most_ns=most)
    drifts = [each for each in (first.drift, second.drift) if each is not None]
    offset = first.offset_ns + second.offset_ns
    if first.drift:  # both are to be told from the second's since
        offset += round((second.since_ns - second.offset_ns - first.since_ns) * first.drift)
    return Clock(
        offset,
        uncertain + (second.uncertainty_ns or 0),
        sum(drifts) if drifts else None,
        second.since_ns,
    )


def _drift(time: Column, later: Column, forward: Column) -> float | None:
    """The slope of both envelopes (Theil and Sen: the median over pairs of windows); None where it is not told.

    It is told where the slopes agree so well that not even a quarter of them has the other sign.
    """
    if int(time.max()) < _LONG_NS:
        return None
    window = time // (int(time.max()) // _WINDOWS + 1)
    slopes = []
    for mine, sign in ((forward, 1), (~forward, -1)):
        order = np.lexsort((later[mine] * sign, window[mine]))
        ordered = window[mine][order]
        least = order[np.flatnonzero(np.diff(ordered, prepend=-1))]
        at, value = time[mine][least], later[mine][least]
        if len(at) < _FEWEST:
            return None
        one, other = np.triu_indices(len(at), 1)
        slopes.append((value[other] - value[one]) / (at[other] - at[one]))
    low, middle, high = np.quantile(np.concatenate(slopes), (0.25, 0.5, 0.75))
    return float(middle) if low * high > 0 else None
