"""Which ranks of a plan hold and do the same, so that one is asked for all of them.

    along data     as many rows, and under ZeRO as long a piece of every weight       0 0 0 3 3 3 3 3
    along tensor   as many units of everything that is split, and copies as large     0 0 2 2
    stages         (their weights alone) as many blocks in each, neither first nor last   0 1 1 3

Under ZeRO, rows are shared out evenly: the first few ranks have one more of a weight, so that ranks differ only where
some weight's remainder ends. It knows plans and what is held, no byte and no second.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

from plait.layers.gpt import describe_gpt
from plait.layers.layer import Dim
from plait.plans.holdings import Held, positions_held
from plait.plans.keeping import kept_piece
from plait.plans.plan import Plan
from plait.plans.rows import row_counts
from plait.sharding.boxes import copies, local_size
from plait.specs.model import ModelSpec
from plait.specs.training import TrainingSpec

__all__ = ["keepers_like", "places_like", "tensor_ranks_alike", "workers_alike"]


def places_like(plan: Plan) -> tuple[int, ...]:
    """For each place along the pipeline axis the first one with as many blocks in each of its stages, if these stand
    between the first and the last one."""
    return _places(plan.stages, plan.stage_rank)


@lru_cache(maxsize=1024)
def _places(stages: tuple[int, ...], stage_rank: tuple[int, ...]) -> tuple[int, ...]:
    blocks: dict[int, list[int]] = {}
    for place, count in zip(stage_rank, stages, strict=True):
        blocks.setdefault(place, []).append(count)
    ends = (stage_rank[0], stage_rank[-1])
    first: dict[tuple[int, ...], int] = {}
    return tuple(
        place if place in ends else first.setdefault(tuple(blocks[place]), place) for place in range(len(blocks))
    )


def keepers_like(held: Sequence[Held], plan: Plan) -> tuple[int, ...]:
    """For each data rank the first one that keeps pieces as long of these weights; under a parameter server each speaks
    for itself."""
    if not plan.sharding_level:
        return (0,) * plan.data
    if plan.served:
        return tuple(range(plan.data))
    changes, found = _changes(held, plan), 0
    return tuple(found := rank if rank in changes else found for rank in range(plan.data))


def _changes(held: Sequence[Held], plan: Plan) -> set[int]:
    """Data ranks that may keep less of some weight than the one before them."""
    found = {0}
    for one in held:
        longest = kept_piece(one, plan, 0)
        size = one.shape[longest.dim]
        found.add(1 if longest.stop == size else size % plan.data)
    return found


def workers_alike(plan: Plan, global_batch: int) -> tuple[int, ...]:
    """For each data rank the first one with as many rows."""
    return _first_alike(row_counts(plan, global_batch))


@lru_cache(maxsize=1024)
def _first_alike(counts: tuple[int, ...]) -> tuple[int, ...]:
    first: dict[int, int] = {}
    return tuple(first.setdefault(count, rank) for rank, count in enumerate(counts))


def tensor_ranks_alike(model: ModelSpec, training: TrainingSpec, plan: Plan) -> tuple[int, ...]:
    """For each tensor rank the first one with as large a part of everything."""
    return _tensor_ranks(model, training.sequence_length, plan.tensor_shares, plan.sequence_parallel)


@lru_cache(maxsize=1024)
def _tensor_ranks(model: ModelSpec, sequence: int, shares: tuple[float, ...], parallel: bool) -> tuple[int, ...]:
    layers = {layer.kind: layer for layer in describe_gpt(model)}.values()
    dims = dict.fromkeys(dim for layer in layers for weight in layer.weights for dim in weight.dims)
    dims.update(dict.fromkeys(saved.dim for layer in layers for saved in layer.saved if saved.dim is not None))
    plan = Plan(stages=(1,), tensor=len(shares), tensor_shares=shares, sequence_parallel=parallel)
    first: dict[tuple[int, ...], int] = {}
    return tuple(
        first.setdefault(tuple(_sizes(tuple(dims), plan, rank, sequence)), rank) for rank in range(plan.tensor)
    )


def _sizes(dims: Sequence[Dim], plan: Plan, rank: int, sequence: int) -> Iterator[int]:
    start, stop = positions_held(plan, rank, sequence)
    yield stop - start
    for dim in dims:
        yield local_size(dim, plan.tensor_shares, rank)
        yield from (one.stop - one.start for one in copies(dim, plan.tensor_shares) if rank in one.holders)
        yield -1
