"""Which replica a step waits for, microbatch after microbatch: of unequal ones that with the most rows for its speed.

    rows 8 at speed 1        ▓▓▓▓│▓▓▓▓              8
    rows 8 at half of it     ▓▓▓▓▓▓▓▓│▓▓▓▓▓▓▓▓     16: this one is played, by whole microbatches
    under ZeRO 2 and 3       each round as long as the slowest replica that has a microbatch in it
    asynchronous portions    go to who asks: on average as fast as the mean of all

It knows rows and speeds; what part of a microbatch's time a smaller one takes it is told.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import zip_longest
from statistics import fmean

from plait.planner.step_cost import Round
from plait.plans.plan import Plan
from plait.plans.reductions import MET_EACH_ROUND
from plait.plans.rows import cut, row_counts

__all__ = ["rounds_waited_for"]


def rounds_waited_for(
    plan: Plan, global_batch: int, speeds: Sequence[float], part: Callable[[int], float]
) -> tuple[Round, ...]:
    """One for each microbatch that the step's pipeline is played with. `speeds`: of each replica; `part(rows)`: of a
    whole microbatch's time."""
    counts, speeds = row_counts(plan, global_batch)[: plan.workers], speeds[: plan.workers]
    if plan.asynchronous:
        speeds = (fmean(speeds),) * plan.workers
    different = dict.fromkeys(zip(counts, speeds, strict=True))
    lines = [_line(plan, count, speed, part) for count, speed in different]
    if plan.sharding_level >= MET_EACH_ROUND:
        return tuple(max(filter(None, some), key=_load) for some in zip_longest(*lines))
    return tuple(max(lines, key=lambda line: sum(map(_load, line))))


def _line(plan: Plan, count: int, speed: float, part: Callable[[int], float]) -> list[Round]:
    sizes = cut(count, plan.microbatch)
    known = {size: Round(part=part(size), slower=1 / speed) for size in set(sizes)}
    return [known[size] for size in sizes]


def _load(one: Round) -> float:
    return one.part * one.slower
