"""N ranks equal one rank: the same two steps in one process and under a plan, in float64, every tensor laid side by side.

The bound is not a tolerance on the model but on rounding: sums in another order differ by some units of float64's
epsilon times the largest number that went into them. A wrong scale, slice or sum is 10 orders of magnitude beyond it.
"""

from __future__ import annotations

from functools import lru_cache

import torch

from plait.layers.gpt import describe_gpt
from plait.plans.plan import Plan
from plait.specs.model import ModelSpec
from plait.specs.training import TrainingSpec
from plait.verification.candidate import RankTrace, assembled, candidate_trace
from plait.verification.reference import reference_trace
from plait.verification.trace import Trace

STEPS = 2
BOUND = 1e-10  # relative to the tensor's largest element

GPT2 = ModelSpec(
    layers=7, hidden=24, heads=6, kv_heads=6, ffn=50, vocab=67, max_positions=12,
    positions="learned", norm="layer", activation="gelu", bias=True, tie_embeddings=True,
)  # fmt: skip
LLAMA = ModelSpec(
    layers=7, hidden=24, heads=6, kv_heads=2, ffn=50, vocab=67, max_positions=12,
    positions="rope", norm="rms", activation="swiglu", bias=False, tie_embeddings=False,
)  # fmt: skip
TRAINING = TrainingSpec(
    global_batch=12, sequence_length=12, learning_rate=1e-2, warmup_steps=0, clip_norm=0.5, precision="fp64"
)


def plan(*, data: int = 1, tensor: int = 1, pipeline: int = 1, layers: int = 7, **more: object) -> Plan:
    """A plan with stages as even as they go (the first ones larger) and equal shares."""
    stages = tuple(layers // pipeline + (stage < layers % pipeline) for stage in range(pipeline))
    chosen: dict[str, object] = {"stages": stages, "microbatch": 2, "bucket_bytes": 8192, **more}
    shares = {"tensor_shares": (1,) * tensor, "data_shares": (1,) * data}
    return Plan(data=data, tensor=tensor, pipeline=pipeline, **{**shares, **chosen})  # type: ignore[arg-type]


@lru_cache(maxsize=64)
def reference(model: ModelSpec, training: TrainingSpec, microbatch: int) -> Trace:
    """The one-process run (in the ranks' pool of one, never in pytest's own process)."""
    raise RuntimeError("asked through `assert_parity`")


def run_reference(model: ModelSpec, training: TrainingSpec, microbatch: int) -> Trace:
    """On the one rank of a pool."""
    return reference_trace(model, training, dtype=torch.float64, microbatch=microbatch, steps=STEPS)


def run_candidate(model: ModelSpec, training: TrainingSpec, chosen: Plan) -> RankTrace:
    """On every rank of a pool."""
    return candidate_trace(model, training, chosen, dtype=torch.float64, steps=STEPS)
