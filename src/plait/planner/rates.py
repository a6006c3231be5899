"""What lies between measured points: rates by shape, and times by size.

    log n │  ×     ×     ×        a rate, inside a cell whose corners were all measured: multilinear in logarithms
          │     ?                 elsewhere: the nearest points, weighed by 1 / distance⁴
          │  ×     ×     ×        outside: as at the border, and said to be outside
          └───────────────► log m

    time  │            ·×         a time: straight lines, for what has a fixed cost and one an element;
          │      ×──·             beyond the ends the outermost line goes on, so that the fixed cost stays
          │  · ×
          └───────────────► size

How well a rate is told is asked of the points themselves: each by the others, and the median error is the table's own.
It knows numbers, not what they measure.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from itertools import product
from math import exp, log, prod

import numpy as np
from numpy.typing import NDArray

__all__ = ["Point", "RateTable", "TimeTable"]

_NEAREST = 8
_POWER = 4.0

Point = tuple[float, ...]
_Vector = NDArray[np.float64]


class RateTable:
    """A positive rate at each of some `points` (tuples of positive sizes); keeps what it was asked before."""

    def __init__(self, rates: Mapping[Point, float]) -> None:
        self._rates = {tuple(log(side) for side in point): log(rate) for point, rate in rates.items()}
        self._points = np.array(list(self._rates))
        self._values = np.array(list(self._rates.values()))
        self._sides = [sorted(set(column)) for column in self._points.T.tolist()]
        self._known: dict[Point, float] = {}

    def at(self, *sizes: float) -> float:
        """The rate at these sizes."""
        found = self._known.get(sizes)
        if found is None:
            found = self._known[sizes] = exp(self._interpolated(self._inside(sizes)))
        return found

    def covers(self, *sizes: float) -> bool:
        """Whether these sizes lie within those that were measured, side by side."""
        return all(sides[0] <= log(size) <= sides[-1] for size, sides in zip(sizes, self._sides, strict=True))

    def error(self) -> float | None:
        """The relative error to expect between points: a quarter of the median one of each point as told by the others,
        for what lies between two of them is half as far from either, and an interpolation errs with the square of that.
        None where there is one point alone."""
        if len(self._values) < 2:
            return None
        told = [self._near(point, leave_out=place) for place, point in enumerate(self._points)]
        return float(np.median(np.abs(np.expm1(np.array(told) - self._values)))) / 4

    def _inside(self, sizes: Point) -> Point:
        sides = zip(sizes, self._sides, strict=True)
        return tuple(min(max(log(size), measured[0]), measured[-1]) for size, measured in sides)

    def _interpolated(self, place: Point) -> float:
        cell = [_between(x, sides) for x, sides in zip(place, self._sides, strict=True)]
        total = 0.0
        for corner in product((0, 1), repeat=len(cell)):
            weight = prod(share if high else 1 - share for (_, share), high in zip(cell, corner, strict=True))
            if weight:
                key = tuple(edges[high] for (edges, _), high in zip(cell, corner, strict=True))
                if key not in self._rates:
                    return self._near(np.array(place))
                total += weight * self._rates[key]
        return total

    def _near(self, place: _Vector, leave_out: int | None = None) -> float:
        squares = ((self._points - place) ** 2).sum(axis=1)
        if leave_out is not None:
            squares[leave_out] = np.inf
        nearest = np.argsort(squares)[: min(_NEAREST, len(squares) - (leave_out is not None))]
        if squares[nearest[0]] == 0:
            return float(self._values[nearest[0]])
        weights = squares[nearest] ** (-_POWER / 2)
        return float(weights @ self._values[nearest] / weights.sum())


def _between(x: float, sides: list[float]) -> tuple[tuple[float, float], float]:
    """The measured sides around x, and how far x has come from the lower to the upper one."""
    upper = min(bisect_right(sides, x), len(sides) - 1)
    low, high = sides[max(upper - 1, 0)], sides[upper]
    return (low, high), (x - low) / (high - low) if high > low else 0.0


class TimeTable:
    """Seconds at each of some sizes."""

    def __init__(self, seconds: Mapping[float, float]) -> None:
        self._points = sorted(seconds.items())
        self._sizes = [size for size, _ in self._points]

    def at(self, size: float) -> float:
        """Seconds at this size; in proportion where there is one point, and never less than that below the first."""
        (smallest, first), *_ = self._points
        if len(self._points) == 1:
            return first * size / smallest
        place = min(max(1, bisect_left(self._sizes, size)), len(self._points) - 1)
        (low, below), (high, above) = self._points[place - 1 : place + 1]
        slope = max(0.0, (above - below) / (high - low))
        line = below + slope * (size - low)
        return max(line, first * size / smallest) if size < smallest else line
