"""What every command that runs a job asks first: is it legal, and what is suspicious about it? And of a plan in a file:
what does that leave open? A plan is what runs, to the last key.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plait.cli.output import Line, caution_line, write_lines

if TYPE_CHECKING:
    from plait.plans.files import PlanFile
    from plait.specs.job import Job

__all__ = ["left_open_lines", "legal_job", "legal_plan"]


def legal_job(path: Path) -> Job:
    """The job in a file; what is suspicious about it is said on stderr, once.

    Raises UnusableInput if the file can't be read, IllegalJob with every error that `plait check` finds.
    """
    from plait.api import check, load
    from plait.errors import IllegalJob

    job = load(path)
    report = check(job)
    if not report.ok:
        raise IllegalJob(report.errors)
    write_lines([caution_line(caution) for caution in report.warnings], sys.stderr)
    return job


def legal_plan(path: Path, job: Job) -> PlanFile:
    """The plan in a file; what the file leaves open, and what was taken for it, is said on stderr, before anything
    starts. Raises UnusableInput and IllegalJob as `read_plan` does."""
    from plait.plans.files import read_plan

    file = read_plan(path, job)
    write_lines(left_open_lines(path, file.left_open), sys.stderr)
    return file


def left_open_lines(path: object, keys: Mapping[str, Any]) -> list[Line]:
    """What the file of a plan leaves open, with what was taken: a line, or none."""
    from plait.plans.describe import keys_in_short

    return [[("yellow", f"left open in {path}, and taken: {keys_in_short(keys)}")]] if keys else []
