"""How fast each rank computes beside the one whose operations were measured.

    measured     1.00  0.97  0.52  0.50       rank by rank
    counted as   1     1     0.52  0.52       a rank within `NOISE` of an earlier one counts as that one
    replicas     1           0.52             as fast as the slowest of their ranks

That is what keeps plans from changing with the noise of a profile: ranks of one speed have equal shares. Today speeds
come from measurements alone; those of a cluster whose groups of devices differ will come in here (`Speeds`). What is
dealt out by them is `deals`' matter, in words `paces`'. It knows ranks and a mesh, no price.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from plait.sharding.mesh_shape import MeshShape
from plait.specs.measurements import Measurements

__all__ = ["NOISE", "Columns", "Speeds", "levelled"]

NOISE = 0.1  # speeds no further apart than this are taken for one


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The speeds of a mesh: of each replica that is `different`, by its places along the pipeline, those of the tensor
    ranks there; `of_data`: which of these each data rank is. `alike`: the speed of all; None where they differ."""

    different: tuple[tuple[tuple[float, ...], ...], ...]
    of_data: tuple[int, ...]
    alike: float | None


class Speeds:
    """Speeds relative to the rank whose operations were measured: 1 for ranks that nobody has measured.

    `ranks_a_node`: of the job's ranks. Of as many ranks as were measured each has its own speed. Else a rank has that
    of its place on its host; a host beyond the measured ones is taken to be like the first.
    """

    def __init__(self, measurements: Measurements, ranks_a_node: int) -> None:
        self._known = tuple(levelled(measurements.speeds))
        self._hosts = max((link.hosts for link in measurements.collectives), default=1)
        self._ranks_a_node = ranks_a_node
        self._columns: dict[MeshShape, Columns] = {}

    def of_rank(self, rank: int, ranks: int) -> float:
        """What one of `ranks` ranks counts as."""
        if len(self._known) == ranks:
            return self._known[rank]
        host, place = divmod(rank, self._ranks_a_node)
        on_each = len(self._known) // self._hosts
        first = on_each * (host if host < self._hosts else 0)
        return self._known[first + place] if place < on_each else 1.0

    def guessed(self, ranks: int) -> bool:
        """Whether ranks differ in speed, and some of so many have one that nobody has measured."""
        each = max(1, len(self._known) // self._hosts)
        hosts = -(-ranks // self._ranks_a_node)
        covered = len(self._known) == ranks or (hosts <= self._hosts and min(ranks, self._ranks_a_node) <= each)
        return len(set(self._known)) > 1 and not covered

    def alike(self, mesh: MeshShape) -> float | None:
        """The speed that all ranks of a mesh have; None where they differ."""
        if len(set(self._known)) <= 1 and self._known[:1] in ((), (1.0,)):
            return 1.0
        return self.columns(mesh).alike

    def columns(self, mesh: MeshShape) -> Columns:
        """The speeds of a mesh, by replica."""
        if mesh not in self._columns:
            self._columns[mesh] = self._by_column(mesh)
        return self._columns[mesh]

    def _by_column(self, mesh: MeshShape) -> Columns:
        speeds = [self.of_rank(rank, mesh.ranks) for rank in range(mesh.ranks)]
        each = [tuple(speeds[first : first + mesh.tensor]) for first in range(0, mesh.ranks, mesh.tensor)]
        by_data = [tuple(each[data :: mesh.data]) for data in range(mesh.data)]
        number = {column: place for place, column in enumerate(dict.fromkeys(by_data))}
        return Columns(
            different=tuple(number),
            of_data=tuple(number[column] for column in by_data),
            alike=speeds[0] if len(set(speeds)) == 1 else None,
        )

    def along(self, mesh: MeshShape, axis: str) -> tuple[float, ...]:
        """Of each place along an axis its slowest rank's: those at one place of it wait for each other."""
        if (one := self.alike(mesh)) is not None:
            return (one,) * mesh.size(axis)
        slowest = [float("inf")] * mesh.size(axis)
        for rank in range(mesh.ranks):
            place = mesh.coordinate(rank, axis)
            slowest[place] = min(slowest[place], self.of_rank(rank, mesh.ranks))
        return tuple(slowest)

    def fastest(self, mesh: MeshShape) -> float:
        """The fastest rank's."""
        return max(self.of_rank(rank, mesh.ranks) for rank in range(mesh.ranks)) if self._known else 1.0


def levelled(speeds: Sequence[float]) -> Iterator[float]:
    """The same, those within `NOISE` of an earlier one counted as that one."""
    levels: list[float] = []
    for speed in speeds:
        alike = (level for level in levels if max(speed, level) <= (1 + NOISE) * min(speed, level))
        found = next(alike, speed)
        levels += [found] if found == speed else []
        yield found
