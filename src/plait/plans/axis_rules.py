"""The rules of each axis by itself: into what it can be split at most.

    tensor     each rank has at least one head, one ffn feature and one token of the vocabulary; shares may be uneven
    pipeline   each stage has at least one layer
    data       each replica has at least one sequence of the global batch, and one of them a whole microbatch

What the axes make together is the matter of `rank_rules`.
"""

from __future__ import annotations

from typing import cast

from plait.plans.arrangements import (
    degree,
    divisors_near,
    row_span,
    scarcest,
    servers_alone,
    stage_count,
    virtual_stages,
)
from plait.plans.rule import Breach, Remedy, Rule, degrees_near, nearest_first
from plait.specs.job import Job
from plait.specs.wording import counted

__all__ = ["AXIS_RULES"]

_NEAR = 16  # microbatches below the largest that are proposed


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
    return stage_count(job, degree(job, "pipeline") or 1) <= job.model.layers


def _too_few_layers(job: Job) -> Breach:
    pipeline, layers, each = degree(job, "pipeline") or 1, job.model.layers, virtual_stages(job)
    count, most = stage_count(job, pipeline), max(1, job.model.layers // each)
    one_each = f"pipeline = {pipeline}"
    remedies: list[Remedy] = [("plan.pipeline", degrees_near(pipeline, most, job))]
    if count != pipeline:
        one_each = f"pipeline = {pipeline} with {counted(each, 'stage')} a rank ({counted(count, 'stage')})"
        remedies.insert(0, ("plan.virtual_stages", list(range(layers // pipeline, 1, -1))))
        remedies.append(("plan.schedule", ["1f1b"]))
    return Breach(
        key="plan.pipeline" if "pipeline" in job.constraints else "plan.stages",
        message=f"{one_each} exceeds the {counted(layers, 'layer')}: each stage needs at least one",
        remedies=tuple(remedies),
        legal=f"1 to {most}" if most > 1 else "1",
    )


def _rows_suffice(job: Job) -> bool:
    return (degree(job, "data") or 1) - servers_alone(job) <= job.training.global_batch


def _too_few_rows(job: Job) -> Breach:
    batch, data = job.training.global_batch, degree(job, "data") or 1
    sequences = counted(batch, "sequence")
    return Breach(
        key="plan.data" if "data" in job.constraints else "plan.data_shares",
        message=f"data = {data} exceeds the {sequences} of a global batch: each replica needs at least one",
        remedies=(
            ("plan.data", degrees_near(data, batch, job)),
            ("training.global_batch", (data - servers_alone(job),)),
        ),
        legal=f"1 to {batch}" if batch > 1 else "1",
    )


def _fixed_microbatch(job: Job) -> int:
    return cast("int", job.constraints.get("microbatch", 1))


def _microbatch_fits(job: Job) -> bool:
    return _fixed_microbatch(job) <= row_span(job, degree(job, "data") or 1)[1]


def _microbatch_too_large(job: Job) -> Breach:
    """Smaller last ones are fine; but where no rank has a whole one, the number means nothing."""
    data, microbatch = degree(job, "data"), _fixed_microbatch(job)
    rows = row_span(job, data or 1)[1]
    with_data = f" with data = {data}" if data else ""
    batch = job.training.global_batch
    least = (data or 1) * (microbatch - 1) + 1  # of a batch whose largest equal share is a microbatch
    sizes: list[Remedy] = [("plan.microbatch", nearest_first(range(max(1, rows - _NEAR), rows + 1), microbatch))]
    if data and microbatch <= batch:
        sizes.append(("plan.data", degrees_near(data, (batch - 1) // (microbatch - 1), job)))
    return Breach(
        key="plan.microbatch",
        message=(
            f"microbatch = {microbatch} exceeds the {counted(rows, 'sequence')} that a replica has at most"
            f" of global_batch = {batch}{with_data}"
        ),
        remedies=(*sizes, ("training.global_batch", (max(least, batch),))),
        legal=f"1 to {rows}" if rows > 1 else "1",
    )


_SERVED = frozenset({"plan.synchronisation", "plan.servers"})  # which data ranks have rows

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
        reads=frozenset({"plan.pipeline", "plan.stages", "plan.schedule", "plan.virtual_stages", "model.layers"}),
        holds=_layers_suffice,
        breach=_too_few_layers,
    ),
    Rule(
        reads=_SERVED | {"plan.data", "plan.data_shares", "training.global_batch"},
        holds=_rows_suffice,
        breach=_too_few_rows,
    ),
    Rule(
        reads=_SERVED | {"plan.data", "plan.data_shares", "plan.microbatch", "training.global_batch"},
        holds=_microbatch_fits,
        breach=_microbatch_too_large,
    ),
)
