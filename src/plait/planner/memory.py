"""How many bytes each rank holds at the worst moment of a training step.

    weights       every element held, in the compute dtype                                      exact
    gradients     a place in a flat buffer for each of them, in the dtype of the sums           exact
    optimizer     its state in the master dtype, and a master copy where compute is narrower    exact
    host          under offload, in place of that: state, master and gradient of each           exact
    residuals     what compressed sums and averages keep from step to step                      exact
    activations   what the stage's layers declare as saved, for every microbatch held at once; until W
                  where backward has two parts
    logits        of one microbatch on the last stage, on their way into the loss
    messages      the largest message that stands beside all of this; what is on its way along the data axis, under ZeRO
                  two buckets of gradients (2, 3), the weights of two layers (3; of a third what is received of it, for
                  a moment, where ranks don't share memory), and compressed all buckets' payloads

Under ZeRO weights, gradients and optimizer are those of the pieces that a rank keeps, from the level on that shares
them out (`plans.keeping`). Under a parameter server that is not to wait for all, a rank has what it serves beside the
weights and gradients that it computes with. What offload keeps is in host memory, wherever the rest is.

Not counted: what lives inside one operation, the allocator's gaps, and the process itself (interpreter and libraries).
It knows the layers, the plan and the dtypes, no device.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property, lru_cache
from typing import NamedTuple

from plait.layers.gpt import describe_gpt
from plait.layers.layer import Layer, Saved
from plait.planner.communication_volume import crossing_messages, stage_message_bytes
from plait.planner.serving_volume import standing_bytes
from plait.planner.stage import Stage, kinds_of, stage_of
from plait.planner.timetable import timetable_of
from plait.planner.weight_volume import staged_elements, whole_elements
from plait.plans.meetings import arrives_late
from plait.plans.plan import Plan
from plait.plans.rows import microbatches_of
from plait.sharding.boxes import local_size, shares
from plait.specs.model import ModelSpec
from plait.specs.training import ITEMSIZE, PRECISIONS, PrecisionPolicy, TrainingSpec

__all__ = [
    "Memory",
    "gradient_elements",
    "memory_of",
    "optimizer_bytes",
    "residual_bytes",
    "saved_bytes",
    "state_bytes",
    "weight_elements",
]

_COUNTER = 4  # bytes of AdamW's count of steps, one a weight
_WIDE = 4  # at least float32


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes of one rank by kind. `apart`: the host's memory is not the rank's own, so that what lies in `host` takes no
    room from the others."""

    weights: int
    gradients: int
    optimizer: int
    host: int = 0
    residuals: int
    activations: int
    logits: int
    messages: int
    apart: bool = False

    @property
    def kinds(self) -> dict[str, int]:
        """Those that are in the rank's own memory."""
        kinds = [one.name for one in fields(self) if one.name != "apart" and not (self.apart and one.name == "host")]
        return {kind: getattr(self, kind) for kind in kinds}

    @cached_property
    def total(self) -> int:
        """All of these."""
        return sum(self.kinds.values())

    @property
    def dominant(self) -> str:
        """The kind with the most bytes."""
        kinds = self.kinds
        return max(kinds, key=lambda kind: kinds[kind])


def memory_of(
    model: ModelSpec, training: TrainingSpec, plan: Plan, rank: int, *, in_background: bool = False
) -> Memory:
    """The bytes of `rank` by kind; `in_background`: whether what data ranks send goes on while they compute."""
    policy = PRECISIONS[training.precision]
    place, tensor_rank = plan.mesh.coordinate(rank, "pipeline"), plan.mesh.coordinate(rank, "tensor")
    stage = stage_of(model, training, plan, rank)
    sizes = microbatches_of(plan, training.global_batch, plan.mesh.coordinate(rank, "data"))
    moments = timetable_of(plan, len(sizes)).held[place] if sizes else ()
    largest = replace(plan, microbatch=max(sizes, default=0))
    optimizer = optimizer_bytes(stage, training, plan)
    return Memory(
        weights=weight_elements(stage, plan) * ITEMSIZE[policy.compute],
        gradients=gradient_elements(stage, plan) * ITEMSIZE[policy.reduce],
        optimizer=0 if plan.offloads else optimizer,
        host=optimizer if plan.offloads else 0,
        residuals=residual_bytes(stage, training, plan),
        activations=max(
            (_activations(stage, model, training, plan, tensor_rank, sizes, held) for held in moments), default=0
        ),
        logits=_logits(stage, training, largest, tensor_rank),
        messages=_on_its_way(stage, training, plan, place, in_background)
        + _averages_on_their_way(stage, training, plan, in_background)
        + standing_bytes(stage, training, plan, plan.mesh.coordinate(rank, "data"))
        + _largest_message(stage, model, training, largest, tensor_rank),
    )


def weight_elements(stage: Stage, plan: Plan) -> int:
    """Elements of the weights that a rank of this stage has between steps."""
    served = stage.kept_elements if plan.asynchronous else 0
    return stage.kept_elements if plan.sharding_level == 3 else stage.elements + served


def gradient_elements(stage: Stage, plan: Plan) -> int:
    """Elements of the gradients that it has from microbatch to microbatch."""
    served = stage.kept_elements if plan.asynchronous else 0
    return stage.kept_elements if plan.sharding_level > 1 else stage.elements + served


def optimizer_bytes(stage: Stage, training: TrainingSpec, plan: Plan) -> int:
    """State and master copies of what a rank keeps, from the first step on; under offload every weight has a master in
    host memory, and a gradient."""
    policy = PRECISIONS[training.precision]
    apart = plan.offloads or policy.master != policy.compute
    each = apart * ITEMSIZE[policy.master] + plan.offloads * ITEMSIZE[policy.reduce]
    return each * stage.kept_elements + state_bytes(stage, training)


def state_bytes(stage: Stage, training: TrainingSpec) -> int:
    """The optimizer's state alone, for what a rank keeps."""
    itemsize = ITEMSIZE[PRECISIONS[training.precision].master]
    if training.optimizer == "adamw":
        return 2 * stage.kept_elements * itemsize + _COUNTER * len(stage.kept)
    return stage.kept_elements * itemsize if training.betas[0] else 0  # SGD's momentum


def residual_bytes(stage: Stage, training: TrainingSpec, plan: Plan) -> int:
    """What compressed sums keep from step to step, and averages: the weights as they were, and the outer momentum."""
    copies = plan.averages * (
        (plan.compresses or plan.synchronisation == "diloco") + (plan.synchronisation == "diloco")
    )
    kept = sum(one.packing.kept_bytes for one in stage.sums if one.packing)
    return kept + copies * stage.elements * ITEMSIZE[PRECISIONS[training.precision].reduce]


def _activations(
    stage: Stage,
    model: ModelSpec,
    training: TrainingSpec,
    plan: Plan,
    tensor_rank: int,
    sizes: Sequence[int],
    held: Sequence[int],
) -> int:
    """Of the first microbatches, so many of each stage: the last may be smaller."""
    return sum(
        times * saved_bytes(part, model, training, replace(plan, microbatch=size), tensor_rank)
        for part, count in zip(stage.parts, held, strict=True)
        for size, times in Counter(sizes[:count]).items()
    )


def saved_bytes(layers: Sequence[Layer], model: ModelSpec, training: TrainingSpec, plan: Plan, tensor_rank: int) -> int:
    """What one stage keeps of one microbatch from forward to backward, and where that has two parts, to the second:
    what is shared, once; after the first stage, also what was received."""
    shared: dict[str, int] = {}
    total = 0
    for layer, count in kinds_of(layers):
        own, in_common = _saved_by(layer.kind, model, training, _Cut.of(plan), plan.microbatch, tensor_rank)
        total += own * count
        shared.update(in_common)
    begins = layers[0].kind == "embedding"
    received = 0 if begins else stage_message_bytes(model, training, plan, tensor_rank)
    return total + sum(shared.values()) + received


class _Cut(NamedTuple):
    """How the tensor axis cuts a layer: all of a plan that what is saved depends on."""

    tensor_shares: tuple[float, ...]
    sequence_parallel: bool

    @classmethod
    def of(cls, plan: Plan) -> _Cut:
        return cls(plan.tensor_shares, plan.sequence_parallel)


@lru_cache(maxsize=4096)
def _saved_by(
    kind: str, model: ModelSpec, training: TrainingSpec, cut: _Cut, microbatch: int, tensor_rank: int
) -> tuple[int, dict[str, int]]:
    """What a layer of this kind saves for itself, and what with others, by name."""
    layer = next(layer for layer in describe_gpt(model) if layer.kind == kind)
    own = sum(_size(one, training, cut, microbatch, tensor_rank) for one in layer.saved if not one.shared)
    shared = {one.name: _size(one, training, cut, microbatch, tensor_rank) for one in layer.saved if one.shared}
    return own, shared


def _size(saved: Saved, training: TrainingSpec, cut: _Cut, microbatch: int, tensor_rank: int) -> int:
    features = 1
    if saved.dim is not None:
        split = saved.lives == "split"
        features = local_size(saved.dim, cut.tensor_shares, tensor_rank) if split else saved.dim.size
    tokens = training.sequence_length
    if saved.lives == "residual" and cut.sequence_parallel:
        start, stop = shares(tokens, (1,) * len(cut.tensor_shares))[tensor_rank]
        tokens = stop - start
    pairs = training.sequence_length if saved.squared else 1
    rows = (1 if saved.shared else microbatch) * tokens * pairs
    return rows * features * _itemsize(saved, PRECISIONS[training.precision])


def _itemsize(saved: Saved, policy: PrecisionPolicy) -> int:
    compute = ITEMSIZE[policy.compute]
    return {"compute": compute, "wide": max(compute, _WIDE), "int64": 8, "bool": 1}[saved.dtype]


def _logits(stage: Stage, training: TrainingSpec, plan: Plan, tensor_rank: int) -> int:
    head = stage.layers[-1]
    if head.kind != "head":
        return 0
    columns = local_size(head.products[-1].outer, plan.tensor_shares, tensor_rank)
    itemsize = ITEMSIZE[PRECISIONS[training.precision].compute]
    return plan.microbatch * training.sequence_length * columns * itemsize


def _on_its_way(stage: Stage, training: TrainingSpec, plan: Plan, place: int, in_background: bool) -> int:
    """Under ZeRO 2 and 3 the staged buckets; under 3 the most weights that are whole at a time (a wire that goes on by
    itself receives into memory of its own); what compressed sums send, since all of them are waited for at the end."""
    policy = PRECISIONS[training.precision]
    staged = staged_elements(stage, plan) * ITEMSIZE[policy.reduce]
    packed = (one.packing for one in stage.sums if one.packing and one.packing.compressed)
    payloads = sum(message.bytes for packing in packed for message in packing.messages)
    whole = whole_elements(stage, training, plan, place, received=in_background)
    return staged + payloads + whole * ITEMSIZE[policy.compute]


def _averages_on_their_way(stage: Stage, training: TrainingSpec, plan: Plan, in_background: bool) -> int:
    """Averages that arrive late: what travels, and the masters as they were when it left."""
    late = arrives_late(plan, in_background=in_background)
    return 2 * late * stage.elements * ITEMSIZE[PRECISIONS[training.precision].reduce]


def _largest_message(stage: Stage, model: ModelSpec, training: TrainingSpec, plan: Plan, tensor_rank: int) -> int:
    """Buckets of the data axis are the gradients themselves; every other sum is copied together, and crossings and
    transfers have buffers of their own."""
    itemsize = ITEMSIZE[PRECISIONS[training.precision].reduce]
    sizes = [one.elements * itemsize for one in stage.sums if one.axis != "data"]
    sizes += [message.bytes for layer, _ in stage.kinds for message in crossing_messages(layer, model, training, plan)]
    if plan.pipeline > 1:
        sizes.append(stage_message_bytes(model, training, plan, tensor_rank))
    return max(sizes, default=0)
