"""A command as one would type it, to have the same again: what pages end with, and the demo says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from shlex import join

__all__ = ["command_line"]


def command_line(name: str, subject: Path, options: Mapping[str, object | None]) -> str:
    """`plait NAME SUBJECT` (a job or a run) with those options, by their names without dashes, that have a value;
    quoted where a shell needs it."""
    words = ["plait", name, str(subject)]
    for option, value in options.items():
        words += [] if value is None else [f"--{option}", str(value)]
    return join(words)
