"""How many floating-point operations a rank performs in one training step, as torch's FlopCounterMode counts them.

It counts matrix products alone: 2·m·n·k each; a causal mask is not taken off, element-wise work and lookups are free.

                          forward                          backward
    linear                2 · tokens · inner · outer       twice: the gradient of the input, and of the weight
    attention, fused      2 products of s × s × head_dim   5: the kernel computes the scores once more
    attention, explicit   2 products (dropout > 0)         4: two for each

    powersgd              nothing                          4 · 2 · rows · columns · rank a matrix, once a step

It knows the layers' products and their shares on the tensor axis, no device and no second.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from plait.layers.gpt import describe_gpt
from plait.layers.layer import Layer, Product
from plait.planner.stage import stage_of
from plait.plans.holdings import rank_layers
from plait.plans.plan import Plan
from plait.plans.rows import sizes_of
from plait.sharding.boxes import local_size
from plait.specs.model import ModelSpec
from plait.specs.training import TrainingSpec

__all__ = ["FlopCount", "Share", "flops_by_layer", "flops_of_step", "layer_flops", "packing_flops", "product_flops"]

_FUSED_BACKWARD, _EXPLICIT_BACKWARD = 5, 4  # products of s × s × head_dim; forward has 2 either way


@dataclass(frozen=True, kw_only=True)
class FlopCount:
    """Floating-point operations of forward and of backward."""

    forward: int = 0
    backward: int = 0

    @property
    def total(self) -> int:
        """Both."""
        return self.forward + self.backward


@dataclass(frozen=True, kw_only=True)
class Share:
    """One tensor rank's share of a microbatch: `batch` sequences of `sequence` tokens, its part of every split dim."""

    batch: int
    sequence: int
    tensor_shares: tuple[float, ...] = (1,)
    tensor_rank: int = 0
    dropout: float = 0.0

    @property
    def tokens(self) -> int:
        """Tokens of the microbatch; between `enter` and `leave` every tensor rank sees them all."""
        return self.batch * self.sequence


def product_flops(product: Product, share: Share) -> FlopCount:
    """FLOPs of one product of a layer for one microbatch."""
    inner = local_size(product.inner, share.tensor_shares, share.tensor_rank)
    if product.kind == "attention":
        one = 2 * share.batch * share.sequence**2 * inner  # `inner`: all features of this rank's query heads
        return FlopCount(forward=2 * one, backward=one * (_EXPLICIT_BACKWARD if share.dropout else _FUSED_BACKWARD))
    one = 2 * share.tokens * inner * local_size(product.outer, share.tensor_shares, share.tensor_rank)
    return FlopCount(forward=one, backward=2 * one)


def layer_flops(layer: Layer, share: Share) -> FlopCount:
    """FLOPs of all of a layer's products for one microbatch; a lookup is none."""
    return _sum(product_flops(product, share) for product in layer.products)


def flops_of_step(model: ModelSpec, training: TrainingSpec, plan: Plan, rank: int) -> FlopCount:
    """FLOPs of one training step on `rank`: all of its stage's layers, for all of its microbatches, and its sums'."""
    sums = FlopCount(backward=packing_flops(model, training, plan, rank))
    return _sum((*flops_by_layer(model, training, plan, rank).values(), sums))


def packing_flops(model: ModelSpec, training: TrainingSpec, plan: Plan, rank: int) -> int:
    """FLOPs in which the rank's gradients are compressed and summed, once a step."""
    return sum(one.packing.flops for one in stage_of(model, training, plan, rank).sums if one.packing)


def flops_by_layer(model: ModelSpec, training: TrainingSpec, plan: Plan, rank: int) -> dict[str, FlopCount]:
    """The same for each layer of the rank's stages, by its name."""
    data_rank = plan.mesh.coordinate(rank, "data")
    share = Share(
        batch=plan.microbatch,
        sequence=training.sequence_length,
        tensor_shares=plan.tensor_shares,
        tensor_rank=plan.mesh.coordinate(rank, "tensor"),
        dropout=model.dropout,
    )
    shares = [(replace(share, batch=n), times) for n, times in sizes_of(plan, training.global_batch, data_rank).items()]
    # by name: a Stage may be that of another rank with as many blocks
    stages = rank_layers(describe_gpt(model), plan, plan.mesh.coordinate(rank, "pipeline"))
    return {
        layer.name: _sum(one for size, times in shares for one in times * [layer_flops(layer, size)])
        for stage in stages
        for layer in stage
    }


def _sum(counts: Iterable[FlopCount]) -> FlopCount:
    found = tuple(counts)
    return FlopCount(forward=sum(one.forward for one in found), backward=sum(one.backward for one in found))
