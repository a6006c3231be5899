"""The space of plans: every value that a job leaves open, with every other.

    ranks = data × tensor × pipeline      microbatch divides the batch
    schedule, where there is a pipeline   sequence_parallel, where there is a tensor axis

What the job fixes is kept, to the letter; stages are balanced by cost unless they are fixed. Which of these are legal
is `plans.legality`'s to say, which is best `search`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from typing import Any

from plait.plans.arrangements import divisors
from plait.plans.plan import Plan
from plait.schedules.registry import BUILT
from plait.specs.job import Job
from plait.specs.training import PRECISIONS

__all__ = ["candidates"]

_SCHEDULES = ("1f1b", *(name for name in BUILT if name != "1f1b"))


def candidates(job: Job, balanced: Callable[[Plan], tuple[int, ...]]) -> Iterator[Plan]:
    """Every combination for the job's ranks, legal or not. `balanced` gives the stages of a plan that has none yet."""
    ranks, fixed = job.cluster.ranks, job.constraints
    for data, tensor in product(divisors(ranks), repeat=2):
        if ranks % (data * tensor):
            continue
        degrees = {"data": data, "tensor": tensor, "pipeline": ranks // (data * tensor)}
        if all(fixed.get(axis, degree) == degree for axis, degree in degrees.items()):
            yield from _with_degrees(job, degrees, balanced)


def _with_degrees(job: Job, degrees: dict[str, int], balanced: Callable[[Plan], tuple[int, ...]]) -> Iterator[Plan]:
    fixed = job.constraints
    tensor, pipeline = degrees["tensor"], degrees["pipeline"]
    base: dict[str, Any] = {
        "stages": (),
        "tensor_shares": (1,) * tensor,
        "data_shares": (1,) * degrees["data"],
        "gradient_precision": PRECISIONS[job.training.precision].reduce,
        **fixed,
        **degrees,
    }
    for microbatch, schedule, split in product(
        _open(job, "microbatch", divisors(job.training.global_batch)),
        _open(job, "schedule", _SCHEDULES if pipeline > 1 else _SCHEDULES[:1]),
        _open(job, "sequence_parallel", (False, True) if tensor > 1 else (False,)),
    ):
        chosen: dict[str, Any] = {**base, "microbatch": microbatch, "schedule": schedule, "sequence_parallel": split}
        plan = Plan(**chosen)
        if plan.stages or pipeline > job.model.layers:
            yield plan
        else:
            yield replace(plan, stages=balanced(plan))


def _open(job: Job, key: str, values: tuple[Any, ...]) -> tuple[Any, ...]:
    return (job.constraints[key],) if key in job.constraints else values
