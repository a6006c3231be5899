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

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cache, cached_property

from plait.planner.activations import SavedBytes, most_held, saved_by_part
from plait.planner.communication_volume import crossing_messages, stage_message_bytes
from plait.planner.serving_volume import standing_bytes
from plait.planner.stage import Stage, stages_of
from plait.planner.timetable import timetable_of
from plait.planner.weight_volume import staged_elements, whole_elements
from plait.plans.meetings import arrives_late
from plait.plans.plan import Plan
from plait.plans.rows import microbatches_of
from plait.sharding.boxes import local_size
from plait.specs.model import ModelSpec
from plait.specs.training import ITEMSIZE, PRECISIONS, TrainingSpec

__all__ = [
    "Memory",
    "gradient_elements",
    "memory_at",
    "memory_of",
    "optimizer_bytes",
    "residual_bytes",
    "state_bytes",
    "weight_elements",
]

_COUNTER = 4  # bytes of AdamW's count of steps, one a weight


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
        own = self.weights + self.gradients + self.optimizer + self.residuals + self.activations
        return own + self.logits + self.messages + (0 if self.apart else self.host)

    @property
    def dominant(self) -> str:
        """The kind with the most bytes."""
        kinds = self.kinds
        return max(kinds, key=lambda kind: kinds[kind])


def memory_of(
    model: ModelSpec, training: TrainingSpec, plan: Plan, rank: int, *, in_background: bool = False
) -> Memory:
    """The bytes of `rank` by kind; `in_background`: whether what data ranks send goes on while they compute."""
    place, data, tensor = (plan.mesh.coordinate(rank, axis) for axis in ("pipeline", "data", "tensor"))
    return memory_at(model, training, plan, in_background=in_background)(place, data, tensor)


def memory_at(
    model: ModelSpec, training: TrainingSpec, plan: Plan, *, in_background: bool
) -> Callable[[int, int, int], Memory]:
    """What says the same of the ranks of a plan, at (place along the pipeline, data rank, tensor rank), and works out
    once what they have in common."""
    itemsize = ITEMSIZE[PRECISIONS[training.precision].compute]

    @cache
    def stages(data: int, tensor: int) -> tuple[Stage, ...]:
        return stages_of(model, training, plan, data=data, tensor=tensor)

    @cache
    def standing(stage: Stage, data: int) -> tuple[Memory, tuple[SavedBytes, ...]]:
        sizes = microbatches_of(plan, training.global_batch, data)
        largest = max(sizes, default=0)
        return _standing(stage, training, plan, data, largest, in_background), saved_by_part(
            stage, training, plan, sizes
        )

    def at(place: int, data: int, tensor: int) -> Memory:
        """Of what a rank fetches under ZeRO 3, the most weights that are whole at a time; a wire that goes on by itself
        receives into memory of its own."""
        stage = stages(data, tensor)[place]
        (rank, saved), rounds = standing(stage, data), len(microbatches_of(plan, training.global_batch, data))
        held = timetable_of(plan, rounds).held[place] if rounds else ()
        whole = itemsize * whole_elements(stage, training, plan, place, received=in_background)
        return replace(rank, activations=most_held(saved, held, rounds), messages=rank.messages + whole)

    return at


def _standing(
    stage: Stage, training: TrainingSpec, plan: Plan, data_rank: int, largest: int, in_background: bool
) -> Memory:
    """All that doesn't depend on where a stage stands along the pipeline; `largest`: sequences of a microbatch."""
    policy = PRECISIONS[training.precision]
    optimizer = optimizer_bytes(stage, training, plan)
    return Memory(
        weights=weight_elements(stage, plan) * ITEMSIZE[policy.compute],
        gradients=gradient_elements(stage, plan) * ITEMSIZE[policy.reduce],
        optimizer=0 if plan.offloads else optimizer,
        host=optimizer if plan.offloads else 0,
        residuals=residual_bytes(stage, training, plan),
        activations=0,
        logits=_logits(stage, training, plan, largest),
        messages=_on_its_way(stage, training, plan)
        + _averages_on_their_way(stage, training, plan, in_background)
        + standing_bytes(stage, training, plan, data_rank)
        + _largest_message(stage, training, plan, largest),
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


def _logits(stage: Stage, training: TrainingSpec, plan: Plan, microbatch: int) -> int:
    head = stage.layers[-1]
    if head.kind != "head":
        return 0
    columns = local_size(head.products[-1].outer, plan.tensor_shares, stage.tensor_rank)
    itemsize = ITEMSIZE[PRECISIONS[training.precision].compute]
    return microbatch * training.sequence_length * columns * itemsize


def _on_its_way(stage: Stage, training: TrainingSpec, plan: Plan) -> int:
    """Under ZeRO 2 and 3 the staged buckets; what compressed sums send, since all of them are waited for at the
    end."""
    staged = staged_elements(stage, plan) * ITEMSIZE[PRECISIONS[training.precision].reduce]
    packed = (one.packing for one in stage.sums if one.packing and one.packing.compressed)
    return staged + sum(message.bytes for packing in packed for message in packing.messages)


def _averages_on_their_way(stage: Stage, training: TrainingSpec, plan: Plan, in_background: bool) -> int:
    """Averages that arrive late: what travels, and the masters as they were when it left."""
    late = arrives_late(plan, in_background=in_background)
    return 2 * late * stage.elements * ITEMSIZE[PRECISIONS[training.precision].reduce]


def _largest_message(stage: Stage, training: TrainingSpec, plan: Plan, microbatch: int) -> int:
    """Buckets of the data axis are the gradients themselves; every other sum is copied together, and crossings and
    transfers have buffers of their own."""
    itemsize = ITEMSIZE[PRECISIONS[training.precision].reduce]
    sizes = [one.elements * itemsize for one in stage.later]
    crossing = (crossing_messages(layer, stage.model, training, plan, microbatch) for layer, _ in stage.kinds)
    sizes += [message.bytes for messages in crossing for message in messages]
    if plan.pipeline > 1:
        sizes.append(stage_message_bytes(stage.model, training, plan, microbatch, stage.tensor_rank))
    return max(sizes, default=0)
