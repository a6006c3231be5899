"""Measurements at rest: the JSON that `plait profile` writes, where it lies, and the reading of a file from anywhere.

It knows the `profile` document of the contract; keys that it doesn't know are left alone.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from plait.errors import UnusableInput
from plait.specs.cache import cache_directory
from plait.specs.measurements import Measurements
from plait.specs.whole_files import write_whole
from plait.specs.wording import shown

__all__ = [
    "default_path",
    "document_of",
    "nearest_path",
    "read_measurements",
    "require_place",
    "write_measurements",
]

_BOUNDS = {"ge": "below {:g}, the least", "le": "above {:g}, the most"}  # by pydantic's names of them


def default_path(environment: Mapping[str, str] = os.environ, *, hosts: int = 1) -> Path:
    """Where `plait profile` writes and the planner reads: $PLAIT_CACHE, else the user's XDG cache. What was measured on
    several hosts together lies in a file of its own."""
    return cache_directory(environment) / ("measurements.json" if hosts == 1 else f"measurements-{hosts}-hosts.json")


def nearest_path(hosts: int) -> Path:
    """Where measurements for so many hosts lie: of these together, or, where there are none, of one."""
    together = default_path(hosts=hosts)
    return together if together.exists() else default_path()


def document_of(measurements: Measurements) -> dict[str, Any]:
    """The `profile` document of the contract."""
    return asdict(measurements)


def require_place(path: Path) -> None:
    """Raise UnusableInput unless a file can be written there: to be known before anything is measured."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise _unwritable(path, error) from error
    if path.is_dir():
        raise UnusableInput(f"measurements can't be written to {path}: it is a folder")


def write_measurements(measurements: Measurements, path: Path) -> None:
    """Write the document whole or not at all; raises UnusableInput where nothing can be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(document_of(measurements), indent=1) + "\n")
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> UnusableInput:
    return UnusableInput(f"measurements can't be written to {path}: {error.strerror or error}")


def read_measurements(path: Path) -> Measurements:
    """The measurements in a file, which a stranger may have written; raises UnusableInput naming each wrong key."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UnusableInput(f"there are no measurements at {path}; `plait profile` writes them") from error
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UnusableInput(
            f"measurements can't be read from {path} (`plait profile` writes new ones): {reason}"
        ) from error
    try:
        return TypeAdapter(Measurements).validate_json(text)
    except ValidationError as error:
        raise UnusableInput(_complaint(path, error)) from error


def _complaint(path: Path, error: ValidationError) -> str:
    # a list whose every item is wrong counts as empty besides
    problems = [one for one in error.errors(include_url=False) if one["type"] != "too_short" or not one["input"]]
    told = [f"  {_problem(one)}" for one in problems[:5]]
    more = len(problems) - len(told)
    first = f"{path} holds no measurements (`plait profile` writes new ones):"
    return "\n".join([first, *told, *([f"  and {more} more"] if more else [])])


def _problem(one: ErrorDetails) -> str:
    """A field, its value, and what it may be."""
    place, bounds = ".".join(map(str, one["loc"])), one.get("ctx", {})
    if not place:
        return f"the file: {one['msg']}"
    if one["type"] == "missing":
        return f"{place} is missing"
    said = f"{place} = {shown(one['input'])}"
    beyond = (
        f"{said} is {words.format(bounds[name])} that can be" for name, words in _BOUNDS.items() if name in bounds
    )
    return next(beyond, f"{said}: {one['msg']}")
