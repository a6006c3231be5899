"""What one rank measures of its run, and its form as a table: ranks of several hosts send it as JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, median
from typing import Any

from plait.plans.prediction import Terms
from plait.schedules.action import Action
from plait.schedules.timeline import Timed

__all__ = ["RankMeasure", "in_a_table", "measure_from_table", "measure_table", "typical"]


@dataclass(frozen=True, kw_only=True)
class RankMeasure:
    """What one rank measured: medians over the steady steps, bytes, and those steps' actions by this host's clock.

    `peak_bytes` is the most that memory has grown since before the model was built, until the last step. On the CPU it
    is the process's own memory, without the files that it reads or runs: the tensors, what the allocator keeps of those
    that are gone, and a few MiB that the libraries take once, in which a small model's bytes are lost.
    """

    step_seconds: float
    terms: Terms
    weight_bytes: int
    gradient_bytes: int
    optimizer_bytes: int
    peak_bytes: int
    timelines: tuple[tuple[Timed, ...], ...]


def typical(values: Sequence[float], period: int) -> float:
    """The median over whole periods of so many steps of each one's mean, so that what happens once in a period counts
    as a part of every step; the mean of all where they are fewer."""
    whole = [values[start : start + period] for start in range(0, len(values) - period + 1, period)]
    return median(fmean(one) for one in whole or [values])


def measure_table(measure: RankMeasure) -> dict[str, Any]:
    """Numbers, strings and lists; `measure_from_table` makes the same measure of them."""
    timelines = [[[str(timed.action), timed.start, timed.end] for timed in step] for step in measure.timelines]
    return {**vars(measure), "terms": asdict(measure.terms), "timelines": timelines}


def measure_from_table(table: Mapping[str, Any]) -> RankMeasure:
    """The measure that `measure_table` wrote; raises KeyError or TypeError for any other table."""
    timelines = tuple(
        tuple(Timed(Action.parse(action), start, end) for action, start, end in step) for step in table["timelines"]
    )
    return RankMeasure(**{**table, "terms": Terms(**table["terms"]), "timelines": timelines})


def in_a_table(function: Callable[..., RankMeasure], *args: object) -> dict[str, Any]:
    """On a rank: what `function` measures, as a table."""
    return measure_table(function(*args))
