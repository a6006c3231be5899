"""A transition as an autograd function: the value moves in forward, its gradient in backward, both as the table says.

enter, sequence parallel     forward all-gather      backward reduce-scatter
leave, sequence parallel     forward reduce-scatter  backward all-gather
enter                        forward nothing         backward all-reduce
leave                        forward all-reduce      backward nothing
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from plait.collectives.functional import all_gather, all_reduce, own_share, reduce_scatter
from plait.collectives.process_groups import Group
from plait.sharding.placement import Shard
from plait.sharding.redistribute import Move, Transition

__all__ = ["cross"]


def cross(
    tensor: torch.Tensor,
    transition: Transition,
    group: Group,
    length: int,
    meanwhile: Callable[[], None] | None = None,
) -> torch.Tensor:
    """Move `tensor` as `transition` says. `length`: the whole extent of the dim that a Shard placement names.
    `meanwhile` is called in backward, once the gradient has set out.

    The tensor is consumed, and in backward its gradient (an all-reduce works in place): what is moved must come fresh
    from an operation that does not keep it, and go into one whose gradient is its own, as a matrix product's is.
    """
    if group.size == 1:
        return tensor
    result: torch.Tensor = _Cross.apply(tensor, transition, group, length, meanwhile)
    return result


class _Cross(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        tensor: torch.Tensor,
        transition: Transition,
        group: Group,
        length: int,
        meanwhile: Callable[[], None] | None,
    ) -> torch.Tensor:
        ctx.move, ctx.group, ctx.length, ctx.meanwhile = transition.gradient, group, length, meanwhile
        return _moved(tensor, transition.value, group, length)()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        arrived = _moved(gradients[0], ctx.move, ctx.group, ctx.length)
        if ctx.meanwhile is not None:
            ctx.meanwhile()
        return arrived(), None, None, None, None


def _moved(tensor: torch.Tensor, move: Move, group: Group, length: int) -> Callable[[], torch.Tensor]:
    """Begin to move a tensor; what is returned waits for it."""
    match move.collective:
        case None:
            return lambda: tensor.view_as(tensor)
        case "all_reduce":
            return all_reduce(tensor.contiguous(), group).wait
        case "all_gather":
            return all_gather(tensor, group, _dim(move.source), length).wait
        case "reduce_scatter":
            return reduce_scatter(tensor, group, _dim(move.target)).wait
        case "slice":
            return lambda: own_share(tensor, group, _dim(move.target)).contiguous()
        case other:
            raise ValueError(f"no crossing of a layer takes a {other}")


def _dim(placement: object) -> int:
    assert isinstance(placement, Shard)
    return placement.dim
