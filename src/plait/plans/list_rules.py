"""The rules of the lists of a plan: as long as their axis, and of numbers that work out.

    tensor_shares   leave no tensor rank without a unit of anything
    data_shares     leave no replica without a sequence of the batch
    stages          have all layers of the model together

A list that the job leaves out breaks none of them.
"""

from __future__ import annotations

from math import ceil
from typing import cast

from plait.plans.arrangements import (
    degree,
    even_stages,
    fixed_list,
    idle_rank,
    row_span,
    scarcest,
    servers_alone,
    split_units,
    stage_count,
)
from plait.plans.rule import Breach, Rule
from plait.specs.job import Job
from plait.specs.wording import counted, shown

__all__ = ["LIST_RULES"]

_LONGEST = 64  # numbers of a list that is proposed
_MOST_SEQUENCES = 2**20  # of a global batch that is proposed


def _shares_leave_none_out(job: Job) -> bool:
    shares = fixed_list(job, "tensor_shares")
    return not shares or len(shares) > scarcest(job)[1] or idle_rank(job, shares) is None


def _shares_leave_out(job: Job) -> Breach:
    shares = fixed_list(job, "tensor_shares")
    rank, name = idle_rank(job, shares) or (0, "heads")
    units = split_units(job.model)[name]
    return Breach(
        key="plan.tensor_shares",
        message=f"tensor_shares = {shown(shares)} leave tensor rank {rank} without any of the {units} {name}",
        remedies=(("plan.tensor_shares", _equal(len(shares))),),
        legal="shares that give each rank at least one",
    )


def _stages_have_all(job: Job) -> bool:
    stages = fixed_list(job, "stages")
    return not stages or sum(stages) == job.model.layers


def _stages_miss(job: Job) -> Breach:
    stages, layers = cast("tuple[int, ...]", fixed_list(job, "stages")), job.model.layers
    return Breach(
        key="plan.stages",
        message=f"stages = {shown(stages)} have {counted(sum(stages), 'layer')} together, the model has {layers}",
        remedies=(("plan.stages", _even_stages(layers, len(stages))), ("model.layers", (sum(stages),))),
        legal=f"{len(stages)} whole numbers from 1 whose sum is {layers}",
    )


def _rows_for_all(job: Job) -> bool:
    shares = fixed_list(job, "data_shares")
    working = len(shares) - servers_alone(job)
    return len(set(shares)) <= 1 or not 0 < working <= job.training.global_batch or row_span(job, len(shares))[0] >= 1


def _rows_left_out(job: Job) -> Breach:
    shares, batch = fixed_list(job, "data_shares"), job.training.global_batch
    enough = ceil(min(sum(shares) / min(shares), _MOST_SEQUENCES))
    return Breach(
        key="plan.data_shares",
        message=f"data_shares = {shown(shares)} leave a replica without any of the {batch} sequences of a global batch",
        remedies=(("plan.data_shares", _equal(len(shares))), ("training.global_batch", (enough,))),
        legal="shares that give each replica at least one",
    )


def _as_long_as(axis: str, key: str) -> Rule:
    def holds(job: Job) -> bool:
        numbers = fixed_list(job, key)
        return not numbers or len(numbers) == _wanted(job, axis, key)

    def breach(job: Job) -> Breach:
        return _mismatch(job, axis, key)

    placing = {"plan.schedule", "plan.virtual_stages"} if key == "stages" else set[str]()
    return Rule(reads=frozenset({f"plan.{axis}", f"plan.{key}", *placing}), holds=holds, breach=breach)


def _wanted(job: Job, axis: str, key: str) -> int:
    """How many numbers a list is to have."""
    along = degree(job, axis) or 1
    return stage_count(job, along) if key == "stages" else along


def _mismatch(job: Job, axis: str, key: str) -> Breach:
    """A list that is not as long as its axis."""
    numbers, wanted, along = fixed_list(job, key), _wanted(job, axis, key), degree(job, axis) or 1
    proposed = _even_stages(job.model.layers, wanted) if key == "stages" else _equal(wanted)
    return Breach(
        key=f"plan.{key}",
        message=f"{key} = {shown(numbers)} has {_numbers(len(numbers))} for {axis} = {along}{_each(wanted, along)}",
        remedies=((f"plan.{key}", proposed), (f"plan.{axis}", (len(numbers),) if wanted == along else ())),
        legal=_numbers(wanted),
    )


def _each(wanted: int, along: int) -> str:
    return "" if wanted == along else f", which has {wanted} stages"


def _numbers(count: int) -> str:
    return "1 number" if count == 1 else f"{count} numbers"


def _equal(count: int) -> tuple[tuple[int, ...], ...]:
    return ((1,) * count,) if count <= _LONGEST else ()


def _even_stages(layers: int, stages: int) -> tuple[tuple[int, ...], ...]:
    return (even_stages(layers, stages),) if stages <= min(layers, _LONGEST) else ()


LIST_RULES = (
    _as_long_as("tensor", "tensor_shares"),
    _as_long_as("pipeline", "stages"),
    _as_long_as("data", "data_shares"),
    Rule(
        reads=frozenset({"plan.tensor_shares", "model.heads", "model.ffn", "model.vocab"}),
        holds=_shares_leave_none_out,
        breach=_shares_leave_out,
    ),
    Rule(reads=frozenset({"plan.stages", "model.layers"}), holds=_stages_have_all, breach=_stages_miss),
    Rule(
        reads=frozenset({"plan.data_shares", "training.global_batch", "plan.synchronisation", "plan.servers"}),
        holds=_rows_for_all,
        breach=_rows_left_out,
    ),
)
