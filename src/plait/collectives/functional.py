"""The collectives as functions on tensors. Each returns a handle: start here, wait where the result is needed.

Every message of Plait leaves through this file or `point_to_point`, and is noted by the recorder. Shares of a dim may
be uneven (7 positions on 3 ranks: 3 / 2 / 2); each is then counted as long as the longest, at most one unit more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch

from plait.collectives.process_groups import Group
from plait.collectives.recorder import blocked, note
from plait.collectives.wire import Buffer, Combination, Parts, Work
from plait.sharding.boxes import shares

__all__ = [
    "Handle",
    "all_gather",
    "all_gather_in",
    "all_gather_of",
    "all_reduce",
    "all_to_all",
    "buffer",
    "own_share",
    "reduce_scatter",
    "reduce_scatter_in",
]


Result_co = TypeVar("Result_co", covariant=True)


@dataclass(frozen=True)
class Handle(Generic[Result_co]):
    """A collective under way: `wait` blocks until it is done and returns its result."""

    axis: str
    work: Work | None
    result: Callable[[], Result_co]

    def wait(self) -> Result_co:
        """The result, complete. The time it takes counts as exposed communication of the axis."""
        if self.work is not None:
            with blocked(self.axis):
                self.work.wait()
        return self.result()


def all_reduce(tensor: torch.Tensor, group: Group, operation: Combination = "sum") -> Handle[torch.Tensor]:
    """Sum (or maximum) of a contiguous tensor over the group, in place; bit-identical on all ranks."""
    if group.wire is None:
        return Handle(group.axis, None, lambda: tensor)
    note(group.axis, "all_reduce", tensor.nbytes)
    return Handle(group.axis, group.wire.all_reduce(tensor.view(-1), operation), lambda: tensor)


def buffer(count: int, dtype: torch.dtype, device: torch.device, group: Group) -> Buffer:
    """Zeros that the group is going to work on again and again; every rank of it calls this. Sizes may differ where
    nothing but `all_gather_of` follows."""
    made = group.wire.buffer(count, dtype) if group.wire is not None and device.type == "cpu" else None
    return made or Buffer(torch.zeros(count, dtype=dtype, device=device))


def own_share(tensor: torch.Tensor, group: Group, dim: int) -> torch.Tensor:
    """This rank's share of a replicated tensor along `dim`: a view, no message."""
    start, stop = shares(tensor.shape[dim], (1,) * group.size)[group.index]
    return tensor.narrow(dim, start, stop - start)


def all_gather(tensor: torch.Tensor, group: Group, dim: int, length: int) -> Handle[torch.Tensor]:
    """Put the shares along `dim` together to a tensor of `length` along it, the same on all ranks."""
    if group.wire is None:
        return Handle(group.axis, None, lambda: tensor)
    lengths = [stop - start for start, stop in shares(length, (1,) * group.size)]
    shapes = [_with(tensor.shape, dim, each) for each in lengths]
    counts = [shape.numel() for shape in shapes]
    note(group.axis, "all_gather", group.size * max(counts) * tensor.itemsize)
    started = group.wire.all_gather(_flat(tensor), counts)

    def whole() -> torch.Tensor:
        pieces = zip(started.results(), shapes, strict=True)
        return torch.cat([piece.view(shape) for piece, shape in pieces], dim)

    return Handle(group.axis, started.work, whole)


def reduce_scatter(tensor: torch.Tensor, group: Group, dim: int) -> Handle[torch.Tensor]:
    """Sum over the group; each rank keeps its share along `dim`."""
    if group.wire is None:
        return Handle(group.axis, None, lambda: tensor)
    pieces = [tensor.narrow(dim, a, b - a) for a, b in shares(tensor.shape[dim], (1,) * group.size)]
    note(group.axis, "reduce_scatter", group.size * max(piece.numel() for piece in pieces) * tensor.itemsize)
    started = group.wire.reduce_scatter([_flat(piece) for piece in pieces])
    shape = pieces[group.index].shape
    return Handle(group.axis, started.work, lambda: started.results()[0].view(shape))


def reduce_scatter_in(buffer: Buffer, parts: Parts, group: Group) -> Handle[Sequence[torch.Tensor]]:
    """Sum over the group; `parts` are the pieces of the buffer that each rank gets the sums of. The result is this
    rank's own pieces; what the rest of the buffer holds afterwards is not said."""
    mine = parts[group.index]
    if group.wire is None:
        return Handle(group.axis, None, lambda: mine)
    note(group.axis, "reduce_scatter", _longest(parts) * group.size * buffer.own.itemsize)
    return Handle(group.axis, group.wire.reduce_scatter_in(buffer, parts), lambda: mine)


def all_gather_in(buffer: Buffer, parts: Parts, group: Group) -> Handle[torch.Tensor]:
    """Each rank's pieces of its buffer, to the same places in all others' buffers."""
    if group.wire is None:
        return Handle(group.axis, None, lambda: buffer.own)
    note(group.axis, "all_gather", _longest(parts) * group.size * buffer.own.itemsize)
    return Handle(group.axis, group.wire.all_gather_in(buffer, parts), lambda: buffer.own)


def all_gather_of(buffer: Buffer, counts: Sequence[int], group: Group) -> Handle[Sequence[torch.Tensor]]:
    """What lies in every rank's buffer, of `counts` elements, by place. It may be the others' memory itself: it is read
    before anybody may write to it again."""
    if group.wire is None:
        return Handle(group.axis, None, lambda: [buffer.own])
    note(group.axis, "all_gather", max(counts) * group.size * buffer.own.itemsize)
    started = group.wire.all_gather_of(buffer, counts)
    return Handle(group.axis, started.work, started.results)


def _longest(parts: Parts) -> int:
    return max(sum(piece.numel() for piece in part) for part in parts)


def all_to_all(tensor: torch.Tensor, group: Group) -> Handle[torch.Tensor]:
    """Row r of a tensor (ranks, …) goes to the rank at place r; row r of the result is what that one had for this."""
    if group.wire is None:
        return Handle(group.axis, None, lambda: tensor)
    note(group.axis, "all_to_all", tensor.nbytes)
    rows = [_flat(row) for row in tensor]
    started = group.wire.all_to_all(rows, [row.numel() for row in rows])
    return Handle(group.axis, started.work, lambda: torch.stack(tuple(started.results())).view(tensor.shape))


def _flat(tensor: torch.Tensor) -> torch.Tensor:
    """Its elements one after another: a column's are not yet so when they are in one dim."""
    return tensor.reshape(-1).contiguous()


def _with(shape: torch.Size, dim: int, length: int) -> torch.Size:
    """The shape with another length along a dim."""
    changed = list(shape)
    changed[dim] = length
    return torch.Size(changed)
