"""Who of a pipeline shares cores with whom: its ranks, each with all replicas and tensor ranks of its stages.

    2 hosts of 2 ranks                   pipeline 2 × data 2    0 on host 0, 1 on host 1, each asks for two cores
                                         pipeline 4             0 and 1 on host 0, 2 and 3 on host 1, for a core each
    2 hosts of 3 ranks                   pipeline 3 × data 2    0 and half of 1 on host 0, half of 1 and 2 on host 1

A rank of the pipeline that stands on several hosts counts on the one that has most of it, the first of several, and as
if it had as much there as any other has on a host: it waits for its slowest part, and prices know one crowd for all.
It knows where ranks stand, no price.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["SharedCores", "shared_cores"]


@dataclass(frozen=True)
class SharedCores:
    """`each`: cores that a host has; None where nobody has to wait for one. `demand`: how many a rank of the pipeline
    asks for while it computes; `hosts`: where each stands, by numbers from 0."""

    each: float | None
    demand: int
    hosts: tuple[int, ...]

    @property
    def crowd(self) -> float:
        """How many times longer a rank computes while it is the only one of its host to do so."""
        return max(1.0, self.demand / self.each) if self.each else 1.0

    def full(self, work: Sequence[float]) -> float:
        """Seconds in which the host with most to do could do it on cores that are always full. `work`: seconds that
        each rank computes as if alone."""
        if self.each is None:
            return 0.0
        asked = [0.0] * (max(self.hosts) + 1)
        for host, seconds in zip(self.hosts, work, strict=True):
            asked[host] += self.demand * seconds
        return max(asked) / self.each


def shared_cores(pipeline: int, size: int, *, ranks_a_host: int, cores: float | None) -> SharedCores:
    """Those of a pipeline each of whose ranks is `size` ranks, numbered on end over hosts of so many ranks and cores;
    `cores`: None where each rank has its own."""
    if cores is None or min(ranks_a_host, pipeline * size) <= cores:
        return SharedCores(None, size, (0,) * pipeline)
    hosts = tuple(_most(place * size, size, ranks_a_host) for place in range(pipeline))
    return SharedCores(cores, min(size, ranks_a_host), hosts)


def _most(first: int, size: int, each: int) -> int:
    """The host that holds most of `size` ranks from `first` on."""
    hosts = range(first // each, (first + size - 1) // each + 1)
    return max(hosts, key=lambda host: min(first + size, (host + 1) * each) - max(first, host * each))
