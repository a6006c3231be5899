"""From an error to what the user reads and the code that the command ends with. No traceback of ours reaches anybody.

    UnusableInput, IllegalJob, IllegalSchedule, a wrong command line    2
    NothingFits                                                         1
    RankFailure, an error of the system (a full disk), a defect         3

Only a defect, which is nobody's fault but ours, shows its traceback.
"""

from __future__ import annotations

import traceback
from typing import Any

from plait.cli.output import Answer, Line, problem_line
from plait.errors import (
    IllegalJob,
    IllegalSchedule,
    NothingFits,
    PlaitError,
    RankFailure,
    UnusableInput,
)
from plait.plans.report import problem_document

__all__ = ["failure", "failure_of", "interrupted", "unread"]

_KINDS: dict[type[PlaitError], tuple[str, int]] = {
    UnusableInput: ("unusable_input", 2),
    IllegalJob: ("illegal_job", 2),
    IllegalSchedule: ("illegal_schedule", 2),
    NothingFits: ("nothing_fits", 1),
    RankFailure: ("rank_failure", 3),
    PlaitError: ("error", 3),
}


def failure(kind: str, message: str, code: int, **more: Any) -> Answer:
    """The answer of a command that could not give one."""
    return _failed(kind, message, code, [[("bold red", "error"), ("", f": {message}")]], more)


def interrupted() -> Answer:
    """The answer of a command that was told to stop."""
    return failure("interrupted", "interrupted", 130)


def unread() -> Answer:
    """The answer of a command whose output nobody reads any more."""
    return Answer(document={}, code=141)


def failure_of(error: Exception) -> Answer:
    """The answer that an escaped exception stands for."""
    match error:
        case PlaitError():
            kind, code = next(_KINDS[one] for one in type(error).__mro__ if one in _KINDS)
            return _of_plait(error, kind, code)
        case OSError():
            return failure("system", _of_the_system(error), 3)
        case _:
            told = "".join(traceback.format_exception(error)).rstrip()
            message = f"a defect of Plait, not of your input: {type(error).__name__}: {error}"
            return _failed("defect", message, 3, [[("", told)], [("bold red", message)]], {"traceback": told})


def _of_plait(error: PlaitError, kind: str, code: int) -> Answer:
    match error:
        case IllegalJob():
            lines = [problem_line(problem) for problem in error.problems]
            errors = [problem_document(problem) for problem in error.problems]
            return _failed(kind, str(error), code, lines, {"errors": errors})
        case RankFailure():
            return failure(kind, str(error), code, rank=error.rank, report=error.report)
        case _:
            return failure(kind, str(error), code)


def _of_the_system(error: OSError) -> str:
    reason = error.strerror or str(error)
    return f"{reason}: {error.filename}" if error.filename else reason


def _failed(kind: str, message: str, code: int, lines: list[Line], more: dict[str, Any]) -> Answer:
    document = {"error": {"kind": kind, "message": message, **more}}
    return Answer(document=document, lines=lines, code=code, failed=True)
