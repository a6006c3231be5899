"""How well predictions agree with what was measured: of several plans, side by side.

    Spearman's rho       do they rank alike?            1: the same order, 0: none, −1: the opposite (ties share ranks)
    regret of the pick   what did trusting them cost?   the predicted best's measured time over the measured best's, − 1
    median error         how far off is a step?         the median of |predicted / measured − 1|

It knows pairs of numbers, not what they stand for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import correlation, median

__all__ = ["Agreement", "agreement", "ranks_of", "spearman", "spread_of"]


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """`spearman`: None for fewer than two plans, or where one side tells none apart. `pick`: the place of the plan that
    was predicted to be best; `regret` and `median_error` are shares."""

    spearman: float | None
    pick: int
    regret: float
    median_error: float


def agreement(predicted: Sequence[float], measured: Sequence[float]) -> Agreement:
    """Of two sequences of seconds, one of each a plan. Raises ValueError where there are none, or not as many."""
    if not predicted or len(predicted) != len(measured):
        raise ValueError(f"{len(predicted)} predicted and {len(measured)} measured: one of each is needed, at least")
    pick = min(range(len(predicted)), key=lambda place: predicted[place])
    return Agreement(
        spearman=spearman(predicted, measured),
        pick=pick,
        regret=measured[pick] / min(measured) - 1,
        median_error=median(abs(said / found - 1) for said, found in zip(predicted, measured, strict=True)),
    )


def spearman(one: Sequence[float], other: Sequence[float]) -> float | None:
    """The correlation of ranks (Spearman, 1904); None where it is not defined."""
    ranks = ranks_of(one), ranks_of(other)
    if any(len(set(side)) < 2 for side in ranks):
        return None
    return correlation(*ranks)


def ranks_of(values: Sequence[float]) -> list[float]:
    """The place of each among all from 1; equal ones share the mean of theirs."""
    ordered = sorted(values)
    first = {value: place for place, value in reversed(list(enumerate(ordered)))}
    return [first[value] + (ordered.count(value) + 1) / 2 for value in values]


def spread_of(repeats: Sequence[float]) -> float:
    """Half of what repeats of one measurement span, as a share of their median; 0 for one."""
    return (max(repeats) - min(repeats)) / 2 / median(repeats)
