"""A schedule that a job gives by its drawing: a file, whose contents take its place as soon as the job is read.

    schedule = "grids/mine.txt"     in a job or plan: a path, from where the command is run
    schedule = '''rank 0 F0 …'''    in a plan as it is written down, and wherever it goes: the drawing itself

So a plan means the same on every rank and in every directory. What a drawing means is not judged here
(`schedules.grid`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plait.errors import Problem, UnusableInput
from plait.specs.wording import nearest, shown

__all__ = ["SCHEDULES", "is_grid", "rows_of", "schedule_problem", "tidy", "with_grid"]

SCHEDULES = ("gpipe", "1f1b", "interleaved", "zb-h1", "zb-v")
_LARGEST = 2**24  # bytes


def is_grid(schedule: str) -> bool:
    """Whether a schedule is given by its drawing, and not by its name: a drawing ends its lines."""
    return "\n" in schedule


def tidy(text: str) -> str:
    """A grid's text as plans carry it: no blanks at the ends of lines, no empty lines after it, every line ended. Lines
    and columns stay what they are in the file, so that mistakes are found there."""
    lines = [line.rstrip() for line in _lines(text)]
    return "\n".join(lines).rstrip("\n") + "\n"


def rows_of(grid: str) -> int:
    """How many rows a grid has; a rank each."""
    return sum(bool(line.partition("#")[0].strip()) for line in _lines(grid))


def _lines(text: str) -> list[str]:
    """As editors count them: what else Unicode takes for the end of a line is none."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def schedule_problem(value: object) -> Problem | None:
    """What is wrong with a schedule: neither a name, nor a drawing, nor a file that can be read."""
    if not isinstance(value, str) or value in SCHEDULES or is_grid(value):
        return None
    if not _is_path(value):
        close = nearest(value, SCHEDULES)[0]
        message = f"schedule = {shown(value)} is not one of its values; the nearest is {close}"
        return Problem(key="plan.schedule", message=message, legal=SCHEDULES)
    try:
        _contents(value)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        message = f"schedule = {shown(value)} is no grid that can be read: {reason}"
        return Problem(key="plan.schedule", message=message, legal=f"{', '.join(SCHEDULES)}, or the path of a grid")
    return None


def with_grid(plan: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a `[plan]` that has no problem, a path in its schedule replaced by what stands there. Raises
    UnusableInput where that has gone meanwhile."""
    schedule = plan.get("schedule")
    if not isinstance(schedule, str) or schedule in SCHEDULES:
        return dict(plan)
    try:
        text = schedule if is_grid(schedule) else _contents(schedule)
    except (OSError, ValueError) as error:
        raise UnusableInput(f"{schedule}: no grid that can be read: {error}") from error
    return {**plan, "schedule": tidy(text)}


def _is_path(value: str) -> bool:
    return "." in value or "/" in value


def _contents(path: str) -> str:
    """Raises OSError, and ValueError for what is no text."""
    there = Path(path).expanduser()
    if there.exists() and not there.is_file():
        raise ValueError("it is no regular file")
    if there.stat().st_size > _LARGEST:
        raise ValueError(f"it has more than {_LARGEST} bytes")
    try:
        return there.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError("it is not UTF-8 text") from error
