"""Where this rank stands: its group of neighbours along each axis of the mesh.

A group is made once a process and kept: meshes of different plans share it. Making groups is a collective of the whole
world, so that every rank makes every group, also those it is no member of, in the same order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import torch.distributed as dist

from plait.collectives.c10d import C10d
from plait.collectives.meeting import meet, standing
from plait.collectives.wire import Wire
from plait.errors import PlaitError
from plait.sharding.mesh_shape import AXES, MeshShape
from plait.sharding.standing import stand_alike
from plait.specs.catalogue import ASSUMED_SPEED
from plait.specs.links import LinkSpeed

__all__ = ["Group", "Mesh", "build_mesh", "join", "patience"]


@dataclass(frozen=True, kw_only=True)
class Group:
    """The ranks along one axis, or some of them. `ranks` are global, `index` is this rank's place among them."""

    axis: str
    ranks: tuple[int, ...]
    index: int
    wire: Wire | None = field(default=None, repr=False)  # None: alone

    @property
    def size(self) -> int:
        """How many ranks."""
        return len(self.ranks)


@dataclass(frozen=True, kw_only=True)
class Mesh:
    """The mesh as one rank sees it."""

    shape: MeshShape
    rank: int
    axes: dict[str, Group]
    link: LinkSpeed = ASSUMED_SPEED  # between hosts

    def axis(self, name: str) -> Group:
        """This rank's whole group along an axis."""
        return self.axes[name]

    def coordinate(self, name: str) -> int:
        """This rank's place along an axis."""
        return self.axes[name].index

    def subsets(self, name: str, sets: Iterable[tuple[int, ...]]) -> dict[tuple[int, ...], Group]:
        """For each set of places along an axis that this rank is in, the group of the ranks there.

        Every rank of the mesh calls it with the same `sets`.
        """
        found: dict[tuple[int, ...], Group] = {}
        for members in sorted(sets):
            groups = [tuple(group[member] for member in members) for group in self.shape.groups(name)]
            made = _groups(name, groups, self.rank, self.link)
            if made is not None:
                found[members] = made
        return found


def build_mesh(shape: MeshShape, link: LinkSpeed | None = None) -> Mesh:
    """Place this process in a mesh of `shape`; every rank of the mesh calls it, with the same `link` between hosts, on
    which algorithms are chosen: that which the planner has priced, or what is assumed where nobody knows.

    Raises PlaitError where the running world is not as large as the mesh.
    """
    world = dist.get_world_size() if dist.is_initialized() else 1
    if world != shape.ranks:
        raise PlaitError(
            f"the plan occupies {shape.ranks} ranks and {world} are running; start {shape.ranks}, or plan for {world}"
        )
    rank = dist.get_rank() if dist.is_initialized() else 0
    between = link or ASSUMED_SPEED
    axes: dict[str, Group] = {}
    for axis in AXES:
        group = _groups(axis, shape.groups(axis), rank, between)
        if group is not None:
            axes[axis] = group
    return Mesh(shape=shape, rank=rank, axes=axes, link=between)


# By the world that they were made in (None before it is joined), their ranks, the link between hosts, and whether each
# rank counts as alone on its host.
_made: dict[tuple[dist.ProcessGroup | None, tuple[int, ...], LinkSpeed, bool], Wire | None] = {}
_hosts: dict[dist.ProcessGroup, list[int] | None] = {}  # of each rank, by the world


def join(axis: str, ranks: tuple[int, ...]) -> Group | None:
    """The group of some of the world's ranks, outside of any mesh; every rank of the world calls it. None for a rank
    that is no member, and outside of a world."""
    return _group(axis, ranks, dist.get_rank(), ASSUMED_SPEED) if dist.is_initialized() else None


def _groups(axis: str, groups: Sequence[tuple[int, ...]], rank: int, link: LinkSpeed) -> Group | None:
    """That of these groups along an axis which this rank is a member of, made with the others if they are not there
    yet; None for a rank of none. What they sum has to be the same in all to the bit (`sharding.standing`)."""
    host = _standing() if len(groups[0]) > 1 else None
    alone = host is not None and not stand_alike(groups, host)
    made = [_group(axis, ranks, rank, link, alone=alone) for ranks in groups]
    return next((one for one in made if one is not None), None)


def _standing() -> list[int] | None:
    """The host of each rank of the world, asked once; every rank calls it."""
    world = dist.group.WORLD
    if world is None:
        return None
    if world not in _hosts:
        _hosts[world] = standing(world)
    return _hosts[world]


def _group(axis: str, ranks: tuple[int, ...], rank: int, link: LinkSpeed, *, alone: bool = False) -> Group | None:
    """The group of `ranks`, made if it is not there yet; None for a rank that is no member."""
    key = (dist.group.WORLD, ranks, link, alone)
    if len(ranks) > 1 and key not in _made:
        _made[key] = _wire(ranks, rank, link, alone=alone)
    if rank not in ranks:
        return None
    return Group(axis=axis, ranks=ranks, index=ranks.index(rank), wire=_made.get(key))


def _wire(ranks: tuple[int, ...], rank: int, link: LinkSpeed, *, alone: bool) -> Wire | None:
    """A new process group's wire; None where this rank is no member."""
    limit = patience()
    handle = dist.new_group(list(ranks), timeout=limit)
    if not isinstance(handle, dist.ProcessGroup) or rank not in ranks:
        return None
    index = ranks.index(rank)
    wire = meet(handle, ranks, index, limit.total_seconds(), link, alone=alone) or C10d(handle, ranks, index)
    return wire.driving() if isinstance(wire, C10d) else wire


def patience() -> timedelta:
    """How long the world waits for a rank: torch.distributed gives a group of some ranks its own default, half an hour,
    whatever the world was begun with."""
    world = dist.group.WORLD
    assert world is not None
    backend: Any = world._get_backend(world._device_types[0])
    return backend.options._timeout
