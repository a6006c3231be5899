"""The collectives as functions on tensors. Each returns a handle: start here, wait where the result is needed.

Every message of Plait leaves through this file or `point_to_point`, and is noted by the recorder. Shares of a dim may
be uneven (7 positions on 3 ranks: 3 / 2 / 2); on the wire each is then as long as the longest, at most one unit more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.distributed as dist

from plait.collectives.process_groups import Group
from plait.collectives.recorder import blocked, note
from plait.sharding.boxes import shares

__all__ = ["Handle", "all_gather", "all_reduce", "own_share", "reduce_scatter"]

# torch 2.13 renamed the two; the older names are all that 2.11 has
_ALL_GATHER: Callable[..., Any] = getattr(dist, "all_gather_single", dist.all_gather_into_tensor)
_REDUCE_SCATTER: Callable[..., Any] = getattr(dist, "reduce_scatter_single", dist.reduce_scatter_tensor)
_OPERATIONS = {"sum": dist.ReduceOp.SUM, "max": dist.ReduceOp.MAX}


@dataclass(frozen=True)
class Handle:
    """A collective under way: `wait` blocks until it is done and returns its result."""

    axis: str
    work: dist.Work | None
    result: Callable[[], torch.Tensor]

    def wait(self) -> torch.Tensor:
        """The result, complete. The time it takes counts as exposed communication of the axis."""
        if self.work is not None:
            with blocked(self.axis):
                self.work.wait()
        return self.result()


def all_reduce(tensor: torch.Tensor, group: Group, operation: Literal["sum", "max"] = "sum") -> Handle:
    """Sum (or maximum) of a contiguous tensor over the group, in place; bit-identical on all ranks."""
    if group.size == 1:
        return Handle(group.axis, None, lambda: tensor)
    note(group.axis, "all_reduce", tensor.nbytes)
    work = dist.all_reduce(tensor, op=_OPERATIONS[operation], group=group.handle, async_op=True)
    return Handle(group.axis, work, lambda: tensor)


def own_share(tensor: torch.Tensor, group: Group, dim: int) -> torch.Tensor:
    """This rank's share of a replicated tensor along `dim`: a view, no message."""
    start, stop = shares(tensor.shape[dim], (1,) * group.size)[group.index]
    return tensor.narrow(dim, start, stop - start)


def all_gather(tensor: torch.Tensor, group: Group, dim: int, length: int) -> Handle:
    """Put the shares along `dim` together to a tensor of `length` along it, the same on all ranks."""
    if group.size == 1:
        return Handle(group.axis, None, lambda: tensor)
    parts = shares(length, (1,) * group.size)
    longest = parts[0][1] - parts[0][0]
    block = _padded(tensor, dim, longest).contiguous()
    received = block.new_empty((group.size, *block.shape))
    note(group.axis, "all_gather", received.nbytes)
    work = _ALL_GATHER(received, block.unsqueeze(0), group=group.handle, async_op=True)

    def whole() -> torch.Tensor:
        pieces = (piece.narrow(dim, 0, stop - start) for piece, (start, stop) in zip(received, parts, strict=True))
        return torch.cat(list(pieces), dim)

    return Handle(group.axis, work, whole)


def reduce_scatter(tensor: torch.Tensor, group: Group, dim: int) -> Handle:
    """Sum over the group; each rank keeps its share along `dim`."""
    if group.size == 1:
        return Handle(group.axis, None, lambda: tensor)
    parts = shares(tensor.shape[dim], (1,) * group.size)
    longest = parts[0][1] - parts[0][0]
    blocks = [_padded(tensor.narrow(dim, start, stop - start), dim, longest) for start, stop in parts]
    sent = torch.stack(blocks)
    received = torch.empty_like(sent[0]).unsqueeze(0)
    note(group.axis, "reduce_scatter", sent.nbytes)
    work = _REDUCE_SCATTER(received, sent, group=group.handle, async_op=True)
    start, stop = parts[group.index]
    return Handle(group.axis, work, lambda: received[0].narrow(dim, 0, stop - start).contiguous())


def _padded(tensor: torch.Tensor, dim: int, length: int) -> torch.Tensor:
    missing = length - tensor.shape[dim]
    if missing == 0:
        return tensor
    shape = list(tensor.shape)
    shape[dim] = missing
    return torch.cat([tensor, tensor.new_zeros(shape)], dim)
