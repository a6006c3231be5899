"""What ranks that differ in speed should be given: heads, layers and rows of a batch, more to the faster.

    tensor     speeds 1, 0.5       4 and 2 of 6 heads          as many heads as come out first, in heads a second
    pipeline   speeds 1, 0.5       5 and 2 of 7 layers         the slowest stage as fast as it can be (`balance`)
    data       speeds 1, 0.5       11 and 5 of 16 rows         likewise, in rows a second

Each axis along which ranks differ by more than noise is dealt out by speed and, to see whether that pays, equally. It
knows a job's batch, heads and layers and asks prices what stages take; which deal is best is the search's to find.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from plait.planner.prices import JobPrices
from plait.planner.speeds import levelled
from plait.plans.arrangements import even_stages, pipeline_fits, servers_alone, tensor_fits
from plait.plans.plan import Plan
from plait.plans.rows import balanced_shares
from plait.sharding.mesh_shape import MeshShape
from plait.specs.job import Job

__all__ = ["deals"]

_Keys = dict[str, Any]  # of [plan]


def deals(job: Job, mesh: MeshShape, prices: JobPrices) -> Iterator[_Keys]:
    """The ways to deal out a mesh's work that a search should try, as keys of `[plan]`; {} leaves all equal. What the
    job fixes is kept."""
    fits = tensor_fits(job, mesh.tensor) and pipeline_fits(job, mesh.pipeline)
    if not fits or prices.machine.speeds.alike(mesh) is not None:
        yield {}
        return
    for heads in _heads(job, mesh, prices):
        plan = _plan(job, mesh, heads)
        if "stages" not in job.constraints:
            plan = replace(plan, stages=prices.balanced(plan))
        for stages in _layers(job, mesh, plan, prices):
            for rows in _rows(job, mesh, replace(plan, **stages), prices):
                yield {**heads, **stages, **rows}


def _heads(job: Job, mesh: MeshShape, prices: JobPrices) -> Iterator[_Keys]:
    speeds = prices.machine.speeds.along(mesh, "tensor")
    if len(set(speeds)) > 1 and "tensor_shares" not in job.constraints:
        shares = balanced_shares(speeds, job.model.heads)
        if len(set(shares)) > 1:
            yield {"tensor_shares": shares}
    yield {}


def _layers(job: Job, mesh: MeshShape, plan: Plan, prices: JobPrices) -> Iterator[_Keys]:
    if mesh.pipeline > 1 and "stages" not in job.constraints:
        slower = tuple(max(stage) for stage in zip(*prices.slower(plan), strict=True))
        if len(set(slower)) > 1:
            found = prices.balanced(plan, slower)
            if found != prices.balanced(plan):
                yield {"stages": found}
    yield {}


def _rows(job: Job, mesh: MeshShape, plan: Plan, prices: JobPrices) -> Iterator[_Keys]:
    workers, batch = mesh.data - servers_alone(job), job.training.global_batch
    paces = prices.paces(plan)[: max(0, workers)]
    speeds = list(levelled([pace / max(paces) for pace in paces]))
    if "data_shares" not in job.constraints and len(set(speeds)) > 1 and batch >= workers:
        by_speed = balanced_shares(speeds, batch)
        if len(set(by_speed)) > 1:
            yield {"data_shares": (*by_speed, *(1,) * (mesh.data - workers))}
    yield {}


def _plan(job: Job, mesh: MeshShape, heads: _Keys) -> Plan:
    """One to ask prices about, with about two microbatches a stage."""
    rows = max(1, job.training.global_batch // (2 * mesh.data * mesh.pipeline))
    keys: dict[str, Any] = {
        **vars(mesh),
        "data_shares": (1,) * mesh.data,
        "tensor_shares": (1,) * mesh.tensor,
        "microbatch": rows,
        "stages": even_stages(job.model.layers, mesh.pipeline),
    }
    keys.update(heads)
    keys.update({key: job.constraints[key] for key in keys if key in job.constraints})
    return Plan(**keys)
