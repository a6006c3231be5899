"""How many bytes the fullest rank of each plan holds at the worst moment of a step, by kind.

    weights       every element held, in the dtype of products; under ZeRO 3 a share, and two layers whole
    gradients     in the dtype in which they are kept; a share from ZeRO 2 on
    optimizer     master weights and two moments in float32: 12 bytes; a share from ZeRO 1 on
                  under offload none: masters, moments and gradients are in the host's memory (`offload`)
    activations   what every block saves, times the microbatches under way
    logits        of the last stage: as they are, in float32, and their gradient

What a block saves follows from its shapes: in 16 bits with dropout and explicit attention it is
s·b·h (10 + 24/t + 5·a·s / (h·t)) (Korthikanti et al. 2022, eq. 2), which is one of its tests. The first stage holds the
most microbatches, the last the logits: both are looked at.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from plait.estimates.arrangements import SCHEDULES, Arrangements, Column, Flags, Numbers
from plait.estimates.practice import Practice
from plait.estimates.task import Task
from plait.estimates.weights import Held, held_by
from plait.estimates.widths import widths
from plait.specs.model import ModelSpec

__all__ = ["Bytes", "bytes_of_stage", "memory", "saved_by_block"]


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
        """All kinds: what a program allocates on a device, without what its libraries take."""
        return self.weights + self.gradients + self.optimizer + self.activations + self.logits


def memory(task: Task, plans: Arrangements) -> Bytes:
    """What the fullest rank holds, first or last stage."""
    both = (plans.pipeline == 1) | _turns(plans)
    first = bytes_of_stage(task, plans, held_by(task, plans, "first"), 0, both)
    last = bytes_of_stage(task, plans, held_by(task, plans, "last"), plans.pipeline - 1, ~_turns(plans))
    chosen = last.total > first.total
    kinds: dict[str, Column] = {
        name: np.where(chosen, getattr(last, name), getattr(first, name)) for name in vars(first)
    }
    kinds["last"] = chosen.astype(np.float64)
    return Bytes(**kinds)


def bytes_of_stage(task: Task, plans: Arrangements, held: Held, place: Numbers | int, heads: Flags) -> Bytes:
    """What a rank at this place along the pipeline holds, with these weights; `heads`: whether it makes the logits."""
    item, practice = float(task.itemsize), task.practice
    copies = np.where(plans.zero > 0, float(practice.gradient_copies), 1.0)
    wide = practice.gradient_bytes * copies
    tokens, losses = plans.microbatch * task.sequence / plans.context, 1 + task.model.prediction_layers
    one = (held.dense + held.experts) / np.maximum(held.blocks + held.predictions, 1)
    whole = np.where(plans.zero == 3, held.dense + held.experts if practice.gathers_once else 2 * one, 0.0)
    state, kept = task.state_bytes * held.share(plans, 1), item * held.share(plans, 3)
    if practice.wide_shards:  # the shares of the weights are the masters
        kept = np.where(plans.zero == 3, 4.0 * held.share(plans, 3), kept)
        state = np.where(plans.zero == 3, state - 4.0 * held.share(plans, 1), state)
    gathered = (plans.zero == 3) & practice.gathers_once
    sums = wide * held.share(plans, 2) + np.where(plans.zero >= 2, wide * one, 0.0)
    return Bytes(
        weights=kept + item * whole,
        gradients=np.where(gathered, wide * (held.dense + held.experts), sums),
        optimizer=np.where(plans.offload, 0.0, state),
        activations=_activations(task, plans, held, place),
        logits=np.where(heads, losses * tokens * task.model.vocab / plans.tensor * practice.loss_bytes * item / 2, 0.0),
        last=np.zeros(len(plans)),
    )


def _turns(plans: Arrangements) -> Flags:
    """Whether the last stage stands where the first one does: a V."""
    return plans.schedule == SCHEDULES.index("zb-v")


def _activations(task: Task, plans: Arrangements, held: Held, place: Numbers | int) -> Column:
    """Bytes of all microbatches under way, and of the block that is at work under full recompute."""
    block = saved_by_block(task.model, task.practice, plans, task.sequence, task.itemsize)
    under_way = _under_way(plans, plans.microbatches(task.global_batch), place)
    every = block["none"]
    input_only = float(task.itemsize) * plans.microbatch * task.sequence / plans.context * task.model.hidden
    input_only = np.where(plans.sequence_parallel, input_only / plans.tensor, input_only)
    kept = np.choose(plans.recompute, [every, block["selective"], input_only])
    received = np.where(plans.pipeline > 1, input_only, 0.0)
    further = kept + np.where(plans.recompute == 2, 1, 4) * input_only  # two vectors, as they are and side by side
    whole = kept * held.blocks + further * held.predictions + received
    return whole * under_way + np.where(plans.recompute == 2, every, 0.0)


def _under_way(plans: Arrangements, m: Numbers, place: Numbers | int) -> Column:
    """How many microbatches a rank at this place holds at most, all its stages together counted as one."""
    p, v = plans.pipeline, np.maximum(plans.virtual_stages, 1)
    most = {
        "1f1b": p - place,
        "gpipe": m,
        "interleaved": (2 * (p - 1 - place) + (v - 1) * p + 1) / v,
        "zb-h1": p,  # weights' gradients wait: see its schedule
        "zb-v": p,
    }
    return np.minimum(np.choose(plans.schedule, [most[name] * 1.0 for name in SCHEDULES]), m)


def saved_by_block(
    model: ModelSpec, practice: Practice, plans: Arrangements, sequence: int, itemsize: int = 2
) -> dict[str, Column]:
    """Bytes that one block keeps of a microbatch: with nothing done again ("none"), and with the attention core done
    again ("selective")."""
    item, tokens = float(itemsize), plans.microbatch * sequence / plans.context
    residual = np.where(plans.sequence_parallel, tokens / plans.tensor, tokens)
    t, hidden = plans.tensor, model.hidden
    wide = widths(model, t)
    heads, short = tokens * (wide.queries + wide.keys + wide.values), residual * (wide.short + wide.normed)
    mask = 1.0 if practice.masks else 0.0
    normed = 6 if model.post_norms else 4  # inputs of both norms, and their results; inputs of those behind branches
    stream = residual * hidden * (normed * item + 2 * mask)  # and masks of both branches
    inside = item * (heads + short + tokens * wide.attended)
    scores = plans.microbatch * model.heads / t * (sequence / plans.context) * sequence * (2 * item + mask)
    core = 0.0 * scores if practice.fused_attention else scores
    ups = 2 if model.gated else 1
    experts = model.experts
    if experts is None:
        feed = tokens / t * item * (ups + 1) * model.ffn
    else:
        routed = tokens / t * experts.per_token
        feed = routed * item * ((ups + 1) * experts.ffn + 2 * hidden)
        feed = feed + tokens / t * item * (ups + 1) * experts.shared * experts.ffn
    if not practice.fused_attention:
        return {"none": stream + inside + core + feed, "selective": stream + inside + feed}
    # where attention saves no scores, every second product's result is done again, and all that is element-wise: of
    # latent attention what its heads are made to from short vectors
    made = heads / 2 if model.latent is None else residual * wide.short
    second = item * (made + residual * hidden) + (ups * feed / (ups + 1)) / 2
    return {"none": stream + inside + feed, "selective": item * (residual * hidden + tokens * wide.attended) + second}
