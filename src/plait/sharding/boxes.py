"""Which slice of a dim a rank owns: units shared as evenly as they go, without padding.

    13 heads on 3 ranks      5 / 4 / 4
    2 kv heads on 4 ranks    0 / 0 / 1 / 1     each rank keeps the kv heads that its own query heads read

A rank owns a *list of intervals* of a dim (fused q|k|v is three), and hence a list of boxes of a tensor. Copies of one
unit on several ranks are listed with their holders: their gradients are summed over them, and the first one counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, pairwise

from plait.layers.layer import Dim, Part
from plait.sharding.rules import is_split

__all__ = ["Copy", "Interval", "copies", "intervals", "local_size", "shares", "unit_range"]

Interval = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Copy:
    """Elements [start, stop) of a dim that several ranks of the tensor axis hold."""

    start: int
    stop: int
    holders: tuple[int, ...]


@lru_cache(maxsize=4096)
def shares(units: int, weights: tuple[float, ...]) -> tuple[Interval, ...]:
    """Cut `units` into one interval a rank, in proportion to `weights`, by largest remainder (first rank first)."""
    total = sum(weights)
    exact = [units * weight / total for weight in weights]
    counts = [int(share) for share in exact]
    by_remainder = sorted(range(len(weights)), key=lambda rank: (counts[rank] - exact[rank], rank))
    for rank in by_remainder[: units - sum(counts)]:
        counts[rank] += 1
    return tuple(pairwise((0, *accumulate(counts))))


def unit_range(part: Part, weights: tuple[float, ...], rank: int) -> Interval:
    """The units of `part` that tensor rank `rank` holds; `weights` has one number a tensor rank."""
    if not is_split(part.index):
        return (0, part.units)
    start, stop = shares(part.units * part.per_unit, weights)[rank]
    first = start // part.per_unit
    return (first, -(-stop // part.per_unit) if start < stop else first)


@lru_cache(maxsize=65536)
def intervals(dim: Dim, weights: tuple[float, ...], rank: int) -> tuple[Interval, ...]:
    """The element intervals of `dim` that tensor rank `rank` holds, one a part, in order."""
    found: list[Interval] = []
    offset = 0
    for part in dim.parts:
        start, stop = unit_range(part, weights, rank)
        found.append((offset + start * part.width, offset + stop * part.width))
        offset += part.size
    return tuple(found)


def local_size(dim: Dim, weights: tuple[float, ...], rank: int) -> int:
    """Elements of `dim` on tensor rank `rank`."""
    return sum(stop - start for start, stop in intervals(dim, weights, rank))


@lru_cache(maxsize=4096)
def copies(dim: Dim, weights: tuple[float, ...]) -> tuple[Copy, ...]:
    """The pieces of a *split* dim that more than one tensor rank holds, in order (kv heads read by several ranks)."""
    found: list[Copy] = []
    offset = 0
    for part in dim.parts:
        if is_split(part.index):
            ranges = [unit_range(part, weights, rank) for rank in range(len(weights))]
            edges = sorted({edge for start, stop in ranges if start < stop for edge in (start, stop)})
            for start, stop in pairwise(edges):  # between two edges, the holders are the same
                ranks = tuple(rank for rank, (first, last) in enumerate(ranges) if first <= start < last)
                if len(ranks) > 1:
                    found.append(
                        Copy(start=offset + start * part.width, stop=offset + stop * part.width, holders=ranks)
                    )
        offset += part.size
    return tuple(found)
