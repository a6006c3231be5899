"""The space of plans: every value of what a job leaves open, with every other.

    ranks = data × tensor × pipeline      microbatch divides the batch
    schedule, where there is a pipeline   sequence_parallel, where there is a tensor axis

What the job fixes is kept, to the letter. Which of these are legal is `plans.legality`'s to say, how the keys that
nobody chose are filled in `plans.completion`'s, and which is best `search`'s.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from plait.plans.arrangements import divisors
from plait.schedules.registry import BUILT
from plait.specs.job import Job, PlanValue

__all__ = ["Choices", "candidates"]

Choices = dict[str, PlanValue]  # keys of [plan]

_SCHEDULES = ("1f1b", *(name for name in BUILT if name != "1f1b"))


def candidates(job: Job) -> Iterator[Choices]:
    """Every combination for the job's ranks, legal or not."""
    ranks, fixed = job.cluster.ranks, job.constraints
    for data, tensor in product(divisors(ranks), repeat=2):
        if ranks % (data * tensor) == 0:
            degrees: Choices = {"data": data, "tensor": tensor, "pipeline": ranks // (data * tensor)}
            if all(fixed.get(axis, degree) == degree for axis, degree in degrees.items()):
                yield from ({**degrees, **open_keys} for open_keys in _open_keys(job, degrees))


def _open_keys(job: Job, degrees: Choices) -> Iterator[Choices]:
    several_stages, split = degrees["pipeline"] != 1, degrees["tensor"] != 1
    values: dict[str, tuple[PlanValue, ...]] = {
        "microbatch": divisors(job.training.global_batch),
        "schedule": _SCHEDULES if several_stages else _SCHEDULES[:1],
        "sequence_parallel": (False, True) if split else (False,),
    }
    kept = {key: (job.constraints[key],) if key in job.constraints else found for key, found in values.items()}
    yield from (dict(zip(kept, combination, strict=True)) for combination in product(*kept.values()))
