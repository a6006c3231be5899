"""A complete plan from whatever a job fixes: every key that is left open gets a legal value, none of them chosen well.

Choosing well is the planner's work; it passes its choices through here too, so that there is one place where the keys
that nobody chose get their values.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from math import prod
from typing import Any

from plait.errors import IllegalJob
from plait.plans.arrangements import (
    arrangements,
    degree,
    even_stages,
    microbatch_size,
    stage_count,
    virtual_stages,
)
from plait.plans.legality import is_legal, problems
from plait.plans.plan import Plan
from plait.plans.planned import on_this_machine
from plait.specs.job import Job
from plait.specs.training import PRECISIONS

__all__ = ["complete", "filled", "left_open", "own_plan", "with_most_ranks"]

_OPEN: Mapping[str, Callable[[Plan], bool]] = {  # what a search chooses, and of which plans it says anything
    "data": lambda plan: plan.data > 1,
    "tensor": lambda plan: plan.tensor > 1,
    "pipeline": lambda plan: plan.pipeline > 1,
    "microbatch": lambda plan: True,
    "schedule": lambda plan: plan.pipeline > 1,
    "virtual_stages": lambda plan: plan.schedule == "interleaved",
    "stages": lambda plan: plan.pipeline > 1,
    "tensor_shares": lambda plan: plan.tensor > 1,
    "data_shares": lambda plan: plan.data > 1,
    "zero": lambda plan: _sums(plan) and not plan.compresses,
    "sequence_parallel": lambda plan: plan.tensor > 1,
    "bucket_bytes": lambda plan: _sums(plan),
    "recompute": lambda plan: True,
}
_ONE_VALUE_HERE = {"recompute"}  # of which this machine can't run but one


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
        "microbatch": microbatch_size(job, mesh.data),
        "stages": even_stages(job.model.layers, stage_count(job, mesh.pipeline)),
        "tensor_shares": (1,) * mesh.tensor,
        "data_shares": (1,) * mesh.data,
        "gradient_precision": PRECISIONS[job.training.precision].reduce,
    }
    keys.update(job.constraints)
    keys.update(vars(mesh))
    return Plan(**keys)


def own_plan(job: Job) -> Plan:
    """The plan that the job itself makes, on ranks of this machine: what it fixes, completed. Raises IllegalJob as
    above."""
    return complete(on_this_machine(job))


def left_open(given: Collection[str], plan: Plan, *, here: bool = True) -> dict[str, Any]:
    """Keys of a completed plan that were not `given`, with what was taken for them: those that a search would have
    chosen, as far as they make a difference to this plan. `here`: on this machine, not on those of the catalogue."""
    settled = {*given, *_ONE_VALUE_HERE} if here else {*given}
    return {key: getattr(plan, key) for key, matters in _OPEN.items() if key not in settled and matters(plan)}


def _sums(plan: Plan) -> bool:
    """Whether replicas sum gradients in every step."""
    return plan.data > 1 and not plan.averages and not plan.served


def with_most_ranks(job: Job) -> Job:
    """The job on the most ranks that some legal plan fills: no more than it has, unless it fixes more; unchanged if
    there is no such plan."""
    fixed = prod(degree(job, axis) or 1 for axis in ("data", "tensor", "pipeline"))
    for ranks in range(max(1, job.cluster.ranks // fixed) * fixed, 0, -fixed):
        if next(arrangements(job, ranks), None) is not None:
            return replace(job, cluster=replace(job.cluster, ranks=ranks))
    return job
