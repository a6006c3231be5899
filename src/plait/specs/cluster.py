"""What there is to run on: `[cluster]` of a job. Today the ranks of this machine; catalogue devices are to come."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ClusterSpec", "usable_cores"]

_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, kw_only=True)
class ClusterSpec:
    """`ranks` processes on the machine called `name`; where nobody said how many, a plan may bring its own."""

    name: str = "local"
    ranks: int = 1
    ranks_open: bool = False  # no key of a job: `ranks` is then what this machine offers


def usable_cores(cgroup: Path = _CGROUP) -> int:
    """Cores that this process may run on: its affinity, cut by a container's quota, at least 1."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    try:
        quota = (cgroup / "cpu.max").read_text(encoding="utf-8").split()
    except OSError:  # no such file here, or none that we may read: nothing is cut
        return cores
    if len(quota) == 2 and quota[0] != "max":  # "200000 100000": microseconds of CPU in each period
        cores = min(cores, -(-int(quota[0]) // int(quota[1])))
    return max(cores, 1)
