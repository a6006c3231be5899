"""Why no plan fits the memory, and what would: the rank that dies first, what fills it, and changes that were tried.

    the smallest plan     rank 0: 18.3 GiB of 16.0, most of it optimizer
    tried, in this order  a key that the job fixes, set free │ offload │ 2, 4, … times as many ranks │ half a sequence
    said                  the first that fits, with what it would need; else the one that comes nearest

Nothing is guessed: each change is a job whose plans' memory is worked out, those with the smallest microbatches. It
knows what ranks hold, no second.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from plait.planner.candidates import candidates
from plait.planner.memory import Memory
from plait.planner.prices import JobPrices
from plait.planner.simulator import Played, fits, memories
from plait.plans.completion import complete
from plait.plans.legality import is_legal
from plait.plans.plan import Plan
from plait.specs.job import Job
from plait.specs.measurements import Measurements
from plait.units import Bytes

__all__ = ["why_nothing_fits"]

_FEWER = {
    "weights": "more ranks along tensor or pipeline, or a smaller model",
    "gradients": "more ranks along tensor or pipeline, or a smaller model",
    "optimizer": "more ranks along tensor or pipeline, a smaller model, or sgd",
    "host": "no offload, more ranks along tensor or pipeline, a smaller model, or sgd",
    "residuals": "no compression, or more ranks along tensor or pipeline",
    "activations": "shorter sequences, a smaller microbatch, or more ranks along tensor or pipeline",
    "logits": "a smaller vocabulary, shorter sequences, or more ranks along tensor",
    "messages": "shorter sequences, or a smaller microbatch",
}
_FREED = ("zero", "microbatch", "sequence_parallel", "schedule", "data", "tensor", "pipeline")
_TIMES = (2, 4, 8, 16, 32, 64)  # as many ranks
_DEGREES = ("data", "tensor", "pipeline", "stages", "tensor_shares", "data_shares")


class _Change(NamedTuple):
    """A job that differs a little; `key`: of a plan, whose value in the plan that fits is what is advised."""

    job: Job
    words: str
    key: str = ""


def why_nothing_fits(job: Job, plans: Sequence[Played], measurements: Measurements, prices: JobPrices) -> str:
    """The plan that comes nearest, its rank that dies first, what fills it, and the nearest change that would fit."""
    nearest = min(plans, key=lambda one: _need(one.memory, prices))
    plan, memory = nearest.plan, nearest.memory
    rank = max(range(len(memory)), key=lambda place: memory[place].total)
    kind = memory[rank].dominant
    whose = "all ranks share" if prices.machine.shares_memory else "a device has"
    room = f"{Bytes(prices.machine.memory_bytes or 0)} that {whose}"
    degrees = f"data {plan.data}, tensor {plan.tensor}, pipeline {plan.pipeline}, microbatch {plan.microbatch}"
    return (
        f"no legal plan fits: the smallest ({degrees}) needs {Bytes(_need(memory, prices))} of the {room}; "
        f"rank {rank} dies first with {Bytes(memory[rank].total)}, most of it {kind}: "
        f"{Bytes(getattr(memory[rank], kind))}; {_advice(job, kind, measurements)}"
    )


def _need(memory: Sequence[Memory], prices: JobPrices) -> int:
    sizes = [rank.total for rank in memory]
    return sum(sizes) if prices.machine.shares_memory else max(sizes)


def _advice(job: Job, kind: str, measurements: Measurements) -> str:
    """The first change that fits; of those that don't, the one that needs least."""
    nearest: tuple[int, str] | None = None
    for change in _changes(job, measurements):
        prices = JobPrices(change.job.model, change.job.training, measurements, change.job.cluster)
        found = min(((_need(memory, prices), plan, memory) for plan, memory in _smallest(change.job, prices)),
                    key=lambda one: one[0], default=None)  # fmt: skip
        if found is None:
            continue
        need, plan, memory = found
        words = f"{change.key} = {_shown(getattr(plan, change.key))}" if change.key else change.words
        if fits(memory, prices):
            return f"{words} would fit: {Bytes(need)} of {Bytes(prices.machine.memory_bytes or 0)}"
        nearest = min(nearest or (need, words), (need, words))
    tried = "" if nearest is None else f"; of what was tried {nearest[1]} comes nearest, with {Bytes(nearest[0])}"
    return f"fewer with {_FEWER[kind]}{tried}"


def _changes(job: Job, measurements: Measurements) -> Iterator[_Change]:
    """Small ones first: those that leave the job, its ranks and its sequences as they are."""
    for key in (key for key in _FREED if key in job.constraints):
        freed = {name: value for name, value in job.constraints.items() if name != key}
        yield _Change(replace(job, constraints=freed), f"no {key} of its own", key)
    if "offload" not in job.constraints:
        offloaded = {**job.constraints, "offload": "optimizer"}
        yield _Change(replace(job, constraints=offloaded), 'offload = "optimizer"')
    on_cpu = measurements.host is not None and measurements.host.device == "cpu"
    free = {key: value for key, value in job.constraints.items() if key not in _DEGREES}
    for times in _TIMES:
        each = job.cluster.devices_per_node
        nodes = job.cluster.nodes * times if on_cpu or each is not None else job.cluster.nodes
        cluster = replace(job.cluster, ranks=job.cluster.ranks * times, nodes=nodes)
        where = f" on {nodes} hosts like this one" if nodes > 1 else ""
        yield _Change(replace(job, cluster=cluster, constraints=free), f"{cluster.ranks} ranks{where}")
    length = job.training.sequence_length
    while (length := length // 2) >= 1:
        training = replace(job.training, sequence_length=length)
        yield _Change(replace(job, training=training), f"training.sequence_length = {length}")


def _smallest(job: Job, prices: JobPrices) -> Iterator[tuple[Plan, tuple[Memory, ...]]]:
    """What plans with the smallest microbatches hold."""
    least = job if "microbatch" in job.constraints else replace(job, constraints={**job.constraints, "microbatch": 1})
    for choices in candidates(least):
        asked = replace(least, constraints={**least.constraints, **choices})
        if is_legal(asked):
            plan = prices.settled(complete(least, **choices), asked.constraints)
            yield plan, memories(plan, prices)


def _shown(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value).lower()
