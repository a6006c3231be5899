"""Job files: from a path to a job, and from a job to the tables of a file.

    path ──read_table──> table ──sift──> values ──assemble──> Job
           bad TOML: UnusableInput       every bad key: IllegalJob

What a job's keys mean together is not judged here (`plans/legality`).
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import fields, replace
from os import PathLike
from pathlib import Path
from typing import Any

from plait.errors import IllegalJob, UnusableInput
from plait.specs.assembly import Assembled, assemble
from plait.specs.border import sift
from plait.specs.cluster import ClusterSpec
from plait.specs.job import Job
from plait.specs.model import ModelSpec
from plait.specs.tables import RARE, with_lists

__all__ = ["job_from_table", "job_table", "parse_job", "read_job", "read_table"]


def read_job(path: str | PathLike[str]) -> Job:
    """The job in a file. Raises UnusableInput if it is no TOML, IllegalJob with every key that can't be taken."""
    return job_from_table(read_table(path))


_ALWAYS = {"name", "ranks"}  # of a cluster; everything else is written where it says more than its absence
_UNSAID = {
    "model": {field.name: field.default for field in fields(ModelSpec) if field.name in RARE},
    "cluster": {field.name: field.default for field in fields(ClusterSpec) if field.name not in _ALWAYS},
}


def read_table(path: str | PathLike[str]) -> dict[str, Any]:
    """The tables of a TOML file; raises UnusableInput, with line and column where the text itself is at fault."""
    try:
        content = Path(path).read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UnusableInput(f"{path} can't be read: {reason or error}") from error
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - (content.rfind(b"\n", 0, error.start) + 1) + 1
        raise UnusableInput(f"{path} is not UTF-8 text (at line {line}, column {column})") from error
    except RecursionError as error:
        raise UnusableInput(f"{path} is not TOML: its lists or tables are nested too deeply") from error
    except ValueError as error:  # tomllib's own error, and Python's for a number of thousands of digits
        raise UnusableInput(f"{path} is not TOML: {error}") from error


def parse_job(table: Mapping[str, Any]) -> Assembled:
    """The job in a table as far as it can be taken, with every problem of every key. Nothing is raised."""
    sifted = sift(table)
    assembled = assemble(sifted)
    problems = (*sifted.problems, *assembled.problems)
    return replace(assembled, problems=problems)


def job_from_table(table: Mapping[str, Any]) -> Job:
    """The job in a table, as tomllib reads it; raises IllegalJob with every problem of every key."""
    parsed = parse_job(table)
    if parsed.problems:
        raise IllegalJob(parsed.problems)
    return parsed.job


def job_table(job: Job) -> dict[str, Any]:
    """The job as tables, ready for TOML; `job_from_table` makes the same job of them.

    A model has no key for `max_positions`: it is the sequence length of the training. Ranks left open stay so.
    """
    parts = {"model": job.model, "data": job.data, "training": job.training, "cluster": job.cluster}
    tables = {name: with_lists(_said(name, vars(part))) for name, part in parts.items()}
    del tables["model"]["max_positions"]
    if tables["cluster"].pop("ranks_open", False):
        del tables["cluster"]["ranks"]
    if job.cluster.groups:
        tables["cluster"].pop("nodes", None)  # of all of them together
    return {**tables, "plan": with_lists(job.constraints)}


def _said(table: str, keys: Mapping[str, Any]) -> dict[str, Any]:
    unsaid = _UNSAID.get(table, {})
    return {key: value for key, value in keys.items() if key not in unsaid or unsaid[key] != value}
