"""What a bench found: each plan's repeats beside its prediction, how well the two agree, and the contract's document.

    M = {"step_seconds", "compute", "exposed": {axis: …}, "bubble", "optimizer", "memory_bytes": [one a rank]}

It knows numbers that are there, not how they were taken (`bench`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from statistics import median
from typing import Any

from plait.plans.agreement import Agreement, agreement, spread_of
from plait.plans.departures import Departure, disturbance, drifted
from plait.plans.describe import plan_name
from plait.plans.files import plan_table
from plait.plans.plan import Plan
from plait.plans.prediction import Prediction, Terms
from plait.training.measures import known_median
from plait.training.result import Measured

__all__ = ["BenchResult", "Benched", "Failed", "bench_document"]


@dataclass(frozen=True, kw_only=True)
class Benched:
    """A plan with all that was measured of it: one `Measured` a round; at least one. `left_open`: as `Entry` has it."""

    plan: Plan
    prediction: Prediction
    runs: tuple[Measured, ...]
    guesses: tuple[str, ...] = ()
    left_open: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def measured(self) -> Measured:
        """Term by term the median over the rounds."""
        return _median(self.runs)

    @property
    def spread(self) -> float:
        """Half of what the step times of its rounds span, as a share of their median."""
        return spread_of([one.step_seconds for one in self.runs])

    @property
    def error(self) -> float:
        """(predicted − measured) / measured, of the step."""
        return self.prediction.step_seconds / self.measured.step_seconds - 1

    @property
    def departures(self) -> tuple[Departure, ...]:
        """Whose doing it is, where the two differ."""
        return self.measured.departures(self.prediction)


@dataclass(frozen=True, kw_only=True)
class Failed:
    """A plan that was not measured, and why."""

    plan: Plan
    prediction: Prediction
    error: str
    left_open: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, kw_only=True)
class BenchResult:
    """All plans, in the order in which they were given. `times_as_long`: what the machine takes at the end, beside the
    profile that predicted; None where that was not looked at."""

    plans: tuple[Benched, ...]
    failed: tuple[Failed, ...]
    times_as_long: float | None = None

    @property
    def agreement(self) -> Agreement | None:
        """Of step times; None where nothing was measured."""
        if not self.plans:
            return None
        predicted = [one.prediction.step_seconds for one in self.plans]
        return agreement(predicted, [one.measured.step_seconds for one in self.plans])

    @property
    def pairs_in_noise(self) -> tuple[int, int]:
        """How many pairs of plans are predicted to lie closer together than repeats of the two do; and of how many."""
        pairs = list(combinations(self.plans, 2))
        return sum(_in_noise(one, other) for one, other in pairs), len(pairs)

    @property
    def overlapping(self) -> tuple[Benched, Benched] | None:
        """The pick and the plan that was measured to be faster, where rounds of the two overlap."""
        if self.agreement is None:
            return None
        pick = self.plans[self.agreement.pick]
        best = min(self.plans, key=lambda one: one.measured.step_seconds)
        quickest = min(run.step_seconds for run in pick.runs)
        slowest = max(run.step_seconds for run in best.runs)
        return (pick, best) if self.agreement.regret > 0 and quickest <= slowest else None

    @property
    def disturbance(self) -> str | None:
        """What other programs did meanwhile, where it was enough to slow the ranks down."""
        return disturbance(known_median([one.measured.other_cores for one in self.plans]))

    @property
    def drift(self) -> str | None:
        """How the machine is beside its profile, where that explains something."""
        return drifted(self.times_as_long)

    @property
    def spread(self) -> float:
        """The median of the plans' own."""
        return median([one.spread for one in self.plans] or [0.0])


def _in_noise(one: Benched, other: Benched) -> bool:
    said, others = one.prediction.step_seconds, other.prediction.step_seconds
    return abs(said - others) < one.spread * said + other.spread * others


def bench_document(result: BenchResult) -> dict[str, Any]:
    """The contract's `bench` document, and beside it what the plans say together."""
    agreed = result.agreement
    return {
        "plans": [_benched(one) for one in result.plans],
        "failed": [
            {
                "plan": plan_table(one.plan),
                "left_open": dict(one.left_open),
                "predicted": asdict(_predicted(one.prediction)),
                "error": one.error,
            }
            for one in result.failed
        ],
        "agreement": None if agreed is None else asdict(agreed) | {"repeat_spread": result.spread},
        "times_as_long": result.times_as_long,
    }


def _benched(one: Benched) -> dict[str, Any]:
    low, high = one.prediction.interval
    measured = one.measured
    return {
        "plan": plan_table(one.plan),
        "left_open": dict(one.left_open),
        "name": plan_name(one.plan),
        "predicted": asdict(_predicted(one.prediction)),
        "measured": asdict(measured),
        "repeats": len(one.runs),
        "each_repeat": [run.step_seconds for run in one.runs],
        "spread": one.spread,
        "interval": [low, high],
        "inside_interval": low <= measured.step_seconds <= high,
        "departures": [asdict(departure) for departure in one.departures],
        "guesses": list(one.guesses),
    }


def _predicted(prediction: Prediction) -> Measured:
    """A prediction in the form of what is measured."""
    return Measured(
        step_seconds=prediction.step_seconds,
        **vars(prediction.terms),
        memory_bytes=prediction.memory_bytes,
        stages=prediction.stages,
        transfers=prediction.transfers,
    )


def _median(runs: Sequence[Measured]) -> Measured:
    first = runs[0]

    def of(value: Callable[[Measured], float]) -> float:
        return median(value(one) for one in runs)

    terms = [_median_terms([one.terms for one in runs])]
    terms += [_median_terms([one.stages[place] for one in runs]) for place in range(len(first.stages))]
    return Measured(
        step_seconds=of(lambda one: one.step_seconds),
        **vars(terms[0]),
        memory_bytes=tuple(
            int(of(lambda one, at=rank: one.memory_bytes[at])) for rank in range(len(first.memory_bytes))
        ),
        stages=tuple(terms[1:]),
        transfers=tuple(of(lambda one, at=stage: one.transfers[at]) for stage in range(len(first.transfers))),
        other_cores=known_median([one.other_cores for one in runs]),
    )


def _median_terms(terms: Sequence[Terms]) -> Terms:
    return Terms(
        compute=median(one.compute for one in terms),
        bubble=median(one.bubble for one in terms),
        optimizer=median(one.optimizer for one in terms),
        exposed={axis: median(one.exposed[axis] for one in terms) for axis in terms[0].exposed},
    )
