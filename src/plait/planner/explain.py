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

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from plait.planner.prices import JobPrices
from plait.planner.simulator import Played, play
from plait.planner.speeds import pace_words, paces_of
from plait.sharding.mesh_shape import AXES
from plait.units import Bytes

__all__ = ["Reason", "reasons", "why_it_lost", "why_nothing_fits"]

_TIE = 1e-3  # plans closer than this are as good as equal
_ROUNDING = 1 + 1e-9
_FEWER = {
    "weights": "more ranks along tensor or pipeline, or a smaller model",
    "gradients": "more ranks along tensor or pipeline, or a smaller model",
    "optimizer": "more ranks along tensor or pipeline, a smaller model, or sgd",
    "host": "no offload, more ranks along tensor or pipeline, a smaller model, or sgd",
    "residuals": "no compression, or more ranks along tensor or pipeline",
    "activations": "shorter sequences, a smaller microbatch, or more ranks along tensor or pipeline",
    "logits": "a smaller vocabulary, shorter sequences, or more ranks along tensor",
    "messages": "shorter sequences, or a smaller microbatch",
}


class Reason(NamedTuple):
    """What cost a plan time: the seconds of its step if that were taken away, and in words."""

    without: float
    words: str


def why_it_lost(loser: Played, winner: Played, prices: JobPrices) -> str:
    """The reason that a plan is behind the best one."""
    fastest = winner.step.seconds
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
        slowest = max(stage.seconds for stage in cost.stages) / cost.mean_stage - 1
        without = play(plan, cost.with_even_stages(), prices).seconds
        yield Reason(without, f"stages {'+'.join(map(str, plan.stages))}: the slowest is {slowest:.0%} above the mean")
    more = _work(loser, prices) / _work(winner, prices) - 1
    if more > 0:
        without = play(plan, cost.with_compute(1 / (1 + more)), prices).seconds
        yield Reason(
            without, f"tensor {plan.tensor}, microbatch {plan.microbatch}: smaller operations, compute +{more:.0%}"
        )
    speeds = prices.machine.speeds
    if words := next(pace_words(paces_of(plan, speeds, prices.training.global_batch)), None):
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
    least = max(map(one.cost.working, one.cost.ranks)) * prices.machine.crowd(plan.data * plan.tensor)
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


def why_nothing_fits(plans: Sequence[Played], prices: JobPrices) -> str:
    """The plan that comes nearest, its rank that dies first, and what fills it."""

    def need(one: Played) -> int:
        sizes = [rank.total for rank in one.memory]
        return sum(sizes) if prices.machine.shares_memory else max(sizes)

    nearest = min(plans, key=need)
    plan, memory = nearest.plan, nearest.memory
    rank = max(range(len(memory)), key=lambda place: memory[place].total)
    kind = memory[rank].dominant
    whose = "all ranks share" if prices.machine.shares_memory else "a device has"
    room = f"{Bytes(prices.machine.memory_bytes or 0)} that {whose}"
    degrees = f"data {plan.data}, tensor {plan.tensor}, pipeline {plan.pipeline}, microbatch {plan.microbatch}"
    return (
        f"no legal plan fits: the smallest ({degrees}) needs {Bytes(need(nearest))} of the {room}; "
        f"rank {rank} dies first with {Bytes(memory[rank].total)}, most of it {kind}: "
        f"{Bytes(getattr(memory[rank], kind))}; fewer with {_FEWER[kind]}"
    )
