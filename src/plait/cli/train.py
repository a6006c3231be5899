"""`plait train JOB`: train, with the prediction written down before step 1 and laid beside what was measured after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plait.cli.legal import legal_job, legal_plan
from plait.cli.output import Answer, JsonFlag, Line
from plait.cli.plan import known_machine
from plait.cli.tables import difference
from plait.specs.wording import counted
from plait.units import Bytes, Seconds

if TYPE_CHECKING:
    from plait.training.result import TrainingResult

__all__ = ["command", "result_document", "result_lines"]

_ENOUGH = 3  # whole periods of local_steps, so that one slow meeting is not what is told of all


def command(
    job: Annotated[Path, typer.Argument(help="The job, a TOML file.", metavar="JOB", show_default=False)],
    plan: Annotated[Path | None, typer.Option(help="The plan; left out, the best one.", metavar="PLAN")] = None,
    out: Annotated[Path | None, typer.Option(help="The run's directory (runs/JOB).", metavar="DIR")] = None,
    sample: Annotated[list[str] | None, typer.Option(help="Continue this text at the end; may be repeated.")] = None,
    measurements: Annotated[Path | None, typer.Option(help="What `plait profile` wrote.", metavar="FILE")] = None,
    json: JsonFlag = False,
) -> Answer | None:
    """Train a job under its best plan, or a given one; predicted beside measured in every line and in the report."""
    from plait.api import load, train
    from plait.launchers import together

    run = out or Path("runs") / job.stem
    with together() as world:
        if world is not None and world.rank > 0:  # the first speaks for all
            train(load(job), run=run)
            return None
        return _answer(job, plan, run, sample or (), measurements)


def _answer(job: Path, plan: Path | None, run: Path, samples: Sequence[str], measurements: Path | None) -> Answer:
    from plait.api import train
    from plait.cli.progress import TrainingProgress
    from plait.plans.planned import require_this_machine
    from plait.training.run_directory import RunDirectory

    wanted = legal_job(job)
    require_this_machine(wanted)
    file = None if plan is None else legal_plan(plan, wanted)
    chosen, left_open = (None, {}) if file is None else (file.plan, file.left_open)
    RunDirectory.require_free(run)
    known = known_machine(wanted, measurements)
    with TrainingProgress() as progress:
        result = train(wanted, chosen, run=run, measurements=known, samples=samples, on_event=progress.take)
    return Answer(document={**result_document(result), "left_open": left_open}, lines=result_lines(result))


def result_document(result: TrainingResult) -> dict[str, Any]:
    """The contract's `train` document."""
    predicted = result.prediction
    return {
        "steps": result.steps,
        "loss": {"first_validation": result.validations[0][1], "last_validation": result.validations[-1][1]},
        "tokens_per_second": result.tokens_per_second,
        "predicted": {
            "step_seconds": predicted.step_seconds,
            "interval": list(predicted.interval),
            **asdict(predicted.terms),
            "memory_bytes": list(predicted.memory_bytes),
            "stages": [asdict(stage) for stage in predicted.stages],
            "transfers": list(predicted.transfers),
        },
        "measured": asdict(result.measured),
        "departures": [asdict(departure) for departure in result.measured.departures(predicted)],
        "guesses": list(result.guesses),
        "other_cores": result.measured.other_cores,
        "run": str(result.run.path),
    }


def result_lines(result: TrainingResult) -> list[Line]:
    """What a person wants to know at the end: the loss, and how wrong the plan was, term by term."""
    predicted, measured = result.prediction, result.measured
    first, last = result.validations[0][1], result.validations[-1][1]
    terms = predicted.terms
    rows = [
        ("step", predicted.step_seconds, measured.step_seconds),
        ("  compute", terms.compute, measured.compute),
        ("  bubble", terms.bubble, measured.bubble),
        ("  optimizer", terms.optimizer, measured.optimizer),
        *((f"  exposed {axis}", terms.exposed.get(axis, 0.0), seconds) for axis, seconds in measured.exposed.items()),
    ]
    lines: list[Line] = [
        [("bold", f"held-out loss {first:.4f} before, {last:.4f} after {result.steps} steps")],
        [("", f"{result.tokens_per_second:,.0f} tokens/s")],
        [("dim", f"{'':18}{'predicted':>12}{'measured':>12}{'error':>9}")],
    ]
    for name, plan, real in rows:
        if plan or real:
            lines.append([("", f"{name:18}{Seconds(plan)!s:>12}{Seconds(real)!s:>12}{difference(plan, real):>9}")])
    most = Bytes(max(predicted.memory_bytes)), Bytes(max(measured.memory_bytes))
    lines.append([("", f"{'memory, largest':18}{most[0]!s:>12}{most[1]!s:>12}")])
    low, high = predicted.interval
    if not low <= measured.step_seconds <= high:
        told = f"the measured step lies outside the predicted interval, {Seconds(low)} to {Seconds(high)}"
        lines.append([("yellow", told)])
    if result.disturbance is not None:
        lines.append([("yellow", result.disturbance)])
    lines += [[("yellow", departure.words)] for departure in measured.departures(predicted)]
    lines += [[("yellow", f"a guess: {guess}")] for guess in result.guesses]
    if result.periods is not None and result.periods < _ENOUGH:
        lines.append([("yellow", _few(result.periods))])
    if not isfinite(last):
        told = "the held-out loss is no number: the run has diverged; try a smaller training.learning_rate"
        lines.append([("yellow", told)])
    lines.append([("", f"report: {result.run.report}")])
    return lines


def _few(periods: int) -> str:
    """Why the measured step is not to be trusted much, where replicas met seldom in so short a run."""
    if not periods:
        return (
            "the run is too short: no whole period of local_steps was measured after its dense beginning; the measured "
            "step is the mean of what there was"
        )
    over = f"the mean of {counted(periods, 'whole period')} of local_steps, meetings included"
    return f"the run is short: the measured step is {over}; from {_ENOUGH} on it is their median"
