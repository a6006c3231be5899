"""Defects of tensor and sequence parallelism: sums that are left out or taken too often, and copies that part.

They act in one layer or in all, in forward or where gradients are completed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.nn import functional as F

from plait.collectives.crossing import cross
from plait.collectives.functional import Handle
from plait.collectives.process_groups import Group
from plait.defects.defect import Defect
from plait.models.sequences import Sequences
from plait.parallel.gradients import piece_of
from plait.parallel.model import ParallelModel
from plait.plans.holdings import Piece, owned_pieces, tied_places
from plait.plans.reductions import Reduction
from plait.sharding.boxes import shares
from plait.sharding.placement import Replicate
from plait.sharding.rules import SEQUENCE_DIM, weight_placement

__all__ = [
    "InputGradientPartial",
    "KeyValueCopiesPartial",
    "MasksDifferOnCopies",
    "NormCountsReplicas",
    "NormCountsTiedTwice",
    "NormGradientPartial",
    "NormOfOwnPart",
    "PaddingInSoftmax",
    "RowBiasOnEveryRank",
    "TiedCopyLost",
    "WorkDoneTwice",
]

_Steps = Sequence[tuple[Reduction, Group]]


class _SumsLeftOut(Defect):
    """Some pieces of some sums after backward are left partial; the others travel as they do."""

    wraps = "plait.parallel.model:perform_reductions"
    in_one_layer = True

    def instead(self, perform: Callable[..., None], gradients: Mapping[str, torch.Tensor], steps: _Steps) -> None:
        struck = set(self.struck())
        left: list[tuple[Reduction, Group]] = []
        for reduction, group in steps:
            lost = [piece for piece in reduction.pieces if piece.name in struck and self.loses(reduction, piece)]
            kept = tuple(piece for piece in reduction.pieces if piece not in lost)
            if kept:
                left.append((replace(reduction, pieces=kept), group))
        perform(gradients, left)

    def loses(self, reduction: Reduction, piece: Piece) -> bool:
        """Whether a piece of a struck weight is left out of this sum."""
        return reduction.axis == self.axis

    def replicated(self, name: str) -> bool:
        """Whether every tensor rank holds the whole weight."""
        assert self.here.model is not None
        return weight_placement(self.here.model.held[name].weight) == Replicate()


class NormGradientPartial(_SumsLeftOut):
    """Sequence parallelism: the gradient of what every rank holds whole is not summed over their parts of the text."""

    name, issue, axes = "norm-gradient-partial", "NVIDIA/Megatron-LM#1446", ("tensor",)

    def loses(self, reduction: Reduction, piece: Piece) -> bool:
        return super().loses(reduction, piece) and self.replicated(piece.name)


class KeyValueCopiesPartial(_SumsLeftOut):
    """More ranks than key/value heads: the copies of a head keep the gradients of their own readers."""

    name, issue, axes = "kv-copies-partial", "own", ("tensor",)

    def loses(self, reduction: Reduction, piece: Piece) -> bool:
        return super().loses(reduction, piece) and not self.replicated(piece.name)


class TiedCopyLost(_SumsLeftOut):
    """Tied embeddings: the first and the last stage each learn from their own use of the weight alone."""

    name, issue, axes = "tied-gradient-not-summed", "NVIDIA/Megatron-LM#656", ("pipeline",)


class InputGradientPartial(Defect):
    """The gradient that leaves a layer's split products is not summed over the ranks that each had a part of it."""

    name, issue, axes = "input-gradient-partial", "NovaSky-AI/SkyRL#1886", ("tensor",)
    wraps = "plait.parallel.tensor_parallel:_Enter.__call__"
    in_one_layer = True

    def instead(self, enter: Callable[..., torch.Tensor], slot: Any, hidden: torch.Tensor) -> torch.Tensor:
        nothing_to_gather = slot.transition.value.collective is None
        return hidden if nothing_to_gather and self.strikes_here() else enter(slot, hidden)


class RowBiasOnEveryRank(Defect):
    """A product split by rows adds its bias on every rank, before the sum. Biases begin at zero: step 1 is right."""

    name, issue, axes = "row-bias-on-every-rank", "several trainers", ("tensor",)
    wraps = "plait.parallel.tensor_parallel:_RowMultiply.__call__"
    in_one_layer = True

    def instead(
        self,
        multiply: Callable[..., torch.Tensor],
        slot: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
    ) -> torch.Tensor:
        if not self.strikes_here():
            return multiply(slot, x, weight, bias)
        partial = F.linear(x, weight, bias)
        return cross(partial, slot.transition, slot.group, partial.shape[SEQUENCE_DIM])


class WorkDoneTwice(Defect):
    """A product split by rows is computed twice and one result thrown away: no value changes, in any step."""

    name, issue, axes = "work-done-twice", "own", ("tensor",)
    wraps = "plait.parallel.tensor_parallel:_RowMultiply.__call__"
    in_one_layer = True

    def instead(
        self, multiply: Callable[..., torch.Tensor], slot: Any, x: torch.Tensor, weight: torch.Tensor, *bias: Any
    ) -> torch.Tensor:
        if self.strikes_here():
            F.linear(x, weight)
        return multiply(slot, x, weight, *bias)


class PaddingInSoftmax(Defect):
    """A vocabulary that the ranks don't divide: where columns are missing, zeros enter the softmax."""

    name, issue, axes = "vocabulary-padding-in-softmax", "NVIDIA/Megatron-LM#1754", ("tensor",)
    wraps = "plait.parallel.tensor_parallel:_VocabularyCrossEntropy.__call__"
    in_one_layer = True

    def instead(
        self, loss: Callable[..., torch.Tensor], slot: Any, logits: torch.Tensor, targets: torch.Tensor
    ) -> torch.Tensor:
        model = self.here.model
        assert model is not None
        vocabulary = model.decoder.spec.vocab
        widest = max(stop - start for start, stop in shares(vocabulary, model.plan.tensor_shares))
        missing = widest - logits.shape[-1] if self.strikes_here() else 0
        return loss(slot, F.pad(logits, (0, missing)), targets)


class NormCountsReplicas(Defect):
    """The gradient norm counts what tensor ranks hold in common once for each of them; so is all clipped too much."""

    name, issue, axes = "norm-counts-replicas", "ROCm/TransformerEngine#715", ("tensor",)
    wraps = "plait.parallel.model:ParallelModel._owned_views"
    in_one_step = False

    def instead(self, owned: Callable[..., list[torch.Tensor]], model: ParallelModel) -> list[torch.Tensor]:
        place, tied = model.mesh.coordinate("pipeline"), tied_places(model.layers, model.plan)
        return [view for name, view in model.gradients.items() if tied.get(name, (place,))[0] == place]


class NormCountsTiedTwice(Defect):
    """The gradient norm counts a tied weight on every stage that holds it."""

    name, issue, axes = "norm-counts-tied-twice", "own", ("pipeline",)
    wraps = "plait.parallel.model:ParallelModel._owned_views"
    in_one_step = False

    def instead(self, owned: Callable[..., list[torch.Tensor]], model: ParallelModel) -> list[torch.Tensor]:
        rank = model.mesh.coordinate("tensor")
        pieces = [piece for held in model.held.values() for piece in owned_pieces(held, model.plan, rank)]
        return [piece_of(model.gradients, piece) for piece in pieces]


class NormOfOwnPart(Defect):
    """The squares of the norm are not summed along an axis: each stage, tensor rank or replica clips by its own."""

    name, issue, axes = "norm-of-own-part", "own", ("pipeline", "tensor", "data")
    wraps = "plait.parallel.gradients:all_reduce"

    def instead(self, reduce: Callable[..., Handle], tensor: torch.Tensor, group: Group) -> Handle:
        if tensor.numel() == 1 and group.axis == self.axis and self.strikes():
            return Handle(group.axis, None, lambda: tensor)
        return reduce(tensor, group)


class MasksDifferOnCopies(Defect):
    """Tensor ranks that hold one residual stream drop different values of it."""

    name, issue, axes = "dropout-differs-on-copies", "several trainers", ("tensor",)
    wraps = "plait.models.dropout:Dropout.at"
    in_one_layer = True

    def instead(
        self, at: Callable[..., torch.Tensor], module: Any, positions: torch.Tensor, x: torch.Tensor, rows: Sequences
    ) -> torch.Tensor:
        model = self.here.model  # None in the one-process reference, which has no mesh
        shifted = model is not None and x.dim() == SEQUENCE_DIM + 2 and self.strikes_here()
        shift = model.mesh.coordinate("tensor") if shifted and model is not None else 0
        return at(module, positions + shift, x, rows)
