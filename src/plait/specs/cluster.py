"""What there is to run on: `[cluster]` of a job, today the ranks of this machine."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ClusterSpec"]


@dataclass(frozen=True, kw_only=True)
class ClusterSpec:
    """`ranks` processes on the machine called `name`."""

    name: str = "local"
    ranks: int = 1
