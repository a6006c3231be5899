"""A text file, written whole or not at all: who is interrupted leaves the old one, and no half of a new one.

measurements.json.4711.part ──complete──> measurements.json
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

__all__ = ["write_whole"]


def write_whole(path: Path, text: str) -> None:
    """Replace the file, or that which a link points to. What is there and no regular file, a device or a pipe, is
    written to as it is. Raises OSError where that can't be done."""
    if path.exists() and not path.is_file():
        path.write_text(text, encoding="utf-8")
        return
    place = path.resolve()
    unfinished = place.with_name(f"{place.name}.{os.getpid()}.part")
    try:
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(place)
    except OSError:
        with contextlib.suppress(OSError):  # it may never have been there
            unfinished.unlink()
        raise
