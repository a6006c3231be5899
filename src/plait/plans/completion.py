"""A complete plan from whatever a job fixes: every key that is left open gets a legal value, none of them chosen well.

Choosing well is the planner's work; it passes its choices through here too, so that there is one place where the keys
that nobody chose get their values.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

from plait.errors import IllegalJob
from plait.plans.arrangements import (
    arrangements,
    degree,
    even_stages,
    grid_of,
    row_span,
    stage_count,
    virtual_stages,
)
from plait.plans.legality import is_legal, problems
from plait.plans.plan import Plan
from plait.specs.job import Job
from plait.specs.training import PRECISIONS

__all__ = ["complete", "filled", "with_most_ranks"]


def complete(job: Job, **choices: Any) -> Plan:
    """The plan that keeps the job's constraints and `choices` (keys of `[plan]`; they go before the constraints).

    Open degrees fill the ranks with as much data parallelism as the batch allows; stages are even in layers, shares
    equal. Raises IllegalJob with every problem if there is no such plan.
    """
    fixed = replace(job, constraints={**job.constraints, **choices})
    if not is_legal(fixed):
        raise IllegalJob(problems(fixed))
    return filled(fixed)


def filled(job: Job) -> Plan:
    """The same for the constraints of a job that is known to be legal."""
    mesh = next(arrangements(job, job.cluster.ranks))
    stages = virtual_stages(job)
    keys: dict[str, Any] = {
        "schedule": "interleaved" if stages > 1 else "1f1b",
        "virtual_stages": stages,
        "microbatch": _microbatch(job, mesh.data),
        "stages": even_stages(job.model.layers, stage_count(job, mesh.pipeline)),
        "tensor_shares": (1,) * mesh.tensor,
        "data_shares": (1,) * mesh.data,
        "gradient_precision": PRECISIONS[job.training.precision].reduce,
    }
    keys.update(job.constraints)
    keys.update(vars(mesh))
    return Plan(**keys)


def _microbatch(job: Job, data: int) -> int:
    """One sequence; of a grid's microbatches, as many as each of them has."""
    grid = grid_of(job)
    return 1 if grid is None else -(-row_span(job, data)[1] // grid.microbatches)


def with_most_ranks(job: Job) -> Job:
    """The job on the most ranks that some legal plan fills: no more than it has, unless it fixes more; unchanged if
    there is no such plan."""
    fixed = prod(degree(job, axis) or 1 for axis in ("data", "tensor", "pipeline"))
    for ranks in range(max(1, job.cluster.ranks // fixed) * fixed, 0, -fixed):
        if next(arrangements(job, ranks), None) is not None:
            return replace(job, cluster=replace(job.cluster, ranks=ranks))
    return job
