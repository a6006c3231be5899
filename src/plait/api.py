"""Plait from Python: what a user's own program calls, and what the commands call.

    load ──> Job ──> check ──> Report

Here, and in `cli`, planner and runtime meet. Rooms that are heavy to import are imported by the function that needs
them, so that `load` and `check` stay free of torch and numpy.
"""

from __future__ import annotations

from os import PathLike

from plait.errors import IllegalJob
from plait.plans.cautions import cautions
from plait.plans.completion import with_most_ranks
from plait.plans.legality import problems
from plait.plans.report import Report
from plait.specs.assembly import Assembled
from plait.specs.cluster import available_cores
from plait.specs.files import job_table, parse_job, read_table
from plait.specs.inputs import text_problems
from plait.specs.job import Job

__all__ = ["check", "load", "require_legal"]


def load(path: str | PathLike[str]) -> Job:
    """The job in a file, ready for every other verb. One without `cluster.ranks` gets the most that this machine's
    cores and its own numbers allow.

    Raises UnusableInput if the file can't be read as TOML, and IllegalJob with every problem if a key can't be taken.
    What the keys mean together is left to `check`: a job that can be read can be asked about.
    """
    parsed = parse_job(read_table(path))
    if parsed.problems:
        raise IllegalJob(_report(parsed).errors)
    return with_most_ranks(parsed.job) if "cluster.ranks" in parsed.unknown else parsed.job


def check(job: Job | str | PathLike[str]) -> Report:
    """Is the job legal, and what is suspicious about it? All errors at once, each with the values that would be legal.

    Takes a job or the path of one. Raises UnusableInput if there is a path and it can't be read as TOML.
    """
    table = job_table(job) if isinstance(job, Job) else read_table(job)
    return _report(parse_job(table))


def require_legal(job: Job) -> None:
    """Raises IllegalJob with every error that `check` finds, if any: to be called before anything starts."""
    report = check(job)
    if not report.ok:
        raise IllegalJob(report.errors)


def _report(parsed: Assembled) -> Report:
    job, unknown = parsed.job, parsed.unknown
    texts = [] if "data.text" in unknown else text_problems(job.data)
    errors = (*parsed.problems, *texts, *problems(job, unknown))
    settled = with_most_ranks(job) if "cluster.ranks" in unknown and not errors else job
    return Report(errors=errors, warnings=tuple(cautions(settled, available_cores())))
