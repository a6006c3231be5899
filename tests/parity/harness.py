"""N ranks equal one rank: the same two steps in one process and under a plan, in float64, tensor beside tensor.

What each layer gives and its gradient, loss, every weight's gradient, norm before and after clipping, weights and
optimizer state; and all copies of every element, which have to be equal to the bit along each axis.

The bound is not a tolerance on the model but on rounding: sums in another order differ by some units of float64's
epsilon times the largest number that went into them. A wrong scale, slice or sum is many orders of magnitude beyond it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import cache
from typing import Any

from plait.plans.plan import Plan
from plait.specs.model import ModelSpec
from plait.specs.training import TrainingSpec
from plait.verification.compare import assembled, differing_copies, largest, largest_difference
from plait.verification.trace import Entry, EntryKind, RankTrace, Trace

BOUND = 1e-10  # relative to the tensor's largest element: 450,000 epsilons; a thousand are seen, where Adam divides

GPT2 = ModelSpec(
    layers=2, hidden=24, heads=6, kv_heads=6, ffn=50, vocab=67, max_positions=13,
    positions="learned", norm="layer", activation="gelu", bias=True, tie_embeddings=True,
)  # fmt: skip
LLAMA = ModelSpec(
    layers=2, hidden=24, heads=6, kv_heads=2, ffn=50, vocab=67, max_positions=13,
    positions="rope", norm="rms", activation="swiglu", bias=False, tie_embeddings=False,
)  # fmt: skip
TRAINING = TrainingSpec(
    global_batch=12, sequence_length=13, learning_rate=1e-2, warmup_steps=0, clip_norm=0.0, precision="fp64"
)
BITING = 0.05  # clip_norm: a tenth or less of every first norm here


def plan(*, data: int = 1, tensor: int = 1, pipeline: int = 1, layers: int = 2, **more: Any) -> Plan:
    """A plan with stages as even as they go (the first ones larger), equal shares and several buckets."""
    stages = tuple(layers // pipeline + (stage < layers % pipeline) for stage in range(pipeline))
    shares = {"tensor_shares": (1,) * tensor, "data_shares": (1,) * data}
    chosen = {"stages": stages, "microbatch": 2, "bucket_bytes": 8192, **shares, **more}
    return Plan(data=data, tensor=tensor, pipeline=pipeline, **chosen)


def run_reference(model: ModelSpec, training: TrainingSpec, microbatch: int) -> Trace:
    """On the one rank of a pool."""
    from plait.verification.reference import reference_trace
    from plait.verification.source import Experiment

    alone = Plan(stages=(model.layers,), microbatch=microbatch)
    return reference_trace(Experiment.of(model, training, alone), precision="fp64").trace


def run_candidate(model: ModelSpec, training: TrainingSpec, chosen: Plan) -> RankTrace:
    """On every rank of a pool."""
    from plait.verification.candidate import candidate_trace
    from plait.verification.source import Experiment

    return candidate_trace(Experiment.of(model, training, chosen), precision="fp64")


class Parity:
    """Runs plans and lays them beside the one process, whose runs are kept for the session."""

    def __init__(self, run_on_ranks: Callable[..., list[Any]]) -> None:
        self._run = run_on_ranks
        self._reference = cache(self._run_reference)

    def holds(
        self,
        model: ModelSpec,
        training: TrainingSpec,
        chosen: Plan,
        *,
        exact: Collection[EntryKind] = (),
    ) -> None:
        """Assert it; the first step's tensors of the kinds `exact` to the last bit."""
        reference = self._reference(model, training, chosen.microbatch)
        whole = self.performed(model, training, chosen)
        lost = reference.keys() ^ whole.keys()
        assert not lost, f"only one side has {sorted(lost)}"
        apart = {entry: distance(reference, whole, entry) for entry in reference}
        wrong = {entry: error for entry, error in apart.items() if error > BOUND}
        assert not wrong, f"beyond {BOUND}: {wrong}"
        strict = {
            entry: error
            for entry, error in apart.items()
            if entry.step == 1 and entry.kind in exact and not entry.evaluated
        }
        assert not any(strict.values()), f"not to the bit: {[entry for entry, error in strict.items() if error]}"

    def performed(self, model: ModelSpec, training: TrainingSpec, chosen: Plan) -> Trace:
        """The whole tensors of a plan's run, once its copies agree."""
        ranks = self._run(chosen.ranks, run_candidate, model, training, chosen)
        differing = differing_copies(ranks, chosen.mesh)
        assert not differing, f"copies differ along these axes: {differing}"
        return assembled(ranks)

    def _run_reference(self, model: ModelSpec, training: TrainingSpec, microbatch: int) -> Trace:
        return self._run(1, run_reference, model, training, microbatch)[0]


def distance(reference: Trace, other: Trace, entry: Entry) -> float:
    """The largest difference of any element, relative to the tensor's largest."""
    return largest_difference(reference[entry], other[entry]) / (largest(reference[entry]) or 1.0)
