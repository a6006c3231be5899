"""A bench on disk: what was predicted, before the first turn; what was found, at the end.

It knows files and their form; who reads them is the report.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from os import PathLike
from pathlib import Path

from plait.devices.host import memory_bytes, processor_name
from plait.plans.files import plan_table
from plait.plans.prediction import prediction_table
from plait.specs.cluster import usable_cores
from plait.specs.job import Job
from plait.training.bench import Contest, Entry, taken
from plait.training.bench_result import BenchResult, bench_document
from plait.training.run_directory import RunDirectory

__all__ = ["begun", "ended"]


def begun(
    job: Job, entries: Sequence[Entry], path: Path, record: str | PathLike[str] | None, *, repeats: int, steps: int
) -> Contest:
    """Make the directory, leave the job and all predictions there, and say what is to be measured. Raises UnusableInput
    for a directory or a record that can't be used."""
    if record is not None:
        taken(Path(record))  # before anything is left on disk
    run = RunDirectory.create(path)
    run.write_job(job)
    predictions = [
        {"plan": plan_table(entry.plan), "prediction": prediction_table(entry.prediction)} for entry in entries
    ]
    run.write_json("predictions.json", predictions)
    turns = run.turns if record is None else Path(record)
    return Contest(job=job, entries=tuple(entries), repeats=repeats, steps=steps, record=turns)


def ended(path: Path, result: BenchResult) -> None:
    """Leave what was found."""
    machine = {"cores": usable_cores(), "memory_bytes": memory_bytes(), "processor": processor_name()}
    document = bench_document(result) | {"machine": machine, "date": date.today().isoformat(), "run": str(path)}
    RunDirectory(path).write_json("bench.json", document)
