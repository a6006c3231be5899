"""The mean step of a whole run, where its first steps are dense though the plan's are not (`plans.meetings`).

    dense dense dense … │ steady steady steady …          mean = (first × dense + rest × steady) / steps

A plan's own step is a steady one: in a short run on a slow link most of the time may go before the first of them.
"""

from __future__ import annotations

from plait.planner.prices import JobPrices
from plait.planner.simulator import Played, play
from plait.plans.meetings import as_dense, dense_steps
from plait.specs.wording import counted
from plait.units import Seconds

__all__ = ["beginning_words", "run_seconds"]

_MUCH = 0.01  # of a step: less is not worth a line


def run_seconds(one: Played, prices: JobPrices) -> float:
    """The mean step of the job's run, its dense beginning among them."""
    steps, first = prices.training.steps, _first(one, prices)
    return (first * _dense_seconds(one, prices) + (steps - first) * one.step.seconds) / steps


def beginning_words(one: Played, prices: JobPrices) -> tuple[str, ...]:
    """What a dense beginning makes of the run; nothing where there is none, or it hardly counts."""
    mean, first = run_seconds(one, prices), _first(one, prices)
    if mean <= (1 + _MUCH) * one.step.seconds:
        return ()
    dense, steps = Seconds(_dense_seconds(one, prices)), counted(prices.training.steps, "step")
    return (f"the first {first} of {steps} are dense, {dense} each: the run's mean step takes {Seconds(mean)}",)


def _first(one: Played, prices: JobPrices) -> int:
    return min(dense_steps(one.plan, prices.training), prices.training.steps)


def _dense_seconds(one: Played, prices: JobPrices) -> float:
    if not _first(one, prices):
        return one.step.seconds
    whole = as_dense(one.plan)
    return play(whole, prices.step(whole), prices).seconds
