"""Which legal plan is fastest on the machine that was measured: all of them priced, none guessed.

    candidates ──legal?──> priced, bounded ──fits?──> played, where it matters (`contest`) ──> ranked by step time

It knows a job and measurements, no file and no screen.
"""

from __future__ import annotations

import gc
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from time import perf_counter

from plait.errors import IllegalJob, NothingFits
from plait.estimates.estimate import RISK, most_risk
from plait.planner.break_even import compression_words
from plait.planner.candidates import Choices, candidates
from plait.planner.contest import SURE, contested
from plait.planner.coverage import corrected_by_runs, outside_what_was_measured
from plait.planner.deals import deals
from plait.planner.explain import Rival, why_it_lost
from plait.planner.hiding import Hiding, hiding
from plait.planner.paces import Pace, paces_of
from plait.planner.prices import JobPrices
from plait.planner.remedies import unsafe
from plait.planner.run_mean import beginning_words
from plait.planner.shortage import why_nothing_fits
from plait.planner.simulator import Played, bounded, performed, risk, state
from plait.planner.sum_choice import SumChoice, sums_over_data
from plait.plans.completion import filled
from plait.plans.legality import is_legal, problems
from plait.plans.plan import Plan
from plait.plans.prediction import Prediction
from plait.specs.job import Job
from plait.specs.measurements import Measurements, Processor

__all__ = ["Plans", "RankedPlan", "search"]


@dataclass(frozen=True, kw_only=True)
class RankedPlan:
    """A plan among others, `found` beside its `rival`, the best one. What is predicted of it, and why it lost, is
    worked out when somebody asks: a large space has thousands that nobody looks at."""

    plan: Plan
    found: Played = field(repr=False, compare=False)
    rival: Rival = field(repr=False, compare=False)
    prices: JobPrices = field(repr=False, compare=False)

    @property
    def played(self) -> bool:
        """Whether its schedule was; else its step is known from below alone, and that was enough to lose."""
        return self.found.step.played

    @cached_property
    def prediction(self) -> Prediction:
        """All that is said of it before it runs."""
        return state(self.found, self.prices)

    @property
    def step_seconds(self) -> float:
        """Of its step; of one that was not played, as far as it is known."""
        return self.found.step.seconds

    @property
    def risk(self) -> float:
        """The probability that it runs out of memory."""
        return risk(self.found.memory, self.prices)

    @cached_property
    def lost_because(self) -> str | None:
        """The reason that it is behind the best; None for the best."""
        return None if self.found is self.rival.played else why_it_lost(self.found, self.rival)


@dataclass(frozen=True, kw_only=True)
class Plans:
    """The answer of a search: `plans` best first, of `legal` ones among `considered`. `unfit`: legal, but too large for
    the memory. `played`: how many had their schedules played; the others can't be among the first (`contest`).
    `too_close_to_call`: the second is within the first one's interval. `guesses`: where the first one's
    prediction lies outside what was measured; `corrections`: what runs have corrected in it. `cautions`: what to know
    of its memory, where none is safe, of its compression, and of a dense beginning, before it runs. `sums`: what
    performs its sums over data. `paces`: its replicas, where ranks differ in speed. `would_hide`: what would hide a
    link between hosts that costs it speed."""

    search_seconds: float
    considered: int
    legal: int
    unfit: int
    plans: tuple[RankedPlan, ...]
    too_close_to_call: bool
    guesses: tuple[str, ...] = ()
    corrections: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()
    sums: tuple[SumChoice, ...] = ()
    paces: tuple[Pace, ...] = ()
    would_hide: Hiding | None = None

    @property
    def played(self) -> int:
        """How many of the plans had their schedule played."""
        return sum(one.played for one in self.plans)

    @property
    def best(self) -> RankedPlan:
        """The fastest."""
        return self.plans[0]


@contextmanager
def _without_collecting() -> Generator[None]:
    """Nothing here refers to itself, so that nothing waits for the garbage collector; looking for such things among
    thousands of plans takes it a quarter of a large search."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@_without_collecting()
def search(
    job: Job, measurements: Measurements, sure: int = SURE, links: float = 1.0, *, here: Processor | None = None
) -> Plans:
    """All legal plans for the job's ranks on this machine, best first; the first `sure` are certainly the best so many.
    `links`: how many times as fast they are as was measured or said; `here`: what the caller runs on, if that is to be
    what was profiled.

    Raises IllegalJob if no plan is legal, NothingFits (which rank dies first, and of which bytes) if none fits,
    UnusableInput where the machine was not measured in the job's dtype.
    """
    began = perf_counter()
    prices = JobPrices(job.model, job.training, measurements, job.cluster, links)
    considered = list(candidates(job, partial(deals, prices=prices)))
    legal = [fixed for fixed in (_fixed(job, choices) for choices in considered) if is_legal(fixed)]
    if not legal:
        raise IllegalJob(problems(job))
    priced = [bounded(prices.settled(filled(fixed), fixed.constraints), prices) for fixed in legal]
    risks = [risk(one.memory, prices) for one in priced]
    daring = all(one > RISK for one in risks)
    fitting = [one for one, out in zip(priced, risks, strict=True) if out <= most_risk(daring=daring)]
    if not fitting:
        raise NothingFits(why_nothing_fits(job, priced, measurements, prices))
    ranked = contested(fitting, prices, sure)
    best, rival = ranked[0], Rival(ranked[0], prices)
    plans = tuple(RankedPlan(plan=one.plan, found=one, rival=rival, prices=prices) for one in ranked)

    def seconds_of(place: int) -> float:
        return performed(ranked[place], prices).step.seconds

    return Plans(
        considered=len(considered),
        legal=len(legal),
        unfit=len(priced) - len(fitting),
        plans=plans,
        too_close_to_call=len(ranked) > 1 and ranked[1].step.seconds <= plans[0].prediction.interval[1],
        guesses=outside_what_was_measured(best.plan, prices, here),
        corrections=corrected_by_runs(measurements),
        cautions=(
            *([unsafe([(one.plan, one.risk) for one in plans], seconds_of)] if daring else []),
            *compression_words(best, prices),
            *beginning_words(best, prices),
        ),
        sums=sums_over_data(best.plan, prices),
        paces=paces_of(best.plan, prices.machine.speeds, job.model, job.training.global_batch),
        would_hide=hiding(job, ranked, prices),
        search_seconds=perf_counter() - began,
    )


def _fixed(job: Job, choices: Choices) -> Job:
    return replace(job, constraints={**job.constraints, **choices})
