"""What one rank measures of its run, and its form as a table: ranks of several hosts send it as JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, median
from typing import Any

from plait.devices.host import Work
from plait.plans.prediction import Terms
from plait.schedules.action import Action
from plait.schedules.timeline import Timed

__all__ = ["RankMeasure", "in_a_table", "known_median", "measure_from_table", "measure_table", "other_cores", "typical"]

_FULL = 0.85  # of its cores a machine keeps busy where hardly any is to spare: ranks wait for each other now and then


@dataclass(frozen=True, kw_only=True)
class RankMeasure:
    """What one rank measured: medians over the steady steps, bytes, and those steps' actions by this host's clock.

    `peak_bytes` is the most that memory has grown since before the model was built, until the last step. On the CPU it
    is the process's own memory, without the files that it reads or runs: the tensors, what the allocator keeps of those
    that are gone, and a few MiB that the libraries take once, in which a small model's bytes are lost. `work` is
    what its machine and its process did from the first step to the last, where the system tells.
    """

    step_seconds: float
    terms: Terms
    weight_bytes: int
    gradient_bytes: int
    optimizer_bytes: int
    peak_bytes: int
    timelines: tuple[tuple[Timed, ...], ...]
    work: Work | None = None


def typical(values: Sequence[float], period: int) -> float:
    """The median over whole periods of so many steps of each one's mean, so that what happens once in a period counts
    as a part of every step; the mean of all where they are fewer."""
    whole = [values[start : start + period] for start in range(0, len(values) - period + 1, period)]
    return median(fmean(one) for one in whole or [values])


def known_median(values: Sequence[float | None]) -> float | None:
    """Of those that are known; None of none."""
    known = [value for value in values if value is not None]
    return median(known) if known else None


def measure_table(measure: RankMeasure) -> dict[str, Any]:
    """Numbers, strings and lists; `measure_from_table` makes the same measure of them."""
    timelines = [[[str(timed.action), timed.start, timed.end] for timed in step] for step in measure.timelines]
    work = None if measure.work is None else measure.work._asdict()
    return {**vars(measure), "terms": asdict(measure.terms), "timelines": timelines, "work": work}


def measure_from_table(table: Mapping[str, Any]) -> RankMeasure:
    """The measure that `measure_table` wrote; raises KeyError or TypeError for any other table."""
    timelines = tuple(
        tuple(Timed(Action.parse(action), start, end) for action, start, end in step) for step in table["timelines"]
    )
    work = None if table["work"] is None else Work(**table["work"])
    return RankMeasure(**{**table, "terms": Terms(**table["terms"]), "timelines": timelines, "work": work})


def other_cores(measures: Sequence[RankMeasure]) -> float | None:
    """Cores' worth of work that was not these ranks', on the machine that had most of it; 0 on one that had cores to
    spare, where it was in nobody's way. None where a rank doesn't know."""
    works = [one.work for one in measures if one.work is not None]
    if len(works) < len(measures):
        return None
    machines: dict[str, list[Work]] = {}
    for one in works:
        machines.setdefault(one.machine, []).append(one)
    return max(map(_others, machines.values()))


def _others(ranks: Sequence[Work]) -> float:
    """On one machine."""
    everybody = fmean(one.everybody for one in ranks)
    if everybody < _FULL * ranks[0].cores:
        return 0.0
    return max(0.0, everybody - sum(one.own for one in ranks))


def in_a_table(function: Callable[..., RankMeasure], *args: object) -> dict[str, Any]:
    """On a rank: what `function` measures, as a table."""
    return measure_table(function(*args))
