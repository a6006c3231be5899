"""Data parallelism: gradients gathered into buckets, each bucket summed over the data axis while backward still runs.

    backward      w5   w4   w3   w2   w1   w0
    bucket 0      [ w5   w4 ]                       launched when w4 is in, waited for in `finish`
    bucket 1                [ w3   w2   w1 ]
    bucket 2                               [w0 ]

A weight's gradient of every microbatch is added into its place in a flat buffer, in the dtype that gradients are
reduced in; only its last one launches. Buckets are launched in their own order whatever order autograd finishes
in, so that ranks can't disagree. Where data ranks keep but parts of the optimizer (ZeRO 1), each gets the sums of its
own parts alone. It knows weights by name, and nothing of what they belong to.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from plait.collectives.functional import Handle, all_reduce, buffer, reduce_scatter_in
from plait.collectives.process_groups import Group
from plait.collectives.wire import Buffer, Parts
from plait.plans.holdings import Piece

__all__ = ["GradientBuffers", "Gradients", "Pieces", "parts_of", "piece_of", "shape_of", "views_of"]

Pieces = Mapping[str, Sequence[Piece]]  # of each weight, by data rank, what that rank keeps


class Gradients(Protocol):
    """The gradients of one rank, from the first backward of a step to its last sum."""

    @property
    def kept(self) -> Mapping[str, Tensor]:
        """By name, what this rank has of each summed gradient, after `finish`; weights of which it has nothing are
        left out."""
        ...

    @property
    def summed(self) -> Sequence[Tensor]:
        """Tensors that hold what is kept, each element once."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes of what stays from microbatch to microbatch."""
        ...

    def begin(self) -> None:
        """Start a step from zero."""
        ...

    def before_backward(self, *, turn: int, last: Collection[str]) -> None:
        """What makes the weights' gradients of the rank's stage number `turn` follows; it is the step's `last` for
        these weights. Other gradients may have come before, of a backward of inputs."""
        ...

    def collect(self, name: str, weight: torch.nn.Parameter) -> None:
        """A weight's gradient has been added to its `.grad`: whoever adds it there tells so."""
        ...

    def after_backward(self) -> None:
        """It is over, whether this rank had a microbatch for it or not."""
        ...

    def finish(self) -> None:
        """Wait until everything is summed over the data axis."""
        ...


def piece_of(tensors: Mapping[str, Tensor], piece: Piece) -> Tensor:
    """The view of a local tensor that `piece` names."""
    return tensors[piece.name].narrow(piece.dim, piece.start, piece.stop - piece.start)


def shape_of(piece: Piece, whole: torch.Size) -> torch.Size:
    """The shape of a piece of a tensor, which need not be there."""
    return torch.Size((*whole[: piece.dim], piece.stop - piece.start, *whole[piece.dim + 1 :]))


def views_of(flat: Tensor, shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """A flat tensor cut into tensors of these shapes, one after another."""
    pieces = flat.split([shape.numel() for shape in shapes.values()])
    return {name: piece.view(shape) for (name, shape), piece in zip(shapes.items(), pieces, strict=True)}


def parts_of(views: Mapping[str, Tensor], pieces: Pieces, ranks: int) -> Parts:
    """By data rank, what it keeps of these tensors; nothing that is empty."""
    found = [[piece_of(views, pieces[name][rank]) for name in views] for rank in range(ranks)]
    return [[piece for piece in part if piece.numel()] for part in found]


class GradientBuffers:
    """The gradients of one rank: a flat buffer for each bucket, and a view of it for each weight, named in `views`.
    With `pieces` each rank gets the sums of its own."""

    def __init__(
        self,
        weights: dict[str, torch.nn.Parameter],
        buckets: Sequence[Sequence[str]],
        group: Group,
        dtype: torch.dtype,
        pieces: Pieces | None = None,
    ) -> None:
        self._group = group
        self._weights = weights
        self._buckets = [tuple(bucket) for bucket in buckets]
        self._bucket_of = {name: number for number, bucket in enumerate(self._buckets) for name in bucket}
        self._held = [self._allocate(bucket, dtype) for bucket in self._buckets]
        self.flat = [held.own for held in self._held]
        cut = [self._cut(number) for number in range(len(self.flat))]
        self.views = {name: view for views in cut for name, view in views.items()}
        self._parts = [parts_of(views, pieces, group.size) for views in cut] if pieces is not None else []
        self.kept = self._kept(pieces)
        self._missing: list[set[str]] = []  # by bucket, of which the last gradient is still to come
        self._last: Collection[str] = ()
        self._launched: list[Handle[object]] = []
        for name, weight in weights.items():
            if group.size > 1 or weight.dtype != dtype:
                weight.register_post_accumulate_grad_hook(partial(self.collect, name))

    @property
    def summed(self) -> Sequence[Tensor]:
        """As `Gradients`."""
        return list(self.kept.values()) if self._parts else self.flat

    @property
    def nbytes(self) -> int:
        """As `Gradients`: of all gradients."""
        return sum(flat.nbytes for flat in self.flat)

    def begin(self) -> None:
        """As `Gradients`. A weight of the buffers' dtype has its view for `.grad`: autograd adds in place."""
        for flat in self.flat:
            flat.zero_()
        for name, weight in self._weights.items():
            weight.grad = self.views[name] if weight.dtype == self.views[name].dtype else None
        self._launched.clear()
        self._missing = [set(bucket) for bucket in self._buckets]
        self._last = ()

    def before_backward(self, *, turn: int, last: Collection[str]) -> None:
        """As `Gradients`: a bucket is launched as soon as the last gradients of all its weights are there."""
        self._last = last

    def after_backward(self) -> None:
        """As `Gradients`: what was to come in the last one has come, also for weights that nothing has read."""
        for name in self._last:
            self._missing[self._bucket_of[name]].discard(name)
        if self._last:
            self._launch_full()
        self._last = ()

    def finish(self) -> None:
        """As `Gradients`."""
        self._launch(up_to=len(self._buckets))
        for handle in self._launched:
            handle.wait()

    def _allocate(self, bucket: Sequence[str], dtype: torch.dtype) -> Buffer:
        first = self._weights[bucket[0]]
        return buffer(sum(self._weights[name].numel() for name in bucket), dtype, first.device, self._group)

    def _cut(self, number: int) -> dict[str, Tensor]:
        return views_of(self.flat[number], {name: self._weights[name].shape for name in self._buckets[number]})

    def _kept(self, pieces: Pieces | None) -> dict[str, Tensor]:
        if pieces is None:
            return self.views
        mine = {name: piece_of(self.views, pieces[name][self._group.index]) for name in self.views}
        return {name: piece for name, piece in mine.items() if piece.numel()}

    def collect(self, name: str, weight: torch.nn.Parameter) -> None:
        """As `Gradients`."""
        gradient = weight.grad
        assert gradient is not None  # whoever tells has set it
        if gradient.dtype != self.views[name].dtype:
            self.views[name].add_(gradient)
            weight.grad = None
        if name in self._last:
            self._missing[self._bucket_of[name]].discard(name)
            self._launch_full()

    def _launch_full(self) -> None:
        self._launch(up_to=next((n for n, missing in enumerate(self._missing) if missing), len(self._missing)))

    def _launch(self, up_to: int) -> None:
        while len(self._launched) < up_to:
            self._launched.append(self._sum(len(self._launched)))

    def _sum(self, number: int) -> Handle[object]:
        if self._parts:
            return reduce_scatter_in(self._held[number], self._parts[number], self._group)
        return all_reduce(self.flat[number], self._group)
