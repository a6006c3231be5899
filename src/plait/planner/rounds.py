"""Which replica a step waits for, microbatch after microbatch: of unequal ones that with the most rows for its speed.

    rows 8 at speed 1        ▓▓▓▓│▓▓▓▓              8
    rows 8 at half of it     ▓▓▓▓▓▓▓▓│▓▓▓▓▓▓▓▓     16: this one is played, by whole microbatches
    under ZeRO 2 and 3       each round as long as the slowest replica that has a microbatch in it
    asynchronous portions    go to who asks: on average as fast as the mean of all

It knows rows, also parts of one, and speeds; what part of a microbatch's time a smaller one takes it is told.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import zip_longest
from operator import mul
from statistics import fmean

from plait.planner.step_cost import Round
from plait.plans.plan import Plan
from plait.plans.reductions import MET_EACH_ROUND

__all__ = ["rounds_waited_for"]


def rounds_waited_for(
    plan: Plan,
    rows: Sequence[float],
    slower: Sequence[tuple[float, ...]],
    stage_seconds: Sequence[float],
    part: Callable[[float], float],
) -> tuple[Round, ...]:
    """One for each microbatch that the step's pipeline is played with. `rows`: of each data rank; `slower`: of each
    replica, how many times longer each of its stages computes than on the rank that was measured, where it takes
    `stage_seconds`; `part(rows)`: of a whole microbatch's time."""
    counts, slower = rows[: plan.workers], slower[: plan.workers]
    if plan.asynchronous:
        mean = tuple(1 / fmean(1 / one for one in stage) for stage in zip(*slower, strict=True))
        slower = (mean,) * plan.workers

    def load(one: Round) -> float:
        return one.part * max(map(mul, one.slower, stage_seconds))

    different = dict.fromkeys(zip(counts, slower, strict=True))
    lines = [_line(plan, count, stages, part) for count, stages in different]
    if plan.sharding_level >= MET_EACH_ROUND:
        return tuple(max(filter(None, some), key=load) for some in zip_longest(*lines))
    if len(lines) == 1:
        return tuple(lines[0])
    return tuple(max(lines, key=lambda line: sum(map(load, line))))


def _line(plan: Plan, count: float, slower: tuple[float, ...], part: Callable[[float], float]) -> list[Round]:
    whole, rest = divmod(count, plan.microbatch)
    sizes = [plan.microbatch] * int(whole) + [rest] * (rest > 0)
    known = {size: Round(part=part(size), slower=slower) for size in set(sizes)}
    return [known[size] for size in sizes]
