"""Why a plan lost, in one sentence that is true: with its reason taken away, no plan would have been faster.

    reason                      taken away by playing the step again with
    communication of an axis    that axis for nothing
    bubble                      no waiting: as long as its busiest stage works, or the cores are full
    uneven stages               every stage as slow as their mean
    compute, optimizer          as much work in all as the winner, or its optimizer
    slower ranks                every rank as fast as the fastest

The reason is the largest that is enough; where none alone is, the sentence says so and names the largest two.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from plait.planner.paces import pace_words, paces_of
from plait.planner.prices import JobPrices
from plait.planner.simulator import Played, play
from plait.sharding.mesh_shape import AXES
from plait.units import Bytes

__all__ = ["Reason", "reasons", "why_it_lost"]

_TIE = 1e-3  # plans closer than this are as good as equal
_ROUNDING = 1 + 1e-9


class Reason(NamedTuple):
    """What cost a plan time: the seconds of its step if that were taken away, and in words."""

    without: float
    words: str


def why_it_lost(loser: Played, winner: Played, prices: JobPrices) -> str:
    """The reason that a plan is behind the best one. Of one that was not played, what its bound says."""
    fastest = winner.step.seconds
    if not loser.step.played:
        return (
            f"not played: no schedule of it takes less than {loser.step.seconds / fastest - 1:.0%} more than the best"
        )
    if loser.step.seconds - fastest <= _TIE * fastest:
        return _tie(loser, winner)
    found = sorted(one for one in reasons(loser, winner, prices) if loser.step.seconds - one.without > _TIE * fastest)
    if found and found[0].without <= fastest * _ROUNDING:
        return found[0].words
    return f"no single reason; the largest: {'; '.join(reason.words for reason in found[:2])}"


def reasons(loser: Played, winner: Played, prices: JobPrices) -> Iterator[Reason]:
    """Everything that cost the loser time."""
    plan, cost, seconds = loser.plan, loser.cost, loser.step.seconds
    fastest = winner.step.seconds
    for axis in (axis for axis in AXES if plan.mesh.size(axis) > 1):
        without = play(plan, cost.without(axis), prices).seconds
        share = (seconds - without) / fastest
        yield Reason(without, f"{axis} {plan.mesh.size(axis)}: exposed communication +{share:.0%}")
    if plan.pipeline > 1:
        microbatches = len(cost.rounds)
        without = seconds - _idle(loser, prices)
        share = (seconds - without) / seconds
        yield Reason(without, f"pipeline {plan.pipeline}: bubble {share:.0%} at {_counted(microbatches, 'microbatch')}")
        without = play(plan, cost.with_even_stages(), prices).seconds
        yield Reason(
            without, f"stages {'+'.join(map(str, plan.stages))}: the slowest is {cost.unevenness:.0%} above the mean"
        )
    more = _work(loser, prices) / _work(winner, prices) - 1
    if more > 0:
        without = play(plan, cost.with_compute(1 / (1 + more)), prices).seconds
        yield Reason(
            without, f"tensor {plan.tensor}, microbatch {plan.microbatch}: smaller operations, compute +{more:.0%}"
        )
    speeds = prices.machine.speeds
    paces = paces_of(plan, speeds, prices.model, prices.training.global_batch)
    if words := next(pace_words(paces), None):
        yield Reason(play(plan, cost.at_one_speed(speeds.fastest(plan.mesh)), prices).seconds, words)
    slower = cost.optimizer - winner.cost.optimizer
    if slower > 0:
        yield Reason(seconds - slower, f"data {plan.data}: more weights on a rank, optimizer +{slower / fastest:.0%}")


def _work(one: Played, prices: JobPrices) -> float:
    """Seconds that all ranks compute in one step, each as if alone."""
    compute = sum(stage.forward.compute + stage.backward.compute for stage in one.cost.stages)
    return compute * one.plan.tensor * _microbatches(one, prices)


def _microbatches(one: Played, prices: JobPrices) -> float:
    """Of all data ranks, smaller ones counted as parts."""
    return prices.training.global_batch / one.plan.microbatch


def _idle(one: Played, prices: JobPrices) -> float:
    """What the pipeline takes longer than its busiest rank, or than all of its work on cores that are always full."""
    plan = one.plan
    work = [one.cost.working(place) for place in range(plan.pipeline)]
    least = max(work) * prices.machine.crowd(plan.data * plan.tensor)
    if prices.machine.cores is not None:
        all_stages = sum(stage.seconds for stage in one.cost.stages)
        least = max(least, all_stages * _microbatches(one, prices) * plan.tensor / prices.machine.cores)
    return max(0.0, one.step.timeline.step_seconds - least)


def _tie(loser: Played, winner: Played) -> str:
    more = max(one.total for one in loser.memory) - max(one.total for one in winner.memory)
    memory = f"; {Bytes(more)} more memory on its fullest rank" if more > 0 else ""
    return f"as fast as the best, within {_TIE:.1%}{memory}"


def _counted(number: int, name: str) -> str:
    return f"{number} {name}" if number == 1 else f"{number} {name}es"
