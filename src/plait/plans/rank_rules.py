"""The rules that tie the axes together: the degrees must fill the cluster's ranks, and some arrangement must exist."""

from __future__ import annotations

from math import prod
from typing import cast

from plait.plans.arrangements import arrangements, degree, divisors, divisors_near, scarcest
from plait.plans.rule import Breach, Remedy, Rule, multiples_near, nearest_first
from plait.sharding.mesh_shape import AXES
from plait.specs.job import Job
from plait.specs.wording import counted

__all__ = ["FILLABLE", "PRODUCT"]

_DEGREES = ("data", "tensor", "pipeline")


def _fixed(job: Job) -> dict[str, int]:
    degrees = {axis: degree(job, axis) for axis in _DEGREES}
    return {axis: number for axis, number in degrees.items() if number is not None}


def _product_matches(job: Job) -> bool:
    fixed = _fixed(job)
    return len(fixed) < len(AXES) or prod(fixed.values()) == job.cluster.ranks


def _product_differs(job: Job) -> Breach:
    fixed, ranks = _fixed(job), job.cluster.ranks
    wanted = prod(fixed.values())
    others = {axis: wanted // number for axis, number in fixed.items()}
    remedies: list[Remedy] = [(f"plan.{axis}", (ranks // n,)) for axis, n in others.items() if ranks % n == 0]
    return Breach(
        key="cluster.ranks",
        message=(
            f"data × tensor × pipeline = {' × '.join(map(str, fixed.values()))} = {counted(wanted, 'rank')}, "
            f"but the cluster has {ranks}"
        ),
        remedies=(*remedies, ("cluster.ranks", (wanted,))),
        legal=str(wanted),
    )


def _fillable(job: Job) -> bool:
    return next(arrangements(job, job.cluster.ranks), None) is not None


def _unfillable(job: Job) -> Breach:
    fixed, ranks = _fixed(job), job.cluster.ranks
    batch = {name: cast("int", n) for name, n in job.constraints.items() if name == "microbatch"}
    wanted = counted(ranks, "rank")
    having = ", ".join(f"{name} = {number}" for name, number in {**fixed, **batch}.items())
    name, units = scarcest(job)
    limits = {
        "data": f"data × microbatch divides the global batch of {job.training.global_batch}",
        "tensor": f"tensor is at most the {units} {name}",
        "pipeline": f"pipeline is at most the {job.model.layers} layers",
    }
    reasons = ", ".join(limit for axis, limit in limits.items() if axis not in fixed)
    return Breach(
        key="cluster.ranks",
        message=f"data × tensor × pipeline can't be {wanted}{having and ' with '}{having}, as {reasons}",
        remedies=(
            *((f"plan.{axis}", nearest_first(divisors(ranks), number)) for axis, number in fixed.items()),
            *(("plan.microbatch", divisors_near(job.training.global_batch, number)) for number in batch.values()),
            ("cluster.ranks", list(dict.fromkeys([*multiples_near(ranks, prod(fixed.values())), *_most(job, fixed)]))),
        ),
    )


def _most(job: Job, fixed: dict[str, int]) -> tuple[int, ...]:
    """The most ranks that the job can fill, if it can fill any, and if that is less than it has."""
    replicas = job.training.global_batch // cast("int", job.constraints.get("microbatch", 1))
    most = {"data": replicas, "tensor": scarcest(job)[1], "pipeline": job.model.layers}
    found = prod({**most, **fixed}.values())
    return (found,) if found < job.cluster.ranks else ()


_LISTS = ("plan.stages", "plan.tensor_shares", "plan.data_shares")
_DEGREE_KEYS = frozenset({"plan.data", "plan.tensor", "plan.pipeline", *_LISTS})
_MODEL = ("model.layers", "model.heads", "model.ffn", "model.vocab")
_BATCH = ("training.global_batch", "training.sequence_length", "plan.microbatch", "plan.sequence_parallel")

PRODUCT = Rule(reads=_DEGREE_KEYS | {"cluster.ranks"}, holds=_product_matches, breach=_product_differs)
FILLABLE = Rule(
    reads=PRODUCT.reads | {*_MODEL, *_BATCH},
    holds=_fillable,
    breach=_unfillable,
    last=True,
)
