"""Reading what a run wrote: JSON documents and lines, and one sentence naming the file where one can't be used.

It knows files, not what stands in them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from plait.errors import UnusableInput

__all__ = ["document", "metrics_lines", "reading"]


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Whatever a malformed document makes go wrong, as one sentence that names the file."""
    try:
        yield
    except UnusableInput as error:
        raise UnusableInput(f"{path.name}: {error}") from error
    except KeyError as error:
        raise UnusableInput(f"{path.name} is without {error.args[0]}") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise UnusableInput(f"{path.name} is malformed: {error}") from error


def document(path: Path, default: Any = None) -> Any:
    """What stands in a JSON file; the default where there is none."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return default
    except (OSError, UnicodeDecodeError) as error:
        raise UnusableInput(f"{path} can't be read: {error}") from error
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnusableInput(f"{path} is not JSON: {error}") from error


def metrics_lines(path: Path) -> Iterator[Mapping[str, Any]]:
    """The lines of the steps; a line that is none is named with its number."""
    if not path.exists():
        return
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UnusableInput(f"{path} can't be read: {error}") from error
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            yield {**row, "step": int(row["step"])}
        except (ValueError, TypeError, KeyError) as error:
            raise UnusableInput(f"line {number} of {path} is no step: {line[:80]!r}") from error
