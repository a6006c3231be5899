"""Which of many things are drawn, where all of them would be too many to be seen.

It knows numbers and positions only.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

__all__ = ["extremes", "spread"]


def spread(count: int, most: int) -> tuple[int, ...]:
    """At most `most` of the numbers below `count`, evenly spread, the first and the last among them."""
    if count <= most:
        return tuple(range(count))
    return tuple(round(place * (count - 1) / (most - 1)) for place in range(most))


def extremes(points: Sequence[tuple[float, float]], bins: int) -> tuple[tuple[float, float], ...]:
    """At most two points a bin, its lowest and its highest, in their order: a line through them looks the same."""
    if len(points) <= 2 * bins:
        return tuple(points)
    cuts = [len(points) * place // bins for place in range(bins + 1)]
    kept: list[tuple[float, float]] = []
    for start, stop in pairwise(cuts):
        block = points[start:stop]
        kept += sorted({min(block, key=lambda point: point[1]), max(block, key=lambda point: point[1])})
    return tuple(kept)
