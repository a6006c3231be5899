"""How well predictions agree with measurements: errors, order within a group, what following them costs, and what a
single fitted constant would do.

    tau       Kendall's, over pairs whose measured times differ by more than 5 %: (agreeing - disagreeing) / pairs
    regret    how much slower the plan with the least predicted time is than the one with the least measured
    constant  time = FLOPs / (devices · peak · c), c the median over the very rows: the bar that has to be passed

What is predicted alike is in no order. Tau counts such a pair as neither agreeing nor disagreeing, and regret is the
mean over all that could be picked: both are what drawing lots yields in the mean, so that who tells no two plans apart
has a tau of 0, and the regret of picking blindly.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

__all__ = ["Errors", "Found", "errors_of", "fitted_efficiency", "found_of", "kendall_tau", "regret"]

_ROUNDING = 1 + 1e-9
_APART = 1.05  # the same configuration, measured twice, differs by about that much


@dataclass(frozen=True, kw_only=True)
class Errors:
    """Relative errors, |predicted / measured - 1|; `bias`: the median of predicted / measured - 1."""

    n: int
    median: float
    mean: float
    worst: float
    bias: float


@dataclass(frozen=True, kw_only=True)
class Found:
    """What part of the predicted happened, and of what happened was predicted; None of nothing."""

    precision: float | None
    recall: float | None


def errors_of(pairs: Sequence[tuple[float, float]]) -> Errors | None:
    """Of (predicted, measured); None of nothing."""
    if not pairs:
        return None
    signed = [predicted / measured - 1 for predicted, measured in pairs]
    sizes = [abs(one) for one in signed]
    return Errors(n=len(pairs), median=median(sizes), mean=fmean(sizes), worst=max(sizes), bias=median(signed))


def kendall_tau(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Of (predicted, measured); None where no two measured times differ by more than their noise.

    By measured time, each is compared with all that are apart from it below: how many of these are predicted less, and
    how many more, a sorted list of them tells."""
    in_order = sorted(pairs, key=lambda pair: pair[1])
    below: list[float] = []  # predictions of those that are apart from the one at hand
    agreeing = compared = 0
    for predicted, measured in in_order:
        while len(below) < len(in_order) and measured > _APART * in_order[len(below)][1]:
            insort(below, in_order[len(below)][0])
        agreeing += bisect_left(below, predicted) - (len(below) - bisect_right(below, predicted))
        compared += len(below)
    return agreeing / compared if compared else None


def regret(pairs: Sequence[tuple[float, float]]) -> float:
    """Of (predicted, measured): the measured time of the one that is predicted fastest beside the least, less one. The
    mean over those that are predicted equally fast: repeats of one plan, or plans that nothing tells apart."""
    least = min(predicted for predicted, _ in pairs)
    picked = fmean(measured for predicted, measured in pairs if predicted <= least * _ROUNDING)
    return picked / min(measured for _, measured in pairs) - 1


def fitted_efficiency(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Of (ideal seconds at the peak, measured): the constant that fits them best; None of nothing."""
    return median(ideal / measured for ideal, measured in pairs) if pairs else None


def found_of(flags: Sequence[tuple[bool, bool]]) -> Found:
    """Of (predicted, happened)."""
    said = [happened for predicted, happened in flags if predicted]
    did = [predicted for predicted, happened in flags if happened]
    return Found(precision=fmean(said) if said else None, recall=fmean(did) if did else None)
