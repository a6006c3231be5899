"""In what a plan differs from another, in words: what a reason names, and what a table tells of plans that are as fast.

    data 4 × tensor 2, ZeRO 1     beside data 8, ZeRO 1      data 4, tensor 2, no sequence parallel

A key that a plan has no use for has no words: a schedule without a pipeline, ZeRO without replicas. It knows plans
alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from plait.plans.plan import Plan
from plait.specs.grids import is_grid
from plait.units import Bytes

__all__ = ["WORDS", "differing", "plan_difference"]

_Words = Callable[[Plan], str]
_SHARES = ("data_shares", "tensor_shares")
_LISTS = ("stages", *_SHARES)


def _degree(axis: str) -> _Words:
    return lambda plan: f"{axis} {getattr(plan, axis)}"


def _of_replicas(words: _Words) -> _Words:
    return lambda plan: words(plan) if plan.data * plan.context > 1 else ""


def _of_stages(words: _Words) -> _Words:
    return lambda plan: words(plan) if plan.pipeline > 1 else ""


def _of_tensor_ranks(words: _Words) -> _Words:
    return lambda plan: words(plan) if plan.tensor > 1 else ""


def _shares(axis: str, shares: Sequence[float]) -> str:
    equal = len(set(shares)) == 1
    return f"equal {axis} shares" if equal else f"{axis} shares {' : '.join(f'{one:g}' for one in shares)}"


WORDS: Mapping[str, _Words] = {
    **{axis: _degree(axis) for axis in ("data", "tensor", "pipeline", "context", "expert")},
    "schedule": _of_stages(lambda plan: "its grid" if is_grid(plan.schedule) else plan.schedule),
    "virtual_stages": lambda plan: f"{plan.virtual_stages} stages a rank" if plan.schedule == "interleaved" else "",
    "microbatch": lambda plan: f"microbatch {plan.microbatch}",
    "sequence_parallel": _of_tensor_ranks(lambda plan: f"{'no ' * (not plan.sequence_parallel)}sequence parallel"),
    "zero": _of_replicas(lambda plan: f"ZeRO {plan.zero}"),
    "synchronisation": _of_replicas(lambda plan: plan.synchronisation),
    "local_steps": _of_replicas(lambda plan: f"every {plan.local_steps} steps"),
    "staleness": _of_replicas(lambda plan: f"staleness {plan.staleness}"),
    "servers": _of_replicas(lambda plan: f"servers {plan.servers}"),
    "compression": _of_replicas(lambda plan: f"compression {plan.compression}"),
    "offload": lambda plan: f"offload {plan.offload}",
    "recompute": lambda plan: f"recompute {plan.recompute}",
    "stages": _of_stages(lambda plan: f"stages {'+'.join(map(str, plan.stages))}"),
    "data_shares": _of_replicas(lambda plan: _shares("data", plan.data_shares)),
    "tensor_shares": _of_tensor_ranks(lambda plan: _shares("tensor", plan.tensor_shares)),
    "bucket_bytes": _of_replicas(lambda plan: f"buckets of {Bytes(plan.bucket_bytes)}"),
}


def differing(plan: Plan, other: Plan, keys: Sequence[str] = ()) -> list[str]:
    """What a plan has of these keys and the other has not, in words; of all keys where these are alike."""
    unlike = _unlike(plan, other)
    return [WORDS[key](plan) for key in ([key for key in keys if key in unlike] or unlike)]


def plan_difference(plan: Plan, other: Plan) -> str:
    """All of it in a line; stages and shares where nothing else says it."""
    unlike = _unlike(plan, other)
    told = [key for key in unlike if key not in _LISTS] or unlike
    return ", ".join(WORDS[key](plan) for key in told)


def _unlike(plan: Plan, other: Plan) -> list[str]:
    return [key for key in WORDS if _value(plan, key) != _value(other, key) and WORDS[key](plan)]


def _value(plan: Plan, key: str) -> object:
    """Equal shares are equal among any number of ranks."""
    value = getattr(plan, key)
    return () if key in _SHARES and len(set(value)) == 1 else value
