"""What a plan pays for, on a machine that was measured, beside the plan that won: each found by playing both again.

    cost                        taken away by playing the step again with
    communication of an axis    that axis for nothing
    bubble                      no waiting: each rank sums over data once its own work is done, or that of full cores
    uneven stages               every stage as slow as their mean
    uneven rows                 rows dealt out by speed, parts of one too
    ranks that only serve       as if these had rows like the others
    compute, optimizer          as much work in all as the winner, or its optimizer
    fewer ranks                 as much work on each as if there were as many
    slower ranks                every rank as fast as the fastest

Each is told with the keys in which the two plans differ (`causes`); of these `reasons` makes the sentence: with the
reason taken away from both plans, the winner would not be ahead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property

from plait.planner.causes import Work, along, computing, dealing, serving, unevenly, updating, waiting
from plait.planner.paces import pace_words, paces_of
from plait.planner.prices import JobPrices
from plait.planner.reasons import Cost, Reason, as_more, in_one_sentence, reasons_among
from plait.planner.simulator import Played, play, without_waiting
from plait.planner.step_cost import StepCost
from plait.plans.differences import differing
from plait.plans.plan import Plan
from plait.plans.rows import row_counts
from plait.sharding.mesh_shape import AXES
from plait.specs.wording import counted

__all__ = ["Rival", "reasons", "why_it_lost"]


class Rival:
    """The plan that others are laid beside. What things cost it is played once, whoever is laid beside it."""

    def __init__(self, one: Played, prices: JobPrices) -> None:
        self.played, self.prices = one, prices
        self._axes: dict[str, float] = {}

    def axis(self, name: str) -> float:
        """Seconds that communication along an axis costs it."""
        if name not in self._axes:
            self._axes[name] = _axis(self.played, self.prices, name)
        return self._axes[name]

    @cached_property
    def idle(self) -> float:
        """Seconds of its bubble."""
        return _idle(self.played, self.prices)

    @cached_property
    def uneven(self) -> float:
        """Seconds that its stages cost it by not being even."""
        return _uneven(self.played, self.prices)

    @cached_property
    def unfair(self) -> float:
        """Seconds that rows cost it which are not dealt out by speed."""
        return _unfair(self.played, self.prices)

    @cached_property
    def serving(self) -> float:
        """Seconds that its ranks cost it that only serve."""
        return _serving(self.played, self.prices)

    @cached_property
    def slow(self) -> float:
        """Seconds that its slower ranks cost it."""
        return _slow(self.played, self.prices)


def why_it_lost(loser: Played, rival: Rival) -> str:
    """The reason that a plan is behind the best one. Of one that was not played, what its bound says."""
    seconds, winner = loser.step.seconds, rival.played
    fastest = winner.step.seconds
    if not loser.step.played:
        return f"not played: no schedule of it takes less than {seconds / fastest - 1:.0%} more than the best"
    return in_one_sentence(reasons(loser, rival), seconds, fastest, loser.fullest - winner.fullest)


def reasons(loser: Played, rival: Rival) -> tuple[Reason, ...]:
    """Everything that costs the loser more than its rival, the largest first."""
    return reasons_among(_costs(loser, rival), loser.step.seconds)


def _costs(loser: Played, rival: Rival) -> Iterator[Cost]:
    plan, cost, prices = loser.plan, loser.cost, rival.prices
    winner = rival.played
    fastest = winner.step.seconds
    for axis in (axis for axis in AXES if plan.mesh.size(axis) > 1):
        own, rivals = _axis(loser, prices, axis), rival.axis(axis)
        yield Cost(own, rivals, f"{along(axis, plan, winner.plan)} {as_more(own - rivals, fastest)}")
    if plan.pipeline > 1:
        yield _bubble(loser, rival)
        words = f"{unevenly(plan, winner.plan)} is {cost.unevenness:.0%} above the mean"
        yield Cost(_uneven(loser, prices), rival.uneven, words)
    yield from _rows(loser, rival)
    work, others = _work(loser, prices), _work(winner, prices)
    more = sum(work) / sum(others) - 1
    if more > 0:
        saved = _saved(loser, prices, cost.with_compute(1 / (1 + more)))
        words = f"{computing(plan, winner.plan, work, others)}, compute {as_more(more, 1)}"
        yield Cost(saved, 0.0, words)
    if plan.ranks < winner.plan.ranks:
        saved = _saved(loser, prices, cost.with_compute(plan.ranks / winner.plan.ranks))
        words = f"{counted(plan.ranks, 'rank')} in place of {winner.plan.ranks}: compute of each"
        yield Cost(saved, 0.0, f"{words} {as_more(winner.plan.ranks / plan.ranks - 1, 1)}")
    if words := _pace(plan, prices):
        alike = words == _pace(winner.plan, prices)
        names = f"{', '.join(differing(plan, winner.plan))}: " if alike else ""
        yield Cost(_slow(loser, prices), rival.slow, f"{names}{words}")
    slower = as_more(cost.optimizer - winner.cost.optimizer, fastest)
    kept = [prices.updates.most_kept(one) for one in (plan, winner.plan)]
    words = f"{updating(plan, winner.plan, *kept)}, optimizer {slower}"
    yield Cost(cost.optimizer, winner.cost.optimizer, words)


def _bubble(loser: Played, rival: Rival) -> Cost:
    own, fastest = _idle(loser, rival.prices), rival.played.step.seconds
    rounds = counted(len(loser.cost.rounds), "microbatch", "es")
    words = f"{waiting(loser.plan, rival.played.plan)}: bubble {own / loser.step.seconds:.0%} at {rounds}"
    if rival.idle:
        words += f" ({as_more(own - rival.idle, fastest)})"
    return Cost(own, rival.idle, words)


def _rows(loser: Played, rival: Rival) -> Iterator[Cost]:
    plan, best, prices = loser.plan, rival.played.plan, rival.prices
    if own := _unfair(loser, prices):
        batch = prices.training.global_batch
        _, last = max(
            (size / pace, size) for size, pace in zip(row_counts(plan, batch), prices.paces(plan), strict=True)
        )
        words = f"{dealing(plan, best)}: the last replica to end has {last} of {counted(batch, 'sequence')}"
        yield Cost(own, rival.unfair, f"{words}, {as_more(own - rival.unfair, rival.played.step.seconds)}")
    if own := _serving(loser, prices):
        words = f"{serving(plan, best)}: {counted(plan.workers, 'replica')} in place of {plan.data}: compute of each"
        yield Cost(own, rival.serving, f"{words} {as_more(plan.data / plan.workers - 1, 1)}")


# ---- what a thing costs a plan: its seconds less those of the same step without it -----------------------------------


def _saved(one: Played, prices: JobPrices, cost: StepCost) -> float:
    return max(0.0, one.step.seconds - play(one.plan, cost, prices).seconds)


def _axis(one: Played, prices: JobPrices, axis: str) -> float:
    return _saved(one, prices, one.cost.without(axis)) if one.plan.mesh.size(axis) > 1 else 0.0


def _uneven(one: Played, prices: JobPrices) -> float:
    return _saved(one, prices, one.cost.with_even_stages()) if one.plan.pipeline > 1 else 0.0


def _unfair(one: Played, prices: JobPrices) -> float:
    plan, batch = one.plan, prices.training.global_batch
    rows, paces = row_counts(plan, batch)[: plan.workers], prices.paces(plan)[: plan.workers]
    if plan.asynchronous:  # portions go to who asks
        paces = (1.0,) * plan.workers
    fair = [round(batch * pace / sum(paces), 9) for pace in paces]
    return 0.0 if list(rows) == fair else _dealt(one, prices, fair)


def _serving(one: Played, prices: JobPrices) -> float:
    plan = one.plan
    if plan.workers == plan.data:
        return 0.0
    rows = row_counts(plan, prices.training.global_batch)[: plan.workers]
    return _dealt(one, prices, [round(size * plan.workers / plan.data, 9) for size in rows])


def _dealt(one: Played, prices: JobPrices, rows: Sequence[float]) -> float:
    return _saved(one, prices, replace(one.cost, rounds=prices.rounds(one.plan, rows)))


def _slow(one: Played, prices: JobPrices) -> float:
    speeds = prices.machine.speeds
    if speeds.alike(one.plan.mesh) is not None:
        return 0.0
    return _saved(one, prices, one.cost.at_one_speed(speeds.fastest(one.plan.mesh)))


def _idle(one: Played, prices: JobPrices) -> float:
    """What the step takes longer than if no rank waited for another."""
    if one.plan.pipeline == 1:
        return 0.0
    return max(0.0, one.step.seconds - without_waiting(one.plan, one.cost, prices).seconds)


def _work(one: Played, prices: JobPrices) -> Work:
    """Seconds that all ranks compute in one step, each as if alone."""
    stages, times = one.cost.stages, one.plan.tensor * _microbatches(one, prices)
    compute = sum(stage.forward.compute + stage.backward.compute for stage in stages)
    collecting, fetching, acting = map(sum, zip(*(stage.chores for stage in stages), strict=True))
    operations = compute - collecting - fetching - acting
    return Work(operations * times, collecting * times, fetching * times, acting * times)


def _pace(plan: Plan, prices: JobPrices) -> str | None:
    """Who computes slower than the others, and what it was given; None where all are as fast."""
    paces = paces_of(plan, prices.machine.speeds, prices.model, prices.training.global_batch)
    return next(pace_words(paces), None)


def _microbatches(one: Played, prices: JobPrices) -> float:
    """Of all data ranks, smaller ones counted as parts."""
    return prices.training.global_batch / one.plan.microbatch
