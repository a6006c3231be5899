"""Tensor parallelism as slot fillers: what stands where a plain layer has a plain computation.

      residual ──► norm ──► enter ──► products split by columns ──► … ──► product split by rows ──► leave ──► + bias
    (whole, or its share of the sequence)       heads, ffn, vocab                            (summed over the axis)

What happens at `enter` and `leave` is read from `sharding.rules.crossing`; no collective is chosen here. The one value
that is no activation is the loss: softmax over a split vocabulary needs its maximum, its sum and the target's logit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional as F

from plait.collectives.crossing import cross
from plait.collectives.functional import all_reduce, own_share
from plait.collectives.process_groups import Group
from plait.models.attend import Attend
from plait.models.attention import Attention
from plait.models.dropout import Dropout
from plait.models.embedding import Embedding
from plait.models.gpt import Decoder
from plait.models.head import Head
from plait.models.linear import Linear
from plait.models.loss import IGNORED
from plait.models.mlp import MLP
from plait.models.slots import Multiply
from plait.parallel.pipeline_stage import Extent
from plait.parallel.weight_gradients import WeightGradients
from plait.plans.plan import Plan
from plait.sharding.boxes import Interval, shares
from plait.sharding.redistribute import Transition
from plait.sharding.rules import SEQUENCE_DIM, crossing
from plait.specs.model import ModelSpec

__all__ = ["split_layers"]


def split_layers(decoder: Decoder, plan: Plan, group: Group, extent: Extent) -> WeightGradients:
    """Fill the slots of the layers at hand, whose weights are this rank's slices, in place. Where a sum over the group
    goes on by itself, weights' gradients wait for one to hide it, and where backward has two parts for the second: they
    are made by what is returned."""
    waiting = WeightGradients()
    enter = _Enter(
        transition=crossing("enter", sequence_parallel=plan.sequence_parallel),
        group=group,
        extent=extent,
        meanwhile=waiting.meanwhile,
    )
    if plan.divides_backward or (group.wire is not None and group.wire.in_background):
        waiting.defer(decoder, head=not plan.divides_backward)
    leave = crossing("leave", sequence_parallel=plan.sequence_parallel)
    vocabulary = shares(decoder.spec.vocab, plan.tensor_shares)[group.index]
    names, attend = decoder.names, _attend(decoder.spec, plan, group.index)
    for module in decoder.modules():
        match module:
            case Attention():
                module.enter, module.attend = enter, attend
                _end_in_sum(_linear(module, names.attention_out), leave, group)
            case MLP():
                module.enter = enter
                _end_in_sum(_linear(module, names.down), leave, group)
            case Head():
                module.enter = enter
                module.cross_entropy = _VocabularyCrossEntropy(group=group, columns=vocabulary)
            case Dropout() if plan.sequence_parallel:
                module.share = _SequenceShare(group=group)
            case _:
                pass
    if names.embedding in decoder.trunk:
        _embedding(decoder, names.embedding).lookup = _VocabularyLookup(transition=leave, group=group, rows=vocabulary)
        if names.positions and plan.sequence_parallel:
            _embedding(decoder, names.positions).lookup = _PositionLookup(share=_SequenceShare(group=group))
    return waiting


def _end_in_sum(linear: Linear, leave: Transition, group: Group) -> None:
    linear.multiply = _RowMultiply(product=linear.multiply, transition=leave, group=group)


def _linear(owner: nn.Module, name: str) -> Linear:
    return cast(Linear, owner.get_submodule(name))


def _embedding(decoder: Decoder, name: str) -> Embedding:
    return cast(Embedding, decoder.trunk[name])


def _attend(spec: ModelSpec, plan: Plan, rank: int) -> Attend:
    """The core over this rank's query heads. Where they don't fall into groups of one size, with the kv head that each
    one reads: the fused kernel groups equal sizes by itself, without copying keys and values."""
    start, stop = shares(spec.heads, plan.tensor_shares)[rank]
    first = start // spec.queries_per_kv_head
    kv_of_head = tuple(head // spec.queries_per_kv_head - first for head in range(start, stop))
    readers = len(kv_of_head) // (kv_of_head[-1] + 1)
    even = kv_of_head == tuple(place // readers for place in range(stop - start))
    return Attend(first_head=start, kv_of_head=None if even else kv_of_head)


@dataclass(frozen=True, kw_only=True)
class _Enter:
    """The slot before a layer's split products."""

    transition: Transition
    group: Group
    extent: Extent
    meanwhile: Callable[[], None]

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        """(batch, sequence or its share, hidden) → (batch, sequence, hidden)."""
        return cross(hidden, self.transition, self.group, self.extent.length, self.meanwhile)


@dataclass(frozen=True, kw_only=True)
class _RowMultiply:
    """The slot of a product whose inner features are split: partial sums leave, and the bias is added once, after."""

    product: Multiply
    transition: Transition
    group: Group

    def __call__(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """(batch, sequence, inner / tensor) → (batch, sequence or its share, outer)."""
        partial = self.product(x, weight, None)
        whole = cross(partial, self.transition, self.group, partial.shape[SEQUENCE_DIM])
        return whole if bias is None else whole + bias


@dataclass(frozen=True, kw_only=True)
class _VocabularyLookup:
    """The slot of an embedding whose rows [start, stop) of the vocabulary live here; other tokens give zeros."""

    transition: Transition
    group: Group
    rows: Interval

    def __call__(self, tokens: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """(batch, sequence) → (batch, sequence or its share, hidden)."""
        start, stop = self.rows
        here = (tokens >= start) & (tokens < stop)
        partial = F.embedding(torch.where(here, tokens - start, 0), weight) * here.unsqueeze(-1)
        return cross(partial, self.transition, self.group, tokens.shape[SEQUENCE_DIM])


@dataclass(frozen=True, kw_only=True)
class _SequenceShare:
    """This rank's share of a replicated (batch, sequence) tensor: positions, or the rows that key dropout."""

    group: Group

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        """(batch, sequence) → (batch, sequence / tensor)."""
        return own_share(values, self.group, SEQUENCE_DIM)


@dataclass(frozen=True, kw_only=True)
class _PositionLookup:
    """The slot of a position table where the residual stream is split over the sequence."""

    share: _SequenceShare

    def __call__(self, positions: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """(1 or batch, sequence) → (1 or batch, sequence / tensor, hidden)."""
        return F.embedding(self.share(positions), weight)


@dataclass(frozen=True, kw_only=True)
class _VocabularyCrossEntropy:
    """The loss slot over logits of which this rank holds the columns [start, stop) of the vocabulary."""

    group: Group
    columns: Interval

    def __call__(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """(batch, sequence, vocab / tensor) and (batch, sequence) → the sum of all tokens' losses, a scalar."""
        loss: torch.Tensor = _SplitCrossEntropy.apply(
            logits.reshape(-1, logits.shape[-1]), targets.reshape(-1), self.group, self.columns[0]
        )
        return loss


class _SplitCrossEntropy(torch.autograd.Function):
    """loss = log Σ exp(z - max) - (z_target - max); its gradient is softmax(z) minus one at the target."""

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, targets: torch.Tensor, group: Group, start: int) -> torch.Tensor:
        wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
        highest = all_reduce(wide.amax(dim=-1), group, "max").wait()
        exponentials = (wide - highest.unsqueeze(-1)).exp_()  # (tokens, vocab / tensor)
        counted = targets != IGNORED
        here = counted & (targets >= start) & (targets < start + logits.shape[-1])
        columns = torch.where(here, targets - start, 0).unsqueeze(-1)
        own_logit = (wide.gather(-1, columns).squeeze(-1) - highest) * here
        both = torch.stack([exponentials.sum(-1), own_logit])  # one message for the two sums
        total, target_logit = all_reduce(both, group).wait()
        ctx.save_for_backward(exponentials.div_(total.unsqueeze(-1)), columns, here, counted)
        ctx.dtype = logits.dtype
        return ((total.log() - target_logit) * counted).sum()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        softmax, columns, here, counted = ctx.saved_tensors
        scale = gradients[0] * counted  # (tokens,)
        gradient = softmax * scale.unsqueeze(-1)
        gradient.scatter_add_(-1, columns, -(scale * here).unsqueeze(-1))
        return gradient.to(ctx.dtype), None, None, None
