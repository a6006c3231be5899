"""The record of a campaign: one JSON line a job, written whole and at once, so that any sitting may be cut off.

A line counts once its line end stands; what a killed sitting left behind the last one is cut off by the next. It knows
lines with a number, and nothing of what they say.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["append", "mend", "read"]


def read(path: Path) -> dict[int, dict[str, Any]]:
    """All whole lines by their number, of several the last; none where there is no file.

    Raises ValueError for a line that is no JSON.
    """
    if not path.exists():
        return {}
    whole = path.read_bytes().rpartition(b"\n")[0]
    lines = (json.loads(line) for line in whole.splitlines() if line)
    return {line["number"]: line for line in lines}


def mend(path: Path) -> None:
    """Cut off a torn last line, and make the folder if there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)


def append(path: Path, line: dict[str, Any]) -> None:
    """Add a line; it is in the system's hands when this returns."""
    with path.open("ab") as file:
        file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
