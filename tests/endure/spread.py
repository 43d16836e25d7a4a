"""Places spread over a whole."""

from __future__ import annotations


def spread(count: int, places: int) -> list[int]:
    """So many places of all, evenly: the first and the last among them."""
    step = max(count - 1, 1) / max(places - 1, 1)
    return sorted({min(count, 1 + round(step * place)) for place in range(places)})
