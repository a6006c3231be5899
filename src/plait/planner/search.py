"""Which legal plan is fastest on the machine that was measured: all of them priced, none guessed.

    candidates ──legal?──> priced, played ──fits?──> ranked by step time ──> each loser's reason

Equal times are ordered by memory, then by how little is split. It knows a job and measurements, no file and no screen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from time import perf_counter

from plait.errors import IllegalJob, NothingFits
from plait.planner.break_even import compression_words
from plait.planner.candidates import Choices, candidates
from plait.planner.coverage import corrected_by_runs, outside_what_was_measured
from plait.planner.explain import why_it_lost, why_nothing_fits
from plait.planner.hiding import Hiding, hiding
from plait.planner.prices import JobPrices
from plait.planner.simulator import Played, fits, played, state
from plait.planner.speeds import Pace, paces_of
from plait.planner.sum_choice import SumChoice, sums_over_data
from plait.plans.completion import complete
from plait.plans.legality import is_legal, problems
from plait.plans.plan import Plan
from plait.plans.prediction import Prediction
from plait.specs.job import Job
from plait.specs.measurements import Measurements

__all__ = ["Plans", "RankedPlan", "search"]


@dataclass(frozen=True, kw_only=True)
class RankedPlan:
    """A plan, what is predicted of it, and why it lost; None for the best."""

    plan: Plan
    prediction: Prediction
    lost_because: str | None = None


@dataclass(frozen=True, kw_only=True)
class Plans:
    """The answer of a search: `plans` best first, of `legal` ones among `considered`. `unfit`: legal, but too large for
    the memory. `too_close_to_call`: the second is within the first one's interval. `guesses`: where the first one's
    prediction lies outside what was measured; `corrections`: what runs have corrected in it. `cautions`: what to know
    of its compression before it runs. `sums`: what performs its sums over data. `paces`: its replicas, where ranks
    differ in speed. `would_hide`: what would hide a link between hosts that costs it speed."""

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
    def best(self) -> RankedPlan:
        """The fastest."""
        return self.plans[0]


def search(job: Job, measurements: Measurements) -> Plans:
    """All legal plans for the job's ranks on this machine, best first.

    Raises IllegalJob if no plan is legal, NothingFits (which rank dies first, and of which bytes) if none fits,
    UnusableInput where the machine was not measured in the job's dtype.
    """
    began = perf_counter()
    prices = JobPrices(job.model, job.training, measurements, job.cluster)
    considered = list(candidates(job, prices.machine.speeds.deals))
    legal = [choices for choices in considered if is_legal(_fixed(job, choices))]
    if not legal:
        raise IllegalJob(problems(job))
    priced = [played(_chosen(complete(job, **choices), job, prices), prices) for choices in legal]
    fitting = sorted((one for one in priced if fits(one.memory, prices)), key=_order)
    if not fitting:
        raise NothingFits(why_nothing_fits(priced, prices))
    ranked = tuple(_ranked(fitting, prices))
    return Plans(
        search_seconds=perf_counter() - began,
        considered=len(considered),
        legal=len(legal),
        unfit=len(priced) - len(fitting),
        plans=ranked,
        too_close_to_call=len(ranked) > 1 and ranked[1].prediction.step_seconds <= ranked[0].prediction.interval[1],
        guesses=outside_what_was_measured(fitting[0].plan, prices),
        corrections=corrected_by_runs(measurements),
        cautions=compression_words(fitting[0], prices),
        sums=sums_over_data(fitting[0].plan, prices),
        paces=paces_of(fitting[0].plan, prices.machine.speeds, job.training.global_batch),
        would_hide=hiding(job, fitting, prices),
    )


def _fixed(job: Job, choices: Choices) -> Job:
    return replace(job, constraints={**job.constraints, **choices})


def _chosen(plan: Plan, job: Job, prices: JobPrices) -> Plan:
    """The plan with stages of equal cost, and buckets for its link, unless the job fixes them."""
    balanced = plan if "stages" in job.constraints else replace(plan, stages=prices.balanced(plan))
    if "bucket_bytes" in job.constraints:
        return balanced
    return replace(balanced, bucket_bytes=prices.bucket_bytes(balanced))


def _order(one: Played) -> tuple[float, int, int, int, bool, int]:
    """Nanoseconds first: what differs by less differs by rounding."""
    plan = one.plan
    largest = max(rank.total for rank in one.memory)
    return round(one.step.seconds, 9), largest, plan.pipeline, plan.tensor, plan.sequence_parallel, plan.zero


def _ranked(fitting: Sequence[Played], prices: JobPrices) -> Iterator[RankedPlan]:
    best = fitting[0]
    for one in fitting:
        reason = None if one is best else why_it_lost(one, best, prices)
        yield RankedPlan(plan=one.plan, prediction=state(one, prices), lost_because=reason)
