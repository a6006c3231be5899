"""The rules of each axis by itself: into what it can be split at most.

    tensor     each rank has at least one head, one ffn feature and one token of the vocabulary; shares may be uneven
    pipeline   each stage has at least one layer
    data       the replicas divide the global batch into whole microbatches

What the axes make together is the matter of `rank_rules`.
"""

from __future__ import annotations

from typing import cast

from plait.plans.arrangements import degree, divisors_near, scarcest
from plait.plans.rule import Breach, Remedy, Rule, degrees_near, multiples_near
from plait.specs.job import Job
from plait.specs.wording import counted

__all__ = ["AXIS_RULES"]


def _units_suffice(job: Job) -> bool:
    return (degree(job, "tensor") or 1) <= scarcest(job)[1]


def _too_few_units(job: Job) -> Breach:
    (name, units), tensor = scarcest(job), degree(job, "tensor") or 1
    fastest = [d for d in sorted(divisors_near(job.model.heads, 1)) if d <= units and job.model.ffn % d == 0][:5]
    return Breach(
        key="plan.tensor" if "tensor" in job.constraints else "plan.tensor_shares",
        message=f"tensor = {tensor} exceeds the {units} {name}",
        remedies=(("plan.tensor", degrees_near(tensor, units, job)),),
        legal=f"1 to {units} (uneven shares are fine), fastest {', '.join(map(str, fastest))}",
    )


def _sequence_suffices(job: Job) -> bool:
    tensor = degree(job, "tensor") or 1
    return not job.constraints.get("sequence_parallel") or tensor <= job.training.sequence_length


def _sequence_too_short(job: Job) -> Breach:
    tensor, tokens = degree(job, "tensor") or 1, job.training.sequence_length
    return Breach(
        key="plan.sequence_parallel",
        message=(
            f"sequence_parallel splits a sequence of {counted(tokens, 'token')} over tensor = {tensor} ranks: "
            f"from tensor rank {tokens} on, there is none left"
        ),
        remedies=(
            ("plan.sequence_parallel", (False,)),
            ("plan.tensor", degrees_near(tensor, tokens, job)),
            ("training.sequence_length", (tensor,)),
        ),
        legal="false",
    )


def _layers_suffice(job: Job) -> bool:
    return (degree(job, "pipeline") or 1) <= job.model.layers


def _too_few_layers(job: Job) -> Breach:
    pipeline, layers = degree(job, "pipeline") or 1, job.model.layers
    return Breach(
        key="plan.pipeline" if "pipeline" in job.constraints else "plan.stages",
        message=f"pipeline = {pipeline} exceeds the {counted(layers, 'layer')}: each stage needs at least one",
        remedies=(("plan.pipeline", degrees_near(pipeline, layers, job)),),
        legal=f"1 to {layers}" if layers > 1 else "1",
    )


def _dealt_out(job: Job) -> int:
    """The sequences that one round of microbatches takes from the global batch."""
    return (degree(job, "data") or 1) * cast("int", job.constraints.get("microbatch", 1))


def _batch_divides(job: Job) -> bool:
    return job.training.global_batch % _dealt_out(job) == 0


def _batch_remains(job: Job) -> Breach:
    batch, taken = job.training.global_batch, _dealt_out(job)
    factors = {"data": degree(job, "data"), "microbatch": cast("int | None", job.constraints.get("microbatch"))}
    fixed = {name: number for name, number in factors.items() if number is not None}
    product = f" = {taken}" if len(fixed) > 1 else ""
    near: list[Remedy] = [(f"plan.{name}", divisors_near(batch, fixed[name])) for name in reversed(fixed)]
    return Breach(
        key="training.global_batch",
        message=(
            f"global_batch = {batch} is not a multiple of {' × '.join(fixed)} = "
            f"{' × '.join(map(str, fixed.values()))}{product}"
        ),
        remedies=(*near, ("training.global_batch", multiples_near(batch, taken))),
        legal=f"a multiple of {taken}",
    )


AXIS_RULES = (
    Rule(
        reads=frozenset({"plan.tensor", "plan.tensor_shares", "model.heads", "model.ffn", "model.vocab"}),
        holds=_units_suffice,
        breach=_too_few_units,
    ),
    Rule(
        reads=frozenset({"plan.sequence_parallel", "plan.tensor", "plan.tensor_shares", "training.sequence_length"}),
        holds=_sequence_suffices,
        breach=_sequence_too_short,
    ),
    Rule(
        reads=frozenset({"plan.pipeline", "plan.stages", "model.layers"}),
        holds=_layers_suffice,
        breach=_too_few_layers,
    ),
    Rule(
        reads=frozenset({"plan.data", "plan.data_shares", "plan.microbatch", "training.global_batch"}),
        holds=_batch_divides,
        breach=_batch_remains,
    ),
)
