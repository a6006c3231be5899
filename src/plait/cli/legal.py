"""What every command that runs a job asks first: is it legal, and what is suspicious about it?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from plait.cli.output import caution_line, write_lines

if TYPE_CHECKING:
    from plait.specs.job import Job

__all__ = ["legal_job"]


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
