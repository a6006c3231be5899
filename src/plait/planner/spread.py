"""Where the ranks of a group stand: how many on each host, and how many such groups share a host's link at once.

    2 hosts of 2 ranks, data 2 × tensor 2         tensor   (2,)      inside a host
        host 0   0 1                              data     (1, 1)    2 groups cross at once: 0 2 and 1 3
        host 1   2 3

Ranks are numbered host by host, as torchrun does. Of a plan's groups along an axis the one on most hosts stands for
all; where they don't stand alike, each rank counts as alone on a host, as the wire then takes it (`sharding.standing`).
It knows meshes and counts, no link.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

from plait.sharding.mesh_shape import MeshShape
from plait.sharding.standing import stand_alike

__all__ = ["Spread", "inside", "neighbours", "spread_of"]


@dataclass(frozen=True, kw_only=True)
class Spread:
    """`hosts`: how many of a group's ranks stand on each host, most first. `groups`: so many cross at one host."""

    hosts: tuple[int, ...]
    groups: int = 1

    @property
    def ranks(self) -> int:
        """All of the group."""
        return sum(self.hosts)

    @property
    def crosses(self) -> bool:
        """Whether it stands on several hosts."""
        return len(self.hosts) > 1


def inside(ranks: int) -> Spread:
    """So many ranks on one host."""
    return Spread(hosts=(ranks,))


@lru_cache(maxsize=4096)
def spread_of(mesh: MeshShape, axis: str, ranks_a_node: int, members: tuple[int, ...] | None = None) -> Spread:
    """The groups along an axis, or of these places of it, where each host has so many ranks."""
    if mesh.ranks <= ranks_a_node:
        return inside(mesh.size(axis) if members is None else len(members))
    places = range(mesh.size(axis)) if members is None else members
    groups = [tuple(group[place] for place in places) for group in mesh.groups(axis)]
    worst = _worst(groups, ranks_a_node)
    if stand_alike(groups, [rank // ranks_a_node for rank in range(mesh.ranks)]):
        return worst
    return replace(worst, hosts=(1,) * len(places))


@lru_cache(maxsize=4096)
def neighbours(mesh: MeshShape, ranks_a_node: int) -> Spread:
    """The pairs that a pipeline's messages pass between."""
    if mesh.ranks <= ranks_a_node or mesh.pipeline == 1:
        return inside(2)
    stage = mesh.data * mesh.tensor
    return _worst([(rank, rank + stage) for rank in range(mesh.ranks - stage)], ranks_a_node)


def _worst(groups: Iterable[tuple[int, ...]], ranks_a_node: int) -> Spread:
    placed = [Counter(rank // ranks_a_node for rank in group) for group in groups]
    crossing = Counter(host for hosts in placed if len(hosts) > 1 for host in hosts)
    worst = max(placed, key=lambda hosts: (len(hosts), sorted(hosts.values())))
    many = max(crossing[host] for host in worst) if len(worst) > 1 else 1
    return Spread(hosts=tuple(sorted(worst.values(), reverse=True)), groups=many)
