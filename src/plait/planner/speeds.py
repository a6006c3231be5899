"""How fast each rank computes beside the one whose operations were measured, and the batch dealt out accordingly.

    measured     1.00  0.97  0.52  0.50       rank by rank
    counted as   1     1     0.52  0.52       a rank within `NOISE` of an earlier one counts as that one
    replicas     1           0.52             as fast as the slowest of their ranks
    16 rows      11          5                `balanced_shares`

That is what keeps plans from changing with the noise of a profile: ranks of one speed have equal shares. Today speeds
come from measurements alone; those of a cluster whose groups of devices differ will come in here (`Speeds`). It knows
a plan's ranks and rows, no price.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from plait.plans.arrangements import servers_alone
from plait.plans.plan import Plan
from plait.plans.rows import balanced_shares, row_counts
from plait.sharding.mesh_shape import MeshShape
from plait.specs.job import Job, PlanValue
from plait.specs.measurements import Measurements
from plait.specs.wording import counted

__all__ = ["NOISE", "Pace", "Speeds", "pace_words", "paces_of"]

NOISE = 0.1  # speeds no further apart than this are taken for one
_HALF = 0.005  # from 0.5, and still called half
_NAMED = 8  # data ranks in a sentence


class Speeds:
    """Speeds relative to the rank whose operations were measured: 1 for ranks that nobody has measured.

    `ranks_a_node`: of the job's ranks. Of as many ranks as were measured each has its own speed. Else a rank has that
    of its place on its host; a host beyond the measured ones is taken to be like the first.
    """

    def __init__(self, measurements: Measurements, ranks_a_node: int) -> None:
        self._known = tuple(_levelled(measurements.speeds))
        self._hosts = max((link.hosts for link in measurements.collectives), default=1)
        self._ranks_a_node = ranks_a_node

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

    def of_replicas(self, mesh: MeshShape) -> tuple[float, ...]:
        """Of each data replica its slowest rank's, since its tensor ranks and stages wait for each other."""
        if len(set(self._known)) <= 1 and self._known[:1] in ((), (1.0,)):
            return (1.0,) * mesh.data
        slowest = [float("inf")] * mesh.data
        for rank in range(mesh.ranks):
            replica = mesh.coordinate(rank, "data")
            slowest[replica] = min(slowest[replica], self.of_rank(rank, mesh.ranks))
        return tuple(slowest)

    def fastest(self, mesh: MeshShape) -> float:
        """The fastest rank's."""
        return max(self.of_rank(rank, mesh.ranks) for rank in range(mesh.ranks)) if self._known else 1.0

    def deals(self, job: Job, mesh: MeshShape) -> Iterator[dict[str, PlanValue]]:
        """The ways to deal the batch to the replicas of a mesh that a search should try: by speed, where replicas
        differ and the job leaves it open, and equally."""
        workers, batch = mesh.data - servers_alone(job), job.training.global_batch
        speeds = self.of_replicas(mesh)[: max(0, workers)]
        if "data_shares" not in job.constraints and len(set(speeds)) > 1 and batch >= workers:
            by_speed = balanced_shares(speeds, batch)
            if len(set(by_speed)) > 1:
                yield {"data_shares": (*by_speed, *(1,) * (mesh.data - workers))}
        yield {}


def _levelled(speeds: Sequence[float]) -> Iterator[float]:
    levels: list[float] = []
    for speed in speeds:
        alike = (level for level in levels if max(speed, level) <= (1 + NOISE) * min(speed, level))
        found = next(alike, speed)
        levels += [found] if found == speed else []
        yield found


@dataclass(frozen=True, kw_only=True)
class Pace:
    """A data replica's speed beside that of the plan's fastest rank, and how many sequences of a batch it has."""

    data_rank: int
    speed: float
    sequences: int


def paces_of(plan: Plan, speeds: Speeds, global_batch: int) -> tuple[Pace, ...]:
    """Of each replica that has rows of the batch; none where all ranks are equally fast."""
    fastest, found = speeds.fastest(plan.mesh), speeds.of_replicas(plan.mesh)[: plan.workers]
    if all(speed == fastest for speed in found):
        return ()
    counts = row_counts(plan, global_batch)
    return tuple(
        Pace(data_rank=rank, speed=speed / fastest, sequences=count)
        for rank, (speed, count) in enumerate(zip(found, counts, strict=False))
    )


def pace_words(paces: Sequence[Pace]) -> Iterator[str]:
    """A sentence, without its point, for each speed below the fastest, and what those of that speed take."""
    batch = sum(one.sequences for one in paces)
    alike: dict[tuple[float, int], list[int]] = {}
    for one in paces:
        alike.setdefault((one.speed, one.sequences), []).append(one.data_rank)
    for (speed, sequences), ranks in alike.items():
        if len(paces) == 1:
            yield f"the slowest rank computes at {_ratio(speed)}, and the others wait for it"
        elif speed < 1:
            computes, takes = ("computes", "it takes") if len(ranks) == 1 else ("compute", "each takes")
            rows = f"{sequences} of {counted(batch, 'sequence')}"
            yield f"{_names(ranks)} {computes} at {_ratio(speed)}: {takes} {rows}"


def _names(ranks: Sequence[int]) -> str:
    if len(ranks) == 1:
        return f"data rank {ranks[0]}"
    if len(ranks) > _NAMED:
        return f"{len(ranks)} data ranks ({ranks[0]}, {ranks[1]}, … {ranks[-1]})"
    return f"data ranks {', '.join(map(str, ranks[:-1]))} and {ranks[-1]}"


def _ratio(speed: float) -> str:
    return "half the speed" if abs(speed - 0.5) <= _HALF else f"{speed:.0%} of the speed"
