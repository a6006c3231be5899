"""The small jobs on which mutations are tried, and which lines of the runtime each of them executes.

They are chosen so that every branch of `parallel` and `collectives` that a plan can reach is reached: several buckets,
uneven shares, more tensor ranks than key/value heads, ties across stages, dropout, a clip that bites, biases.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from types import FrameType
from typing import Any, NamedTuple

from plait.plans.plan import Plan
from plait.specs.job import Job
from plait.specs.model import ModelSpec
from plait.specs.training import TrainingSpec

__all__ = ["JOBS", "Line", "Trial", "traced"]

Line = tuple[str, str, int]  # module, function by its qualified name, line


class Trial(NamedTuple):
    """A job under a plan."""

    job: Job
    plan: Plan


_GPT2 = ModelSpec(layers=2, hidden=12, heads=3, kv_heads=3, ffn=18, vocab=31, max_positions=9)
_LLAMA = replace(
    _GPT2, heads=6, kv_heads=2, hidden=24, positions="rope", norm="rms", activation="swiglu", bias=False,
    tie_embeddings=False,
)  # fmt: skip
_TRAINING = TrainingSpec(global_batch=4, sequence_length=9, warmup_steps=0)
_BITING = replace(_TRAINING, clip_norm=0.1)

_ONE = Plan(stages=(2,), microbatch=2)
_DP2 = replace(_ONE, data=2, data_shares=(1, 1), microbatch=1, bucket_bytes=2048)
_TP2 = replace(_ONE, tensor=2, tensor_shares=(1, 1))
_SP2 = replace(_TP2, sequence_parallel=True)
_PP2 = replace(_ONE, pipeline=2, stages=(1, 1), microbatch=1)


def _trial(plan: Plan, model: ModelSpec = _GPT2, training: TrainingSpec = _TRAINING) -> Trial:
    return Trial(Job(model=replace(model, layers=sum(plan.stages)), training=training), plan)


_DP2_SP2 = replace(_SP2, data=2, data_shares=(1, 1), microbatch=1)
_TP3 = replace(_TP2, tensor=3, tensor_shares=(1, 1, 1))
_TP4 = replace(_TP2, tensor=4, tensor_shares=(1, 1, 1, 1))
_PP3 = replace(_ONE, pipeline=3, stages=(2, 1, 1), schedule="gpipe", microbatch=1)
_DP2_PP2 = replace(_PP2, data=2, data_shares=(1, 1))
_SP2_PP2 = replace(_SP2, pipeline=2, stages=(1, 1), microbatch=1)

_DP3 = replace(_DP2, data=3, data_shares=(1, 1, 1))

JOBS: dict[str, Trial] = {
    "dp2 gpipe, several buckets": _trial(replace(_DP2, schedule="gpipe"), training=_BITING),
    "tp2, dropout": _trial(_TP2, replace(_GPT2, dropout=0.1), _BITING),
    "tp2 sp, uneven sequence": _trial(_SP2),
    "pp2 1f1b, tied": _trial(_PP2, training=_BITING),
    "dp2 tp2 sp, dropout": _trial(_DP2_SP2, replace(_GPT2, dropout=0.1)),
    "tp3, uneven heads and vocabulary": _trial(_TP3, replace(_LLAMA, heads=8, kv_heads=4, hidden=32)),
    "tp4 over 2 kv heads, bias": _trial(_TP4, replace(_LLAMA, heads=8, hidden=32, bias=True)),
    "pp3 gpipe, uneven": _trial(_PP3, _LLAMA),
    "dp2 pp2, masters apart": _trial(_DP2_PP2, training=replace(_BITING, precision="bf16")),
    "tp2 pp2 sp, tied": _trial(_SP2_PP2, training=_BITING),
    "dp3 zero 1, uneven rows": _trial(replace(_DP3, zero=1), training=replace(_BITING, global_batch=6)),
    "dp2 tp2 zero 2, several microbatches": _trial(replace(_DP2_SP2, zero=2, bucket_bytes=2048), _LLAMA),
    "dp2 pp2 zero 3, tied": _trial(replace(_DP2_PP2, zero=3), training=_BITING),
    "one rank": _trial(_ONE, training=replace(_TRAINING, clip_norm=0.0)),
}


def traced(function: Callable[..., Any], *args: object) -> tuple[Any, set[Line]]:
    """On a rank: the call's result, and the lines of the two rooms that it executed."""
    executed: set[Line] = set()

    def within(frame: FrameType, event: str, _: object) -> Callable[..., Any]:
        if event == "line":
            function_name = frame.f_code.co_qualname.partition(".<locals>")[0]
            executed.add((frame.f_globals["__name__"], function_name, frame.f_lineno))
        return within

    def entered(frame: FrameType, _: str, __: object) -> Callable[..., Any] | None:
        ours = frame.f_globals.get("__name__", "").startswith(("plait.parallel", "plait.collectives"))
        return within if ours else None

    sys.settrace(entered)
    try:
        return function(*args), executed
    finally:
        sys.settrace(None)
