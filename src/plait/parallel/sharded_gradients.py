"""Gradients of which each data rank keeps its rows alone (ZeRO 2 and 3): summed at every microbatch, on their way.

    backward     w5  w4 │ w3  w2  w1 │ w0            what autograd made waits until its bucket is full
    staging A    [w5 w4]             [w0]            ─► reduce-scatter ─► + own rows, kept from microbatch to microbatch
    staging B            [w3 w2 w1]                    two at most are under way: the third waits for the first

Buckets are launched in their own order, and all of a stage's in every microbatch: a rank that has fewer of these than
others launches zeros. It knows weights by name, and nothing of what they belong to.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from functools import partial

import torch
from torch import Tensor

from plait.collectives.functional import Handle, buffer, reduce_scatter_in
from plait.collectives.process_groups import Group
from plait.collectives.wire import Buffer, Parts
from plait.parallel.data_parallel import Pieces, parts_of, shape_of, views_of
from plait.plans.reductions import STAGED

__all__ = ["ShardedGradients"]


class ShardedGradients:
    """The summed gradients of this rank's pieces of its weights, as `Gradients` has them."""

    def __init__(
        self,
        weights: dict[str, torch.nn.Parameter],
        buckets: Sequence[Sequence[str]],
        group: Group,
        dtype: torch.dtype,
        pieces: Pieces,
        turns: Sequence[int] | None = None,
    ) -> None:
        """`turns`: of each bucket, which of the rank's stages has its weights; left out, there is one."""
        self._group = group
        self._buckets = [_Bucket(names, weights, pieces, group) for names in buckets]
        device = next(iter(weights.values())).device
        largest = max(bucket.elements for bucket in self._buckets)
        self._staging = deque(range(min(STAGED, len(self._buckets))))  # which one is used next
        self._buffers = [buffer(largest, dtype, device, group) for _ in self._staging]
        self._cut = [[bucket.cut(held) for held in self._buffers] for bucket in self._buckets]
        shapes = {name: shape for bucket in self._buckets for name, shape in bucket.kept.items()}
        self._flat = torch.zeros(sum(shape.numel() for shape in shapes.values()), dtype=dtype, device=device)
        self.kept = views_of(self._flat, shapes)
        self._made: dict[str, Tensor] = {}  # by autograd, in this microbatch
        self._over: Collection[str] = ()  # of these nothing more comes in this microbatch
        self._turns = tuple(turns or (0,) * len(buckets))
        self._due: deque[int] = deque()  # the buckets that are still to be launched in this backward
        self._under_way: deque[tuple[_Bucket, Handle[Sequence[Tensor]]]] = deque()
        for name, weight in weights.items():
            weight.register_post_accumulate_grad_hook(partial(self.collect, name))

    @property
    def summed(self) -> Sequence[Tensor]:
        """As `Gradients`."""
        return [self._flat]

    @property
    def nbytes(self) -> int:
        """As `Gradients`."""
        return self._flat.nbytes

    def begin(self) -> None:
        """As `Gradients`."""
        self._flat.zero_()

    def before_backward(self, *, turn: int, last: Collection[str]) -> None:
        """As `Gradients`."""
        self._due.extend(number for number, one in enumerate(self._turns) if one == turn)
        self._over = ()

    def over(self, names: Collection[str]) -> None:
        """Of these weights, and all that were named before, no gradient comes in this microbatch any more: their
        buckets are launched now, if they were not. What is launched between two calls depends on the names alone."""
        self._over = names
        self._launch_full()

    def after_backward(self) -> None:
        """As `Gradients`: what is left are buckets with weights that nothing has read."""
        while self._due:
            self._launch()

    def finish(self) -> None:
        """As `Gradients`."""
        while self._under_way:
            self._take_in()

    def collect(self, name: str, weight: torch.nn.Parameter) -> None:
        """As `Gradients`."""
        gradient = weight.grad
        assert gradient is not None  # whoever tells has set it
        before = self._made.get(name)  # of a backward of inputs, or of another stage that reads it, too
        self._made[name], weight.grad = gradient if before is None else before + gradient, None
        self._launch_full()

    def _launch_full(self) -> None:
        while self._due and all(name in self._made or name in self._over for name in self._buckets[self._due[0]].names):
            self._launch()

    def _launch(self) -> None:
        number = self._due.popleft()
        bucket = self._buckets[number]
        if len(self._under_way) == len(self._staging):
            self._take_in()
        staging = self._staging[0]
        self._staging.rotate()
        views, parts = self._cut[number][staging]
        for name, view in views.items():
            made = self._made.pop(name, None)
            view.zero_() if made is None else view.copy_(made)
        self._under_way.append((bucket, reduce_scatter_in(self._buffers[staging], parts, self._group)))

    def _take_in(self) -> None:
        """Wait for the oldest sum under way, and add it to what is kept."""
        bucket, handle = self._under_way.popleft()
        for name, summed in zip(bucket.kept, handle.wait(), strict=True):
            self.kept[name] += summed


class _Bucket:
    """Weights that travel together, `elements` in all; `kept`: the shape of what this rank keeps of each, if any."""

    def __init__(
        self, names: Sequence[str], weights: dict[str, torch.nn.Parameter], pieces: Pieces, group: Group
    ) -> None:
        self.names, self._pieces, self._ranks = tuple(names), pieces, group.size
        self._shapes = {name: weights[name].shape for name in names}
        self.elements = sum(shape.numel() for shape in self._shapes.values())
        mine = {name: shape_of(pieces[name][group.index], shape) for name, shape in self._shapes.items()}
        self.kept = {name: shape for name, shape in mine.items() if shape.numel()}

    def cut(self, staging: Buffer) -> tuple[dict[str, Tensor], Parts]:
        """A staging buffer as the bucket's weights, and by data rank, its pieces of them."""
        views = views_of(staging.own[: self.elements], self._shapes)
        return views, parts_of(views, self._pieces, self._ranks)
