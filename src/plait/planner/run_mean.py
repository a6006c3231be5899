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
    return _mean(one, prices, *_beginning(one, prices))


def beginning_words(one: Played, prices: JobPrices) -> tuple[str, ...]:
    """What a dense beginning makes of the run; nothing where there is none, or it hardly counts."""
    first, dense = _beginning(one, prices)
    mean = _mean(one, prices, first, dense)
    if mean <= (1 + _MUCH) * one.step.seconds:
        return ()
    beginning = f"the first {first} of {counted(prices.training.steps, 'step')} are dense, {Seconds(dense)} each"
    return (f"{beginning}: the run's mean step takes {Seconds(mean)}",)


def _beginning(one: Played, prices: JobPrices) -> tuple[int, float]:
    """How many steps are dense, and what each takes."""
    first = min(dense_steps(one.plan, prices.training), prices.training.steps)
    if not first:
        return 0, 0.0
    whole = as_dense(one.plan)
    return first, play(whole, prices.step(whole), prices).seconds


def _mean(one: Played, prices: JobPrices, first: int, dense: float) -> float:
    steps = prices.training.steps
    return (first * dense + (steps - first) * one.step.seconds) / steps if first else one.step.seconds
