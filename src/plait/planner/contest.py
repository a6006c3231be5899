"""Which plans have to be played to know the best ones, and which can't be among them whatever their schedule does.

    by their bounds     1.00  1.02  1.10 │ 1.31  1.40  1.72          seconds that no step can be shorter than
    played              1.04  1.02  1.22 │  —     —     —            the third best takes 1.22: nobody behind can

What is played is the fewest, in order of the bounds, that settle the first `sure` places; in a small space all the
rest, too. Ranked are all: those that were not played by their bound. It knows plans that were priced, nothing of a job.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence

from plait.planner.prices import JobPrices
from plait.planner.simulator import Played, performed

__all__ = ["SURE", "contested", "order"]

SURE = 10  # places that are settled, unless more are asked for
_ACTIONS = 30_000  # computations that are played though nothing hangs on it: half a second or so
_ROUNDING = 1 - 1e-9


def order(one: Played) -> tuple[float, ...]:
    """By time; equal ones by memory, then by how little is split. Nanoseconds: what differs by less is rounding."""
    plan = one.plan
    return (
        round(one.step.seconds, 9), one.fullest, plan.pipeline, plan.tensor, plan.sequence_parallel, plan.zero,
    )  # fmt: skip


def contested(fitting: Sequence[Played], prices: JobPrices, sure: int = SURE) -> list[Played]:
    """All of these plans, best first; the first `sure` of them are those of a search that plays every one."""
    waiting = sorted(fitting, key=order)
    done: list[Played] = []
    best: list[float] = []  # seconds of the first `sure` of them
    actions = 0
    for place, one in enumerate(waiting):
        actions += 2 * one.plan.pipeline * len(one.cost.rounds)
        settled = actions > _ACTIONS and len(best) >= sure
        if settled and round(one.step.seconds * _ROUNDING, 9) > round(best[-1], 9):
            return sorted([*done, *waiting[place:]], key=order)
        done.append(performed(one, prices))
        insort(best, done[-1].step.seconds)
        del best[sure:]
    return sorted(done, key=order)
