"""Where what can be made again is kept between runs: tokens, measurements. It knows the place, not what lies there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

__all__ = ["cache_directory"]


def cache_directory(environment: Mapping[str, str] = os.environ) -> Path:
    """`$PLAIT_CACHE`, else the user's XDG cache; a variable that is empty counts as not set."""
    if chosen := environment.get("PLAIT_CACHE"):
        return Path(chosen)
    return Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "plait"
