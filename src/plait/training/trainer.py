"""A training run as its parent sees it: write down what was predicted, start the ranks, pass on what they tell, sum up.

    job, plan, prediction ─► runs/NAME  (before step 1)
                             ranks ──events──► metrics.jsonl, TensorBoard, the caller's progress
                             ranks ──measures─► measured.json

It never plans: the prediction is handed in, and only written down.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import date
from typing import Any

from plait.data.dataset import TokenDataset
from plait.devices.device import current_device
from plait.devices.host import memory_bytes, processor_name
from plait.launchers import ranks_for, together
from plait.plans.files import write_plan
from plait.plans.meetings import dense_steps
from plait.plans.plan import Plan
from plait.plans.prediction import Prediction, prediction_table
from plait.schedules.timeline import Timed, Timeline
from plait.specs.cluster import usable_cores
from plait.specs.job import Job
from plait.specs.links import LinkSpeed
from plait.training.hosts import lead, prepared_tokens
from plait.training.measures import RankMeasure, in_a_table, measure_from_table
from plait.training.metrics import Metrics
from plait.training.portion_events import StepsOfPortions
from plait.training.rank_trainer import VALIDATION_TOKENS, Assignment, train_on_rank
from plait.training.result import TrainingResult, result_table, steps_of_pipeline, summed_up
from plait.training.run_directory import RunDirectory, written

__all__ = ["OnEvent", "train"]

OnEvent = Callable[[Mapping[str, Any]], None]
_PATIENCE = 300.0  # seconds without a word from any rank, beside ten times what is predicted


def train(
    job: Job,
    plan: Plan,
    prediction: Prediction,
    predicted: Timeline,
    run: RunDirectory,
    on_event: OnEvent | None = None,
    link: LinkSpeed | None = None,
    guesses: Sequence[str] = (),
) -> TrainingResult:
    """Train `job` under `plan` into `run`; `link`: what was taken to join the hosts, `guesses`: where the prediction
    lies outside what was measured. Raises UnusableInput for data that
    can't be used or a full disk, RankFailure with the first failing rank's own words; all ranks have ended by then."""
    dataset = _prepare(job, run)
    _write_down(job, plan, prediction, predicted, run, guesses)
    assignment = Assignment(job=job, plan=plan, weights=run.weights, tokens=dataset.folder, link=link)
    patience = _patience(job, prediction)
    with (
        together() as world,
        Metrics(run, prediction.step_seconds) as metrics,
        ranks_for(plan.ranks, backend=current_device().backend, timeout=patience) as ranks,
    ):
        steps = StepsOfPortions()
        known = {
            "steps": job.training.steps,
            "predicted_seconds": prediction.step_seconds,
            "period": plan.local_steps if plan.averages else 1,
        }

        def take(_: int, told: Mapping[str, Any]) -> None:
            for event in steps.take(told):
                metrics.take(event)
                if on_event is not None:
                    on_event({**event, **known})

        if world is not None:
            lead(world, assignment, dataset, run, patience)
        told = ranks.run(in_a_table, train_on_rank, assignment, on_event=take)
        measures = [measure_from_table(table) for table in told]
        hosts = 1 if world is None else len(world.hosts)
        result = replace(
            _result(job, plan, prediction, measures, metrics.validations, run, hosts), guesses=tuple(guesses)
        )
        here = plan.ranks if world is None else world.place.local_size
        first = next(rank for rank, measure in enumerate(measures) if measure.timelines)
        pipeline = steps_of_pipeline(plan, measures, first, hosts=hosts)
        run.write_json("measured.json", _measured_document(result, measures, pipeline, dataset, here))
        if world is not None:
            world.say("trained", result_table(result))
    return result


def _prepare(job: Job, run: RunDirectory) -> TokenDataset:
    dataset = prepared_tokens(job)
    with written(run.tokenizer) as path:
        dataset.tokenizer.save(path)
    return dataset


def _result(
    job: Job,
    plan: Plan,
    prediction: Prediction,
    measures: Sequence[RankMeasure],
    validations: Sequence[tuple[int, float]],
    run: RunDirectory,
    hosts: int,
) -> TrainingResult:
    measured = summed_up(plan, measures, hosts=hosts)
    tokens = job.training.global_batch * job.training.sequence_length
    return TrainingResult(
        run=run,
        steps=job.training.steps,
        validations=tuple(validations),
        tokens_per_second=tokens / measured.step_seconds,
        prediction=prediction,
        measured=measured,
        periods=_periods(job, plan, measures),
    )


def _periods(job: Job, plan: Plan, measures: Sequence[RankMeasure]) -> int | None:
    if not plan.averages:
        return None
    if job.training.steps <= dense_steps(plan, job.training):  # what was measured had no period
        return 0
    return len(measures[0].timelines) // plan.local_steps


def _patience(job: Job, prediction: Prediction) -> float:
    """Seconds without a word from any rank after which they count as hung: the longest silence is a validation."""
    steps = 1 + VALIDATION_TOKENS / (job.training.global_batch * job.training.sequence_length)
    return _PATIENCE + 10 * steps * prediction.step_seconds


def _write_down(
    job: Job, plan: Plan, prediction: Prediction, predicted: Timeline, run: RunDirectory, guesses: Sequence[str]
) -> None:
    run.write_job(job)
    run.write_model(job.model)
    write_plan(run.plan, plan, prediction)
    drawn = {"timeline": _timeline_table(predicted.ranks), "guesses": list(guesses)}
    run.write_json("prediction.json", {**prediction_table(prediction), **drawn})


def _timeline_table(ranks: Sequence[Sequence[Timed]]) -> list[list[list[Any]]]:
    """Per rank, `[action, start, end]` in seconds."""
    return [[[str(timed.action), timed.start, timed.end] for timed in rank] for rank in ranks]


def _typical_step(steps: Sequence[Sequence[Sequence[Timed]]]) -> list[list[Timed]]:
    """The actions of the step of median length, from the moment at which its first stage began."""
    spans = [_span(step) for step in steps]
    begin, end = sorted(spans, key=lambda span: span[1] - span[0])[len(spans) // 2]
    step = steps[spans.index((begin, end))]
    return [[Timed(action, start - begin, stop - begin) for action, start, stop in actions] for actions in step]


def _span(step: Sequence[Sequence[Timed]]) -> tuple[float, float]:
    return min(actions[0].start for actions in step), max(actions[-1].end for actions in step)


def _measured_document(
    result: TrainingResult,
    measures: Sequence[RankMeasure],
    steps: Sequence[Sequence[Sequence[Timed]]],
    dataset: TokenDataset,
    ranks_here: int,
) -> dict[str, Any]:
    """`steps`: of the first pipeline, each stage's actions."""
    measured = asdict(result.measured)
    terms = {key: measured[key] for key in ("compute", "bubble", "optimizer", "exposed")}
    return {
        **measured,
        "terms": terms,
        "tokens_per_second": result.tokens_per_second,
        "validations": [list(pair) for pair in result.validations],
        "bytes_per_token": dataset.validation.bytes_per_token,
        "weight_bytes": [measure.weight_bytes for measure in measures],
        "gradient_bytes": [measure.gradient_bytes for measure in measures],
        "optimizer_bytes": [measure.optimizer_bytes for measure in measures],
        "timeline": _timeline_table(_typical_step(steps)),
        "date": date.today().isoformat(),
        "memory_limit_bytes": memory_bytes() // ranks_here,
        "machine": {"cores": usable_cores(), "memory_bytes": memory_bytes(), "processor": processor_name()},
    }
