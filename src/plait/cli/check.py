"""`plait check JOB`: is this job legal? Every error at once, each with the values that would be legal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from plait.cli.model_size import model_size
from plait.cli.output import Answer, JsonFlag, Line, caution_line, problem_line

__all__ = ["command"]


def command(
    job: Annotated[Path, typer.Argument(help="The job, a TOML file.", metavar="JOB", show_default=False)],
    json: JsonFlag = False,
) -> Answer:
    """Is this job legal? Every error at once, each with the values that would be legal."""
    from plait.api import check
    from plait.specs.wording import counted

    report = check(job)
    lines: list[Line] = [problem_line(error) for error in report.errors]
    lines += [caution_line(caution) for caution in report.warnings]
    lines += [] if report.parameters is None else [[("", model_size(report.parameters))]]
    wrong = counted(len(report.errors), "error")
    verdict = ("green", f"{job} is legal") if report.ok else ("red", f"{job} is not legal: {wrong}")
    return Answer(document=report.document(), lines=[*lines, [verdict]], code=0 if report.ok else 1)
