"""What there is to run on: `[cluster]` of a job.

    here         ranks of this machine, or of several machines like it that a link joins
    elsewhere    machines of the catalogue: equal ones (`device`) or unequal ones (`groups`); a job for them is planned

Their devices and links are names here; what these say stands in the catalogue, and `machines` puts both together.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from plait.errors import Problem
from plait.specs.values import MOST_RANKS

__all__ = ["ClusterSpec", "GroupSpec", "has_accelerator", "misplaced", "usable_cores"]

_CGROUP = Path("/sys/fs/cgroup")
_DEVICES, _ACCELERATORS = Path("/dev"), ("nvidiactl", "kfd", "accel")  # NVIDIA's, AMD's, and the kernel's for others


@dataclass(frozen=True, kw_only=True)
class GroupSpec:
    """Equal machines among unequal ones. What is None was not said: see `machines`."""

    device: str
    nodes: int = 1
    devices_per_node: int | None = None
    intra_link: str | None = None
    inter_link: str | None = None
    price_per_hour: float | None = None
    power_watts: float | None = None


@dataclass(frozen=True, kw_only=True)
class ClusterSpec:
    """`ranks` processes on machines like the one called `name`, numbered host by host; where nobody said how many, a
    plan may bring its own. `inter_link` (of the catalogue) joins the hosts; None: nobody said.

    With a `device` or with `groups` these are machines of the catalogue, numbered group by group. `price_per_hour` (in
    a currency of the user's choice) and `power_watts` are of one device; with groups, links, price and power are those
    of groups that have none of their own.
    """

    name: str = "local"
    ranks: int = 1
    ranks_open: bool = False  # no key of a job: `ranks` is then what this machine offers
    nodes: int = 1
    devices_per_node: int | None = None
    inter_link: str | None = None
    device: str | None = None
    intra_link: str | None = None
    groups: tuple[GroupSpec, ...] = ()
    price_per_hour: float | None = None
    power_watts: float | None = None

    @property
    def elsewhere(self) -> bool:
        """Whether these are machines of the catalogue."""
        return self.device is not None or bool(self.groups)

    @property
    def ranks_a_node(self) -> int:
        """How many ranks stand on each host."""
        return max(1, self.ranks // self.nodes)


def misplaced(nodes: int, devices_per_node: int | None, ranks: int | None) -> Problem | None:
    """What keeps so many ranks (None: not said) from standing equally many on each of the hosts."""
    if devices_per_node is not None:
        each = f"nodes × devices_per_node = {nodes} × {devices_per_node} = {(wanted := nodes * devices_per_node)}"
        if wanted > MOST_RANKS:
            message = f"{each} ranks are more than {MOST_RANKS}, the most there may be"
            key, other = ("nodes", devices_per_node) if devices_per_node <= MOST_RANKS else ("devices_per_node", nodes)
            room = MOST_RANKS // other  # 0: neither alone can mend it
            legal = f"1 to {room}" if room else f"1 to {MOST_RANKS}, and nodes no more than {MOST_RANKS} in all"
            return Problem(key=f"cluster.{key}", message=message, legal=legal)
        if ranks not in (None, wanted):
            return Problem(key="cluster.ranks", message=f"ranks = {ranks}, but {each}", legal=(wanted,))
    elif nodes > 1 and ranks is None:
        message = f"how many ranks stand on each of the {nodes} nodes is missing"
        return Problem(key="cluster.devices_per_node", message=message, legal="a whole number from 1")
    elif ranks is not None and ranks % nodes:
        near = [number for number in range(min(nodes, ranks), 0, -1) if ranks % number == 0][:3]
        message = f"{ranks} ranks can't stand on {nodes} nodes, equally many on each"
        return Problem(key="cluster.nodes", message=message, legal=tuple(near))
    return None


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


def has_accelerator(devices: Path = _DEVICES) -> bool:
    """Whether the system shows this process an accelerator's driver (Linux); torch has the last word on that."""
    return any((devices / name).exists() for name in _ACCELERATORS)
