"""What a run left on disk, read into a report's data.

    runs/NAME/job.toml          the job
              plan.toml         the plan that was performed
              prediction.json   the table of `plans.prediction`, written before step 1, and "timeline"?,
                                "guesses"?: [sentences]                                                    optional
              metrics.jsonl     a line a step: {"step", "loss", "tokens", "seconds", "predicted_seconds",
                                "validation_loss"?}                                                        optional
              measured.json     {"step_seconds", "tokens_per_second", "terms"?: {"compute", "bubble", "optimizer",
                                "exposed": {axis: seconds}}, "memory_bytes"?: [one a rank], "timeline"?,
                                "stages"?: [terms], "transfers"?: [seconds a stage],
                                "other_cores"?: cores that other programs kept busy,
                                "validations"?: [[step, held-out loss], before the first step too],
                                "machine"?: {"processor", "cores", "memory_bytes"?}, "date"?, "bytes_per_token"?,
                                "baselines"?: {name: held-out loss}, "memory_limit_bytes"?}                optional
              plans.json        the document of `plait plan`                                               optional
              verify.json       the document of `plait verify`                                             optional
              samples.json      [{"prompt", "text"}]                                                       optional
              commands.json     ["how to do it again", ...]                                                optional

A timeline is a list of rows [name, start, end] for each rank of one pipeline, in seconds of one step and of one clock.
A name is an action (`0F2`, `0SEND_F2`), an axis (`data`: its sums; `tensor`), or `optimizer`; where it has neither
sums nor optimizer, the terms give them. A key with ? may be left out; null is a number that is not finite.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import nan, prod
from pathlib import Path
from typing import Any

from plait.errors import UnusableInput
from plait.layers.gpt import describe_gpt
from plait.plans.files import read_plan
from plait.plans.plan import Plan
from plait.plans.prediction import Terms, prediction_from_table
from plait.report.data import (
    JobSummary,
    Learning,
    Machine,
    Measured,
    RankedPlan,
    ReportData,
    Sample,
    Search,
    StepLoss,
    Verdict,
)
from plait.report.documents import document, metrics_lines, reading
from plait.report.figures import count
from plait.report.spans import Lane, lane_from_rows, with_tail, without_waiting
from plait.report.verdicts import verdict_from_document
from plait.specs.files import read_job
from plait.specs.job import Job
from plait.specs.tables import with_tuples

__all__ = ["report_data"]

_Metrics = tuple[Mapping[str, Any], ...]


def report_data(run_directory: Path) -> ReportData:
    """Everything that the run left, ready to be drawn. Raises UnusableInput naming the file that can't be used, or
    IllegalJob where the job or the plan is none."""
    job = read_job(run_directory / "job.toml")
    metrics = tuple(metrics_lines(run_directory / "metrics.jsonl"))
    return ReportData(
        name=run_directory.resolve().name,
        job=_job_summary(job),
        plan=read_plan(run_directory / "plan.toml", job).plan,
        search=_search(run_directory / "plans.json"),
        verdict=_verdict(run_directory / "verify.json"),
        samples=_samples(run_directory / "samples.json"),
        commands=_commands(run_directory / "commands.json"),
        **_said(run_directory / "prediction.json"),
        **_happened(run_directory / "measured.json", metrics),
    )


def _said(path: Path) -> dict[str, Any]:
    """The parts of a report's data that stand in prediction.json."""
    table = document(path)
    if table is None:
        return {}
    with reading(path):
        prediction = prediction_from_table(table)
        guesses = tuple(map(str, table.get("guesses", ())))
        lanes = with_tail(_lanes(table), prediction.terms)
        return {"prediction": prediction, "predicted_lanes": lanes, "guesses": guesses}


def _happened(path: Path, metrics: _Metrics) -> dict[str, Any]:
    """The parts of a report's data that stand in measured.json and metrics.jsonl."""
    table = document(path)
    with reading(path):
        learning = _learning(metrics, table or {})
        if table is None:
            return {"learning": learning}
        limit = table.get("memory_limit_bytes")
        measured, lanes = _measured(table, metrics), without_waiting(_lanes(table))
        return {
            "learning": learning,
            "measured": measured,
            "measured_lanes": with_tail(lanes, measured.terms) if measured.terms else lanes,
            "machine": _machine(table["machine"]) if "machine" in table else None,
            "memory_limit": None if limit is None else int(limit),
            "date": str(table.get("date", "")),
        }


def _job_summary(job: Job) -> JobSummary:
    weights = {weight.name: prod(weight.shape) for layer in describe_gpt(job.model) for weight in layer.weights}
    model, training = job.model, job.training
    return JobSummary(
        parameters=sum(weights.values()),
        tokens_per_step=training.global_batch * training.sequence_length,
        steps=training.steps,
        details=(f"{model.layers} layers of {model.hidden} features", f"{count(model.vocab)} tokens in the vocabulary"),
    )


def _learning(metrics: _Metrics, measured: Mapping[str, Any]) -> Learning | None:
    train = _losses(metrics, "loss")
    validations = measured.get("validations")
    validation = _losses(metrics, "validation_loss") if validations is None else tuple(map(_step_loss, validations))
    if not train and not validation:
        return None
    baselines = {str(name): _number(loss) for name, loss in measured.get("baselines", {}).items()}
    size = measured.get("bytes_per_token")
    bytes_per_token = None if size is None else float(size)
    return Learning(train=train, validation=validation, bytes_per_token=bytes_per_token, baselines=baselines)


def _losses(metrics: _Metrics, key: str) -> tuple[StepLoss, ...]:
    """The losses under a key, in the steps that have one."""
    return tuple((row["step"], _number(row[key])) for row in metrics if key in row)


def _step_loss(pair: Any) -> StepLoss:
    step, loss = pair
    return int(step), _number(loss)


def _number(value: Any) -> float:
    """A number of a document; JSON's null stands for one that is not finite."""
    return nan if value is None else float(value)


def _measured(table: Mapping[str, Any], metrics: _Metrics) -> Measured:
    terms = table.get("terms")
    return Measured(
        step_seconds=_number(table["step_seconds"]),
        tokens_per_second=_number(table["tokens_per_second"]),
        terms=_terms(terms) if terms else None,
        memory_bytes=tuple(map(int, table.get("memory_bytes", ()))),
        each_step=tuple((row["step"], float(row["seconds"])) for row in metrics if row.get("seconds") is not None),
        stages=tuple(map(_terms, table.get("stages", ()))),
        transfers=tuple(map(_number, table.get("transfers", ()))),
        other_cores=None if table.get("other_cores") is None else _number(table["other_cores"]),
    )


def _machine(table: Mapping[str, Any]) -> Machine:
    memory = int(table.get("memory_bytes", 0))
    return Machine(processor=str(table["processor"]), cores=int(table["cores"]), memory_bytes=memory)


def _terms(table: Mapping[str, Any]) -> Terms:
    exposed = {str(axis): _number(amount) for axis, amount in table["exposed"].items()}
    compute, bubble, optimizer = (_number(table[name]) for name in ("compute", "bubble", "optimizer"))
    return Terms(compute=compute, bubble=bubble, optimizer=optimizer, exposed=exposed)


def _lanes(table: Mapping[str, Any]) -> tuple[Lane, ...]:
    return tuple(map(lane_from_rows, table.get("timeline", ())))


def _search(path: Path) -> Search | None:
    table = document(path)
    if table is None:
        return None
    with reading(path):
        return Search(
            plans=tuple(map(_ranked, table["plans"])),
            considered=int(table["considered"]),
            legal=int(table["legal"]),
            search_seconds=float(table["search_seconds"]),
            too_close_to_call=bool(table["too_close_to_call"]),
        )


def _ranked(entry: Mapping[str, Any]) -> RankedPlan:
    low, high = entry["interval"]
    return RankedPlan(
        plan=Plan(**with_tuples(entry["plan"])),
        step_seconds=float(entry["step_seconds"]),
        interval=(float(low), float(high)),
        memory_bytes=tuple(map(int, entry["memory_bytes"])),
        terms=_terms(entry["terms"]),
        lost_because=entry["lost_because"],
    )


def _verdict(path: Path) -> Verdict | None:
    table = document(path)
    with reading(path):
        return None if table is None else verdict_from_document(table)


def _commands(path: Path) -> tuple[str, ...]:
    lines = document(path, default=[])
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise UnusableInput(f"{path.name} is no list of command lines")
    return tuple(lines)


def _samples(path: Path) -> tuple[Sample, ...]:
    with reading(path):
        return tuple(Sample(prompt=str(one["prompt"]), text=str(one["text"])) for one in document(path, default=()))
