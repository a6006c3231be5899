"""How a training run ended, and its form as a table: on several hosts rank 0 tells it to the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from math import isfinite
from statistics import fmean, harmonic_mean, median
from typing import Any

from pydantic import TypeAdapter, ValidationError

from plait.plans.departures import Departure, departures, disturbance
from plait.plans.plan import Plan
from plait.plans.prediction import Prediction, Terms, prediction_from_table, prediction_table
from plait.schedules.moving import clock_offsets, moving_seconds, shifted
from plait.schedules.timeline import Timed
from plait.training.measures import RankMeasure, other_cores
from plait.training.run_directory import RunDirectory

__all__ = [
    "Measured",
    "TrainingResult",
    "measured_from_table",
    "result_from_table",
    "result_table",
    "steps_of_pipeline",
    "summed_up",
]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a run measured, in the terms of its prediction; tuples have one entry a rank.

    `step_seconds` is the ranks' mean, the terms are those of the rank that computes longest; each is a median over
    steps, so that the terms add up to the step nearly, not exactly. `stages`: of each stage those of its own rank that
    computes longest, so that who is slow is told from who waits for it. `transfers`: how long each stage of a pipeline
    did not compute while something was on its way to it: a part of the bubble, and the wire's and not a neighbour's.
    `other_cores`: how many cores other programs kept busy meanwhile, where that is known: what was measured is then
    theirs, too.
    """

    step_seconds: float
    compute: float
    bubble: float
    optimizer: float
    exposed: Mapping[str, float]
    memory_bytes: tuple[int, ...]
    stages: tuple[Terms, ...] = ()
    transfers: tuple[float, ...] = ()
    other_cores: float | None = None

    @property
    def terms(self) -> Terms:
        """Those of the rank that computes longest, in one."""
        return Terms(compute=self.compute, bubble=self.bubble, optimizer=self.optimizer, exposed=self.exposed)

    def departures(self, prediction: Prediction) -> tuple[Departure, ...]:
        """Where this departs from what was predicted, and whose doing it is."""
        return departures(prediction, self.terms, self.stages, self.transfers)


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """How a run ended. `validations`: (step, mean loss in nats per token) before, during and after.
    `periods`: where replicas meet once in several steps, over how many whole such periods the step was measured.
    `guesses`: where the prediction lies outside what was measured of the machine."""

    run: RunDirectory
    steps: int
    validations: tuple[tuple[int, float], ...]
    tokens_per_second: float
    prediction: Prediction
    measured: Measured
    periods: int | None = None
    guesses: tuple[str, ...] = ()

    @property
    def disturbance(self) -> str | None:
        """What other programs did, where it was enough to slow the ranks down."""
        return disturbance(self.measured.other_cores)


def summed_up(plan: Plan, measures: Sequence[RankMeasure], *, hosts: int = 1) -> Measured:
    """What the ranks of a plan, on so many hosts, measured, in one. The terms are those of the rank that computes
    longest: the others wait for it. Where ranks don't step together, those of the middle one among them that computed
    anything; in the time of their mean pace."""
    working = sorted((rank for rank, one in enumerate(measures) if one.timelines), key=_computing(measures))
    told = working[len(working) // 2] if plan.asynchronous else working[-1]
    mean = harmonic_mean if plan.asynchronous else fmean
    stages = [
        max((rank for rank in working if plan.mesh.coordinate(rank, "pipeline") == stage), key=_computing(measures))
        for stage in range(plan.pipeline)
    ]
    moved = [moving_seconds(step) for step in steps_of_pipeline(plan, measures, told, hosts=hosts)]
    return Measured(
        step_seconds=mean([measures[rank].step_seconds for rank in working]),
        **vars(_settled(plan, measures, told, hosts)),
        memory_bytes=tuple(measure.peak_bytes for measure in measures),
        stages=tuple(_settled(plan, measures, rank, hosts) for rank in stages),
        transfers=tuple(median(stage) for stage in zip(*moved, strict=True)) if plan.pipeline > 1 else (),
        other_cores=other_cores(measures),
    )


def _computing(measures: Sequence[RankMeasure]) -> Callable[[int], float]:
    return lambda rank: measures[rank].terms.compute


def _settled(plan: Plan, measures: Sequence[RankMeasure], rank: int, hosts: int) -> Terms:
    """A rank's terms as the planner has them: what it waits after its last action for other stages to end theirs is
    bubble, though it is met in the first sum along the pipeline (of tied weights, of the norm). How long these sums
    take themselves tells the stage that ends last, which hardly waits: elsewhere it would be what is left of two long
    times, whose noise is longer than a sum."""
    terms = measures[rank].terms
    if plan.pipeline == 1:
        return terms
    ends = [[stage[-1].end for stage in step] for step in steps_of_pipeline(plan, measures, rank, hosts=hosts)]
    waits = [median(max(step) - step[place] for step in ends) for place in range(plan.pipeline)]
    last = min(range(plan.pipeline), key=lambda place: waits[place])
    met = measures[plan.mesh.group(rank, "pipeline")[last]].terms.exposed["pipeline"]
    summing = min(max(0.0, met - waits[last]), terms.exposed["pipeline"])
    waited = terms.exposed["pipeline"] - summing
    return replace(terms, bubble=terms.bubble + waited, exposed={**terms.exposed, "pipeline": summing})


def steps_of_pipeline(
    plan: Plan, measures: Sequence[RankMeasure], rank: int, *, hosts: int
) -> list[tuple[tuple[Timed, ...], ...]]:
    """Of each steady step of the pipeline that a rank stands in the actions of every stage, by one clock: between
    hosts, that of the first stage as far as messages tell it (`clock_offsets`)."""
    ranks = plan.mesh.group(rank, "pipeline")
    steps = list(zip(*(measures[one].timelines for one in ranks), strict=True))
    if hosts > 1:
        offsets = clock_offsets(steps)
        steps = [tuple(shifted(one, -offset) for one, offset in zip(step, offsets, strict=True)) for step in steps]
    return steps


@cache
def _measured() -> TypeAdapter[Measured]:
    return TypeAdapter(Measured)


def measured_from_table(table: Mapping[str, Any]) -> Measured:
    """The measured terms that `asdict` wrote, which a stranger may have changed. Raises ValueError, in a line, for what
    is no number, or none that was measured."""
    try:
        found = _measured().validate_python(table)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "measured"
        raise ValueError(f"{where}: {first['msg']}") from error
    told = [found.step_seconds, *found.transfers]
    for one in (found.terms, *found.stages):
        told += [one.compute, one.bubble, one.optimizer, *one.exposed.values()]
    if not all(map(isfinite, told)) or found.step_seconds <= 0:
        raise ValueError("measured: seconds have to be finite, and those of a step above 0")
    return found


def result_table(result: TrainingResult) -> dict[str, Any]:
    """All but the run's directory, ready for JSON."""
    return {
        "steps": result.steps,
        "validations": [list(pair) for pair in result.validations],
        "tokens_per_second": result.tokens_per_second,
        "prediction": prediction_table(result.prediction),
        "measured": asdict(result.measured),
        "periods": result.periods,
        "guesses": list(result.guesses),
    }


def result_from_table(run: RunDirectory, table: Mapping[str, Any]) -> TrainingResult:
    """The result that `result_table` wrote, of the run in `run`; raises UnusableInput for a malformed prediction."""
    return TrainingResult(
        run=run,
        steps=table["steps"],
        validations=tuple((step, loss) for step, loss in table["validations"]),
        tokens_per_second=table["tokens_per_second"],
        prediction=prediction_from_table(table["prediction"]),
        measured=measured_from_table(table["measured"]),
        periods=table["periods"],
        guesses=tuple(table["guesses"]),
    )
