"""The rules that tie the axes together: the degrees must fill the cluster's ranks, and some arrangement must exist."""

from __future__ import annotations

from math import prod
from typing import cast

from plait.plans.arrangements import (
    applies_portions,
    divisors,
    expert_degree,
    filling,
    fixed_degrees,
    fixes_all,
    most,
    scarcest,
    servers_alone,
)
from plait.plans.rule import Breach, Rule, multiples_near, nearest_first
from plait.specs.job import Job
from plait.specs.values import MOST_RANKS
from plait.specs.wording import counted

__all__ = ["FILLABLE", "RANK_RULES"]


def _product_fits(job: Job) -> bool:
    fixed, ranks = fixed_degrees(job), job.cluster.ranks
    product = prod(fixed.values())
    return product == ranks if fixes_all(job) else ranks % product == 0


def _product_misfits(job: Job) -> Breach:
    fixed, ranks = fixed_degrees(job), job.cluster.ranks
    wanted, all_fixed = prod(fixed.values()), fixes_all(job)
    product = f"{' × '.join(fixed)} = {' × '.join(map(str, fixed.values()))}{f' = {wanted}' if len(fixed) > 1 else ''}"
    room = {axis: ranks // (wanted // number) for axis, number in fixed.items() if ranks % (wanted // number) == 0}
    degrees = {
        axis: (most,) if all_fixed else nearest_first(divisors(most), fixed[axis]) for axis, most in room.items()
    }
    return Breach(
        key="cluster.ranks",
        message=(
            f"{product}{' rank' if wanted == 1 else ' ranks'}, but the cluster has {ranks}"
            if all_fixed
            else f"data × tensor × pipeline can't be {counted(ranks, 'rank')}: {product} does not divide {ranks}"
        ),
        remedies=(
            *((f"plan.{axis}", values) for axis, values in degrees.items()),
            ("cluster.ranks", (wanted,) if all_fixed else _ranks_near(job, fixed)),
        ),
        legal=str(wanted) if all_fixed else f"a multiple of {wanted}",
    )


def _fillable(job: Job) -> bool:
    return fixes_all(job) or next(filling(job, job.cluster.ranks), None) is not None


def _unfillable(job: Job) -> Breach:
    fixed, ranks = fixed_degrees(job), job.cluster.ranks
    batch = {name: cast("int", n) for name, n in job.constraints.items() if name in _BESIDE and n}
    wanted = counted(ranks, "rank")
    having = ", ".join(f"{name} = {number}" for name, number in {**fixed, **batch}.items())
    name, units = scarcest(job)
    limits = {
        "data": f"data is at most {_mosts(job)['data']}, for a global batch of {job.training.global_batch}",
        "tensor": f"tensor is at most the {units} {name}",
        "pipeline": f"pipeline is at most the {job.model.layers} layers",
    }
    if applies_portions(job):
        limits |= {axis: f"{axis} is at most 1 with this staleness" for axis in limits if most(job, axis) == 1}
    if expert_degree(job) > 1:
        limits["expert"] = "expert divides the ranks of data, context and tensor"
    reasons = ", ".join(limit for axis, limit in limits.items() if axis not in fixed)
    shared = f", so that expert = {expert_degree(job)} divides what stages have" if expert_degree(job) > 1 else ""
    return Breach(
        key="cluster.ranks",
        message=f"data × tensor × pipeline can't be {wanted}{having and ' with '}{having}, as {reasons}",
        remedies=(
            *((f"plan.{axis}", nearest_first(divisors(ranks), number)) for axis, number in fixed.items()),
            *((f"plan.{name}", range(number - 1, -(name == "servers"), -1)) for name, number in batch.items()),
            ("cluster.ranks", _ranks_near(job, fixed)),
        ),
        legal=f"at most {prod({**_mosts(job), **fixed}.values())}{shared}",
    )


def _mosts(job: Job) -> dict[str, int]:
    batch, microbatch = job.training.global_batch, cast("int", job.constraints.get("microbatch", 1))
    replicas = (batch - 1) // (microbatch - 1) if microbatch > 1 else batch  # so that one has a whole microbatch
    return {
        "data": max(1, replicas) + servers_alone(job),
        "tensor": most(job, "tensor"),
        "pipeline": most(job, "pipeline"),
    }


def _ranks_near(job: Job, fixed: dict[str, int]) -> list[int]:
    """Numbers of ranks that the fixed degrees divide, nearest first; and the most that the job can fill, if it can fill
    any, and if that is less than it has."""
    ranks, found = job.cluster.ranks, prod({**_mosts(job), **fixed}.values())
    return list(dict.fromkeys([*multiples_near(ranks, prod(fixed.values())), *((found,) if found < ranks else ())]))


def _few_enough(job: Job) -> bool:
    return prod(fixed_degrees(job).values()) <= MOST_RANKS


def _too_many(job: Job) -> Breach:
    fixed = fixed_degrees(job)
    product = prod(fixed.values())
    return Breach(
        key=f"plan.{max(fixed, key=lambda axis: fixed[axis])}",
        message=(
            f"{' × '.join(fixed)} = {' × '.join(map(str, fixed.values()))} = {product} ranks "
            f"are more than {MOST_RANKS}, the most there may be"
        ),
        remedies=tuple(
            (f"plan.{axis}", [2**power for power in reversed(range((MOST_RANKS * number // product).bit_length()))])
            for axis, number in fixed.items()
        ),
        legal=f"degrees whose product is at most {MOST_RANKS}",
    )


_BESIDE = ("microbatch", "servers", "expert")  # no degrees of a mesh, and yet what a mesh has to fit
_LISTS = ("plan.stages", "plan.tensor_shares", "plan.data_shares")
_DEGREE_KEYS = frozenset({"plan.data", "plan.tensor", "plan.pipeline", *_LISTS})
_MODEL = ("model.layers", "model.heads", "model.ffn", "model.vocab")
_BATCH = ("training.global_batch", "training.sequence_length", "plan.microbatch", "plan.sequence_parallel")
_SERVED = ("plan.synchronisation", "plan.servers", "plan.staleness", "model.tie_embeddings")
_ALL = _DEGREE_KEYS | {"cluster.ranks", *_MODEL, *_BATCH, *_SERVED}

RANK_RULES = (
    Rule(reads=_DEGREE_KEYS, holds=_few_enough, breach=_too_many),
    Rule(reads=_DEGREE_KEYS | {"cluster.ranks"}, holds=_product_fits, breach=_product_misfits),
)
FILLABLE = Rule(reads=_ALL, holds=_fillable, breach=_unfillable)
