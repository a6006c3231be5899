"""Which ways of arranging ranks a job allows: the degrees of data, tensor and pipeline that fit model and batch.

    ranks = data × tensor × pipeline
            │      │        └ at most the layers, and as many as `stages` has
            │      └ at most the heads, the ffn features and the vocabulary; as many as `tensor_shares` has
            └ at most the sequences of the global batch, and the ranks that only serve; as many as `data_shares` has

Where a parameter server is not to wait for all (`applies_portions`), what several ranks hold alike would not stay
alike: no tensor axis, and no stages that share a weight.

Whatever the job fixes is kept. Each degree can be judged by itself: nothing but the product ties them together.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from functools import lru_cache
from math import prod
from typing import cast

from plait.errors import IllegalSchedule
from plait.schedules.grid import Grid, read_grid
from plait.schedules.registry import stages_a_rank
from plait.sharding.boxes import shares
from plait.sharding.mesh_shape import MeshShape
from plait.specs.grids import is_grid
from plait.specs.job import Job, fixed_degree
from plait.specs.model import ModelSpec

__all__ = [
    "applies_portions",
    "arrangements",
    "context_degree",
    "data_fits",
    "degree",
    "divisors",
    "divisors_near",
    "even_stages",
    "expert_degree",
    "experts_fit",
    "filling",
    "fixed_degrees",
    "fixed_list",
    "fixes_all",
    "grid_of",
    "grid_rows",
    "idle_rank",
    "microbatch_size",
    "microbatch_sizes",
    "most",
    "pipeline_fits",
    "rounds",
    "rounds_fit",
    "row_span",
    "scarcest",
    "servers_alone",
    "split_units",
    "stage_count",
    "tensor_fits",
    "virtual_stages",
]


def arrangements(job: Job, ranks: int) -> Iterator[MeshShape]:
    """Every legal arrangement of `ranks`, those with the most data parallelism first, then the least tensor."""
    return (mesh for mesh in _meshes(job, ranks) if rounds_fit(job, mesh.data))


def _meshes(job: Job, ranks: int) -> Iterator[MeshShape]:
    """The same, whatever microbatches a grid has."""
    ranks, left = divmod(ranks, context_degree(job))
    if left:
        return
    tensors = [tensor for tensor in _allowed(job, "tensor", ranks) if tensor_fits(job, tensor)]
    pipelines = {pipeline for pipeline in _allowed(job, "pipeline", ranks) if pipeline_fits(job, pipeline)}
    for data in reversed(_allowed(job, "data", ranks)):
        if data_fits(job, data):
            for tensor in tensors:
                pipeline, rest = divmod(ranks, data * tensor)
                if rest == 0 and pipeline in pipelines and experts_fit(job, data, tensor):
                    yield MeshShape(pipeline=pipeline, data=data, tensor=tensor)


def filling(job: Job, ranks: int) -> Iterator[int]:
    """The numbers of replicas with which the degrees that the job leaves open can fill `ranks`, the fewest first;
    whether these replicas have the microbatches of its grid is not asked (`rounds_fit`).

    Data must leave a microbatch for somebody, where that is fixed; tensor and pipeline only have a most, so that the
    largest tensor is as good as any; but for experts, whose ranks are looked for one arrangement after another.
    """
    if expert_degree(job) > 1:
        yield from sorted({mesh.data for mesh in _meshes(job, ranks)})
        return
    fixed, data_fixed = fixed_degrees(job), degree(job, "data")
    rest, left = divmod(ranks, prod(fixed.values()))
    if left:
        return
    tensors, stages = (1 if axis in fixed else most(job, axis) for axis in ("tensor", "pipeline"))
    for data in divisors(rest) if data_fixed is None else (1,):
        if data_fixed is None and not data_fits(job, data):
            continue
        if rest // data // _largest_divisor(rest // data, tensors) <= stages:
            yield data_fixed or data


def _largest_divisor(number: int, most: int) -> int:
    found = divisors(number)
    return found[bisect_right(found, most) - 1]


def _allowed(job: Job, axis: str, ranks: int) -> tuple[int, ...]:
    """The degrees along `axis` that the job leaves open and that divide `ranks`, ascending."""
    fixed = degree(job, axis)
    if fixed is None:
        return divisors(ranks)
    return (fixed,) if ranks % fixed == 0 else ()


def degree(job: Job, axis: str) -> int | None:
    """What the job fixes along an axis, by its number or by the length of its list; None where it leaves it open."""
    return fixed_degree(job.constraints, axis)


def servers_alone(job: Job) -> int:
    """How many data ranks the job lets serve alone: they have no rows of a batch."""
    return cast("int", job.constraints.get("servers", 0)) if _is_served(job) else 0


def applies_portions(job: Job) -> bool:
    """Whether the job asks for a parameter server that applies the portions of a step as they come."""
    return _is_served(job) and job.constraints.get("staleness", 0) != 0


def _is_served(job: Job) -> bool:
    return job.constraints.get("synchronisation") == "parameter-server"


def grid_of(job: Job) -> Grid | None:
    """The grid that the job gives as its schedule; None where there is none, or one with a mistake."""
    schedule = cast("str", job.constraints.get("schedule", ""))
    return _sound(schedule) if is_grid(schedule) else None


@lru_cache(maxsize=64)
def _sound(grid: str) -> Grid | None:
    try:
        return read_grid(grid)
    except IllegalSchedule:
        return None


def grid_rows(job: Job) -> int | None:
    """How many ranks the job's grid is drawn for; None without one."""
    grid = grid_of(job)
    return None if grid is None else grid.ranks


def rounds_fit(job: Job, data: int) -> bool:
    """Whether the replica with the most sequences, of so many, has as many microbatches as the job's grid, if it has
    one."""
    grid = grid_of(job)
    return grid is None or rounds(job, data) == grid.microbatches


def rounds(job: Job, data: int) -> int:
    """How many microbatches the replica with the most sequences has."""
    size = microbatch_size(job, data)
    return -(-row_span(job, data)[1] // size) if size > 0 else 0


def microbatch_size(job: Job, data: int) -> int:
    """The sequences of a microbatch, with so many replicas: what the job fixes, or one; of a grid's microbatches, as
    many as each of them has."""
    if "microbatch" in job.constraints:
        return cast("int", job.constraints["microbatch"])
    grid = grid_of(job)
    return 1 if grid is None else -(-row_span(job, data)[1] // grid.microbatches)


def virtual_stages(job: Job) -> int:
    """How many stages a rank has under the job's schedule at most; where an interleaved one leaves it open, as many as
    its list of stages says, or 2."""
    if "virtual_stages" in job.constraints:
        return cast("int", job.constraints["virtual_stages"])
    schedule = cast("str", job.constraints.get("schedule", ""))
    if is_grid(schedule):
        grid = grid_of(job)
        return 1 if grid is None else cast("int", stages_a_rank(schedule))
    if schedule != "interleaved":
        return 2 if schedule == "zb-v" else 1
    pipeline = cast("int", job.constraints.get("pipeline", 1))
    return max(2, len(fixed_list(job, "stages")) // pipeline) if "pipeline" in job.constraints else 2


def stage_count(job: Job, pipeline: int) -> int:
    """Into how many stages a pipeline of so many ranks cuts the model."""
    grid = grid_of(job)
    return len(grid.stage_rank) if grid is not None else pipeline * virtual_stages(job)


def fixed_list(job: Job, key: str) -> tuple[float, ...]:
    """The list that the job fixes under `key` of its plan; empty where it leaves it open."""
    return cast("tuple[float, ...]", job.constraints.get(key, ()))


def fixed_degrees(job: Job) -> dict[str, int]:
    """The axes along which the job fixes something; context among them where it splits sequences."""
    degrees = {axis: degree(job, axis) for axis in ("data", "tensor", "pipeline")}
    fixed = {axis: number for axis, number in degrees.items() if number is not None}
    return fixed if (context := context_degree(job)) == 1 else {**fixed, "context": context}


def context_degree(job: Job) -> int:
    """Over how many ranks sequences are split: no axis of a mesh yet, so that it is 1 unless the job fixes it."""
    return cast("int", job.constraints.get("context", 1))


def expert_degree(job: Job) -> int:
    """Over how many ranks experts are split, of those that have data, context and tensor; 1 unless the job fixes it."""
    return cast("int", job.constraints.get("expert", 1))


def experts_fit(job: Job, data: int, tensor: int) -> bool:
    """Whether the ranks that so many replicas and tensor ranks have are whole groups that share the experts out."""
    return data * tensor * context_degree(job) % expert_degree(job) == 0


def fixes_all(job: Job) -> bool:
    """Whether no degree of the mesh is left open."""
    return all(degree(job, axis) is not None for axis in ("data", "tensor", "pipeline"))


def most(job: Job, axis: str) -> int:
    """The largest degree of tensor or pipeline that leaves no rank empty, nor copies where there may be none."""
    if applies_portions(job) and (axis == "tensor" or job.model.tie_embeddings):
        return 1
    if axis == "pipeline":
        return grid_rows(job) or max(1, job.model.layers // virtual_stages(job))
    units = scarcest(job)[1]
    return min(units, job.training.sequence_length) if job.constraints.get("sequence_parallel") else units


def data_fits(job: Job, data: int) -> bool:
    """Whether each of so many replicas has a sequence of the global batch, and one of them a whole microbatch."""
    weights = fixed_list(job, "data_shares")
    least, largest = row_span(job, data)
    enough = least >= 1 and cast("int", job.constraints.get("microbatch", 1)) <= largest
    return enough and (not weights or len(weights) == data)


def row_span(job: Job, data: int) -> tuple[int, int]:
    """The fewest sequences of the global batch that one of so many replicas has, and the most; by the job's shares,
    where there is one for each. Those that only serve don't count; where nobody else is left, somebody has none."""
    batch, weights = job.training.global_batch, fixed_list(job, "data_shares")
    working = data - servers_alone(job)
    if working < 1:
        return 0, batch
    if len(weights) != data or len(set(weights[:working])) == 1:
        return batch // working, -(-batch // working)
    counts = [stop - start for start, stop in shares(batch, weights[:working])]
    return min(counts), max(counts)


def pipeline_fits(job: Job, pipeline: int) -> bool:
    """Whether each stage can have a layer, and the stages, where given, hold them all."""
    stages, count = fixed_list(job, "stages"), stage_count(job, pipeline)
    fits = pipeline <= most(job, "pipeline") and count <= job.model.layers and (grid_rows(job) or pipeline) == pipeline
    return fits and (not stages or (len(stages) == count and sum(stages) == job.model.layers))


def tensor_fits(job: Job, tensor: int) -> bool:
    """Whether each tensor rank has at least one unit of everything that is split."""
    if tensor > most(job, "tensor"):
        return False
    weights = fixed_list(job, "tensor_shares")
    return not weights or (len(weights) == tensor and idle_rank(job, weights) is None)


def split_units(model: ModelSpec) -> dict[str, int]:
    """What the tensor axis splits, in the words of a message, and into how many units at most."""
    return {"heads": model.heads, "ffn features": model.ffn, "tokens of the vocabulary": model.vocab}


def scarcest(job: Job) -> tuple[str, int]:
    """Of what is split, that of which there is the least."""
    return min(split_units(job.model).items(), key=lambda item: item[1])


def idle_rank(job: Job, weights: tuple[float, ...]) -> tuple[int, str] | None:
    """The first tensor rank that these shares leave without any unit, and of what; None if there is none."""
    if len(set(weights)) == 1 and len(weights) <= scarcest(job)[1]:
        return None
    for name, units in split_units(job.model).items():
        for rank, (start, stop) in enumerate(shares(units, weights)):
            if start == stop:
                return (rank, name)
    return None


def even_stages(layers: int, stages: int) -> tuple[int, ...]:
    """The layers of each stage, as even as they go: 7 on 2 are 4 and 3."""
    return tuple(stop - start for start, stop in shares(layers, (1,) * stages))


@lru_cache(maxsize=4096)
def divisors(number: int) -> tuple[int, ...]:
    """The divisors of a number from 1, ascending."""
    small = [d for d in range(1, int(number**0.5) + 1) if number % d == 0]
    return tuple(dict.fromkeys((*small, *(number // d for d in reversed(small)))))


@lru_cache(maxsize=4096)
def microbatch_sizes(rows: int) -> tuple[int, ...]:
    """The sizes of microbatches worth a try for so many sequences, ascending: those that divide them, and a power of
    two wherever none of these lies between it and twice as much, with a smaller last microbatch."""
    found = set(divisors(rows))
    powers = (1 << power for power in range(rows.bit_length()))
    return tuple(sorted(found.union(one for one in powers if not any(one <= size < 2 * one for size in found))))


def divisors_near(number: int, to: int) -> list[int]:
    """Divisors of a number by their distance from `to`; of a large one those up to 4096, and their partners."""
    small = range(1, min(number, 4096) + 1)
    found = {d for k in small if number % k == 0 for d in (k, number // k)}
    return sorted(found, key=lambda value: (abs(value - to), value))
