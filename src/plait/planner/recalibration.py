"""What a run says of the measurements that plans are made from: how many times longer things took than they say.

    computing      all stages' own, measured over predicted
    optimizer      the update, likewise
    links          the ratio at which the same plan, priced again, exposes and moves as long as was measured: what
                   backward hides is no share of a message, so that it is searched for, not divided

The profile itself stays as it was measured: corrections stand beside it, each with its runs, and are always found anew
from the uncorrected profile, so that none is ever taken twice. What differs by less than a run's own noise is left
alone. A ratio beyond its bounds is left out, or cut there if that is asked for: so wrong is no profile, but another
machine, or a crowded one. It knows terms of runs as numbers, no file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import exp, log
from statistics import median

from plait.planner.prices import JobPrices
from plait.planner.simulator import predict
from plait.plans.plan import Plan
from plait.plans.prediction import Prediction, Terms
from plait.specs.job import Job
from plait.specs.measurements import LEAST_RATIO, MOST_RATIO, Corrected, Correction, Measurements

__all__ = ["Observed", "Recalibrated", "recalibrated"]

_NOISE = 0.03  # a ratio no further from 1 is none
_NOTABLE = 0.02  # of a step: communication below it says nothing of its link
_HALVINGS = 20


@dataclass(frozen=True, kw_only=True)
class Observed:
    """What a run of a plan measured, as `training.result.Measured` has it."""

    plan: Plan
    step_seconds: float
    terms: Terms
    stages: tuple[Terms, ...]
    transfers: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Recalibrated:
    """`measurements` with corrections, and those that were `left_out`, each at the bound that it lies beyond."""

    measurements: Measurements
    left_out: tuple[Correction, ...] = ()


def recalibrated(
    job: Job, measurements: Measurements, runs: Sequence[Observed], *, source: str, date: str = "", cut: bool = False
) -> Recalibrated:
    """The same measurements with the corrections that these runs of one job ask for, in place of all earlier ones; with
    what is `cut` at a bound only where that is asked for."""
    found, left_out = replace(measurements, corrections=()), list[Correction]()
    for what in ("computing", "optimizer", "links inside a host", "links between hosts"):
        ratios = [ratio for run in runs if (ratio := _ratio(what, job, found, run)) is not None]
        ratio = min(max(median(ratios), LEAST_RATIO), MOST_RATIO) if ratios else 1.0
        if abs(ratio - 1) <= _NOISE:
            continue
        one = Correction(what=what, ratio=ratio, source=source, date=date, asked_for=cut)
        if one.believed:
            found = replace(found, corrections=(*found.corrections, one))
        else:
            left_out.append(one)
    return Recalibrated(measurements=found, left_out=tuple(left_out))


def _ratio(what: Corrected, job: Job, known: Measurements, run: Observed) -> float | None:
    """What one run says, priced with the corrections found so far; None where it says nothing."""
    match what:
        case "computing":
            return _computing_ratio(job, known, run)
        case "optimizer":
            return _over(run.terms.optimizer, _predicted(job, known, run.plan).terms.optimizer)
        case _:
            return _link_ratio(what, job, known, run)


def _computing_ratio(job: Job, known: Measurements, run: Observed) -> float | None:
    """The ratio at which the plan computes as long as measured: what it is predicted to grows along a line, of which
    messages between hosts have a part that no ratio lengthens."""
    measured = sum(one.compute for one in run.stages or (run.terms,))

    def computing(ratio: float) -> float:
        one = Correction(what="computing", ratio=ratio, source="", asked_for=True)
        predicted = _predicted(job, replace(known, corrections=(*known.corrections, one)), run.plan)
        return sum(one.compute for one in (predicted.stages if run.stages else (predicted.terms,)))

    once, twice = computing(1.0), computing(2.0)
    return 1 + (measured - once) / (twice - once) if measured > 0 and twice > once else None


def _over(measured: float, predicted: float) -> float | None:
    return measured / predicted if measured > 0 and predicted > 0 else None


def _link_ratio(what: Corrected, job: Job, known: Measurements, run: Observed) -> float | None:
    """The ratio at which the plan communicates as long as measured, found by halving; a bound where none does. Messages
    between hosts are asked where a plan has any, and say nothing of those inside."""
    between = JobPrices(job.model, job.training, known, job.cluster).machine.between_hosts is not None
    if between != (what == "links between hosts"):
        return None
    measured = _communicating(run.terms, run.transfers)

    def communicating(ratio: float) -> float:
        one = Correction(what=what, ratio=ratio, source="", asked_for=True)
        predicted = _predicted(job, replace(known, corrections=(*known.corrections, one)), run.plan)
        return _communicating(predicted.terms, predicted.transfers)

    least, as_it_is, most = communicating(LEAST_RATIO), communicating(1.0), communicating(MOST_RATIO)
    if max(measured, as_it_is) < _NOTABLE * run.step_seconds or most <= least:
        return None
    if not least < measured < most:
        return LEAST_RATIO if measured <= least else MOST_RATIO
    low, high = log(LEAST_RATIO), log(MOST_RATIO)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if communicating(exp(middle)) < measured else (low, middle)
    return exp((low + high) / 2)


def _communicating(terms: Terms, transfers: Sequence[float]) -> float:
    """Seconds of a step in which something moves and nothing hides it."""
    return sum(terms.exposed.values()) + max(transfers, default=0.0)


def _predicted(job: Job, known: Measurements, plan: Plan) -> Prediction:
    return predict(plan, JobPrices(job.model, job.training, known, job.cluster))
