"""How many bytes the fullest rank of each plan holds at the worst moment of a step, by kind.

    weights       every element held, in the dtype of products; under ZeRO 3 a share, and two layers whole
    gradients     in the dtype in which they are kept; a share from ZeRO 2 on
    optimizer     two moments in float32, and a master where weights are narrower; a share from ZeRO 1 on
    activations   what every block saves, times the microbatches under way
    logits        of the last stage: as they are, in float32, and their gradient

What a block saves follows from its shapes: in 16 bits with dropout and explicit attention it is
s·b·h (10 + 24/t + 5·a·s / (h·t)) (Korthikanti et al. 2022, eq. 2), which is one of its tests. The first stage holds the
most microbatches, the last the logits: both are looked at.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from plait.estimates.arrangements import SCHEDULES, Arrangements, Column
from plait.estimates.practice import Practice
from plait.estimates.task import Task
from plait.estimates.weights import Held, Place, held_by
from plait.specs.model import ModelSpec

__all__ = ["Bytes", "memory", "saved_by_block"]

_MOMENTS = 8.0  # Adam's two, in float32; a master of 4 bytes beside them where weights are narrower


@dataclass(frozen=True, kw_only=True)
class Bytes:
    """Bytes of the fullest rank, column by column. `last`: whether that is one of the last stage."""

    weights: Column
    gradients: Column
    optimizer: Column
    activations: Column
    logits: Column
    last: Column

    @property
    def total(self) -> Column:
        """All kinds: what a program allocates, without what its libraries take."""
        return self.weights + self.gradients + self.optimizer + self.activations + self.logits


def memory(task: Task, plans: Arrangements) -> Bytes:
    """What the fullest rank holds, first or last stage."""
    first, last = _stage(task, plans, place="first"), _stage(task, plans, place="last")
    chosen = last.total > first.total
    kinds = {name: np.where(chosen, getattr(last, name), getattr(first, name)) for name in vars(first)}
    return Bytes(**{**kinds, "last": chosen * 1.0})


def _stage(task: Task, plans: Arrangements, *, place: Place) -> Bytes:
    held = held_by(task, plans, place)
    weights, gradients, optimizer = _states(task, plans, held)
    tokens = plans.microbatch * task.sequence / plans.context
    has_head = (plans.pipeline == 1) | (place == "last")
    return Bytes(
        weights=weights,
        gradients=gradients,
        optimizer=optimizer,
        activations=_activations(task, plans, held, place),
        logits=np.where(has_head, tokens * task.model.vocab / plans.tensor * task.practice.loss_bytes, 0.0),
        last=np.zeros(len(plans)),
    )


def _states(task: Task, plans: Arrangements, held: Held) -> tuple[Column, Column, Column]:
    """Bytes of weights, gradients and the optimizer's state."""
    practice, itemsize = task.practice, float(task.itemsize)
    everything = held.dense + held.experts
    group = plans.data * plans.context
    share = held.dense / group + held.experts / np.maximum(group // np.maximum(plans.expert, 1), 1)
    two_layers = 2 * everything / np.maximum(held.blocks, 1)
    third = plans.zero == 3
    wide = practice.gradient_bytes * np.where(plans.zero > 0, float(practice.gradient_copies), 1.0)
    gathered = np.where(third, everything if practice.gathers_once else two_layers, 0.0)
    masters = 4.0 if practice.wide_shards else itemsize  # what a share under ZeRO 3 is held in
    weights = np.where(third, masters * share, itemsize * everything) + itemsize * gathered
    # a layer's whole gradient is there until its share is taken; all are, where that is done once a step
    gradients = np.where(plans.zero >= 2, wide * (share + two_layers / 2), wide * everything)
    if practice.gathers_once:
        gradients = np.where(third, wide * everything, gradients)
    state = np.where(third & (masters > itemsize), _MOMENTS, _MOMENTS + (4.0 if itemsize < 4 else 0.0))
    kept = np.where(plans.zero >= 1, share, everything)
    return weights, gradients, np.where(plans.offload, 0.0, state * kept)


def _activations(task: Task, plans: Arrangements, held: Held, place: Place) -> Column:
    """Bytes of all microbatches under way, and of the block that is at work under recompute."""
    m = plans.microbatches(task.global_batch)
    block = saved_by_block(task.model, task.practice, plans, task.sequence)
    p, v = plans.pipeline, np.maximum(plans.virtual_stages, 1)
    first = place == "first"
    most = {name: np.minimum(p if first else 1, m) * 1.0 for name in SCHEDULES}
    most["gpipe"] = m * 1.0
    most["zb-v"] = np.minimum(p, m) * 1.0
    # 1 + (p - 1) / (p·v) times 1F1B's (Narayanan et al. 2021; Korthikanti et al. 2022, section 4.2.3)
    most["interleaved"] = np.minimum(p * (1 + (p - 1) / (p * v)) if first else 1.0, m)
    under_way = np.choose(plans.schedule, [most[name] for name in SCHEDULES])
    every = block["none"]
    input_only = 2.0 * plans.microbatch * task.sequence / plans.context * task.model.hidden
    input_only = np.where(plans.sequence_parallel, input_only / plans.tensor, input_only)
    kept = np.choose(plans.recompute, [every, block["selective"], input_only])
    received = np.where(p > 1, input_only, 0.0)
    return (kept * held.blocks + received) * under_way + np.where(plans.recompute == 2, every, 0.0)


def saved_by_block(model: ModelSpec, practice: Practice, plans: Arrangements, sequence: int) -> dict[str, Column]:
    """Bytes that one block keeps of a microbatch: with nothing done again ("none"), and with the attention core done
    again ("selective")."""
    tokens = plans.microbatch * sequence / plans.context
    residual = np.where(plans.sequence_parallel, tokens / plans.tensor, tokens)
    t, hidden = plans.tensor, model.hidden
    queries, keys = model.heads * model.head_dim, model.kv_heads * model.head_dim
    mask = 1.0 if practice.masks else 0.0
    stream = residual * hidden * (4 * 2.0 + 2 * mask)  # inputs of both norms, their results, masks of both branches
    inside = tokens / t * 2.0 * (2 * queries + 2 * keys)
    scores = plans.microbatch * model.heads / t * (sequence / plans.context) * sequence * (4.0 + mask)
    core = 0.0 * scores if practice.fused_attention else scores
    ups = 2 if model.gated else 1
    experts = model.experts
    if experts is None:
        feed = tokens / t * 2.0 * (ups + 1) * model.ffn
    else:
        routed = tokens / t * experts.per_token
        feed = routed * 2.0 * ((ups + 1) * experts.ffn + 2 * hidden)
        feed = feed + tokens / t * 2.0 * (ups + 1) * experts.shared * experts.ffn
    if not practice.fused_attention:
        return {"none": stream + inside + core + feed, "selective": stream + inside + feed}
    # where attention saves no scores, every second product's result is done again, and all that is element-wise
    second = tokens / t * (queries + 2 * keys) + residual * 2 * hidden + (ups * feed / (ups + 1)) / 2
    return {"none": stream + inside + feed, "selective": residual * 2 * hidden + tokens / t * 2 * queries + second}
