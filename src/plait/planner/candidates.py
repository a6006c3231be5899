"""The space of plans: every value of what a job leaves open, with every other.

    ranks = data × tensor × pipeline      microbatch divides the most rows of a data rank, or the batch, or nearly
    schedule, where there is a pipeline   virtual_stages, where it interleaves
                                          sequence_parallel, where there is a tensor axis
    zero, where there is a data axis      shares and stages, where ranks differ in speed: by it, and equal

What the job fixes is kept, to the letter. Which of these are legal is `plans.legality`'s to say, how the keys that
nobody chose are filled in `plans.completion`'s, and which is best `search`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import product
from typing import cast

from plait.plans.arrangements import divisors, grid_of, microbatch_sizes, row_span
from plait.schedules.registry import BUILT
from plait.sharding.mesh_shape import AXES, MeshShape
from plait.specs.job import Job, PlanValue

__all__ = ["Choices", "candidates"]

Choices = dict[str, PlanValue]  # keys of [plan]

_MOST_MICROBATCHES = 4096  # of a step: a schedule of 10⁵ actions takes long to play
_LEVELS = (0, 1, 2, 3)
_SCHEDULES = ("1f1b", *(name for name in BUILT if name != "1f1b"))
_SMALL_BUBBLES = ("interleaved", "zb-h1", "zb-v")
_MOST_LEADS = 16  # microbatches for each rank of a pipeline: from there on 1F1B's bubble is less than 1/16
_INTERLEAVED = (2, 4)  # stages a rank


def _equally(job: Job, mesh: MeshShape) -> Iterator[Choices]:
    yield {}


def candidates(job: Job, deals: Callable[[Job, MeshShape], Iterator[Choices]] = _equally) -> Iterator[Choices]:
    """Every combination for the job's ranks, legal or not; steps of more than 4096 microbatches only if fixed so.
    `deals`: ways to deal out the work of a mesh, as further keys (`deals`)."""
    ranks, fixed = job.cluster.ranks, job.constraints
    for data, tensor in product(divisors(ranks), repeat=2):
        if ranks % (data * tensor) == 0:
            mesh = MeshShape(data=data, tensor=tensor, pipeline=ranks // (data * tensor))
            if all(fixed.get(axis, mesh.size(axis)) == mesh.size(axis) for axis in AXES):
                for dealt in deals(job, mesh):
                    yield from ({**vars(mesh), **dealt, **open_keys} for open_keys in _open_keys(job, mesh, dealt))


def _open_keys(job: Job, mesh: MeshShape, dealt: Mapping[str, PlanValue]) -> Iterator[Choices]:
    rows = row_span(replace(job, constraints={**job.constraints, **dealt}), mesh.data)
    values: dict[str, tuple[PlanValue, ...]] = {
        "microbatch": _microbatches(job, rows),
        "schedule": _SCHEDULES if mesh.pipeline > 1 else _SCHEDULES[:1],
        "sequence_parallel": (False, True) if mesh.tensor > 1 else (False,),
        "zero": _LEVELS if mesh.data > 1 else _LEVELS[:1],
    }
    kept = {key: (job.constraints[key],) if key in job.constraints else found for key, found in values.items()}
    for combination in product(*kept.values()):
        chosen = dict(zip(kept, combination, strict=True))
        yield from ({**chosen, **each} for each in _stages(job, mesh, rows[1], chosen))


def _stages(job: Job, mesh: MeshShape, rows: int, chosen: Choices) -> Iterator[Choices]:
    """How many stages a rank has. What makes the bubble of a pipeline smaller is left out where there is hardly any."""
    fixed, interleaves = job.constraints, chosen["schedule"] == "interleaved"
    rounds = -(-rows // cast("int", chosen["microbatch"]))
    pays = rounds <= _MOST_LEADS * mesh.pipeline
    if "schedule" not in fixed and chosen["schedule"] in _SMALL_BUBBLES and not pays:
        return
    if interleaves and "virtual_stages" not in fixed:
        several: list[Choices] = [{"virtual_stages": n} for n in _INTERLEAVED if n * mesh.pipeline <= job.model.layers]
        yield from several
    else:
        yield {}


def _microbatches(job: Job, rows: tuple[int, int]) -> tuple[int, ...]:
    """Sizes that leave no smaller last one, where ranks have equally many rows; others, too, where they can't, or are
    far apart. A grid has one."""
    (least, largest), grid = rows, grid_of(job)
    if grid is not None:
        return (max(1, -(-largest // grid.microbatches)),)
    sizes = {*microbatch_sizes(max(1, largest)), *(divisors(job.training.global_batch) if least < largest else ())}
    return tuple(sorted(size for size in sizes if size <= largest <= size * _MOST_MICROBATCHES))
