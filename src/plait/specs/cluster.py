"""What there is to run on: `[cluster]` of a job. Today the ranks of this machine; catalogue devices are to come."""

from __future__ import annotations

import os
from dataclasses import dataclass

__all__ = ["ClusterSpec", "available_cores"]


@dataclass(frozen=True, kw_only=True)
class ClusterSpec:
    """`ranks` processes on the machine called `name`."""

    name: str = "local"
    ranks: int = 1


def available_cores() -> int:
    """The cores that this process may use, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
