"""Data parallelism: gradients gathered into buckets, each bucket summed over the data axis while backward still runs.

    backward      w5   w4   w3   w2   w1   w0
    bucket 0      [ w5   w4 ]                       launched when w4 is in, waited for in `finish`
    bucket 1                [ w3   w2   w1 ]
    bucket 2                               [w0 ]

A weight's gradient of every microbatch is added into its place in a flat buffer, in the dtype that gradients are
reduced in; only the last microbatch launches. Buckets are launched in their own order whatever order autograd finishes
in, so that ranks can't disagree. It knows weights by name, and nothing of what they belong to.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch

from plait.collectives.functional import Handle, all_reduce, buffer
from plait.collectives.process_groups import Group
from plait.collectives.wire import Buffer

__all__ = ["GradientBuffers"]


class GradientBuffers:
    """The gradients of one rank: a flat buffer for each bucket, and a view of it for each weight, named in `views`."""

    def __init__(
        self,
        weights: dict[str, torch.nn.Parameter],
        buckets: Sequence[Sequence[str]],
        group: Group,
        dtype: torch.dtype,
    ) -> None:
        self._group = group
        self._weights = weights
        self._buckets = [tuple(bucket) for bucket in buckets]
        self._bucket_of = {name: number for number, bucket in enumerate(self._buckets) for name in bucket}
        self._held = [self._allocate(bucket, dtype) for bucket in self._buckets]
        self.flat = [held.own for held in self._held]
        self.views = {name: view for number in range(len(self.flat)) for name, view in self._cut(number)}
        self._missing: list[int] = []
        self._launched: list[Handle] = []
        self._last_microbatch = False
        for name, weight in weights.items():
            if group.size > 1 or weight.dtype != dtype:
                weight.register_post_accumulate_grad_hook(partial(self._collect, name))

    @property
    def nbytes(self) -> int:
        """Bytes of all gradients."""
        return sum(flat.nbytes for flat in self.flat)

    def begin(self) -> None:
        """Start a step from zero. A weight of the buffers' dtype has its view for `.grad`: autograd adds in place."""
        for flat in self.flat:
            flat.zero_()
        for name, weight in self._weights.items():
            weight.grad = self.views[name] if weight.dtype == self.views[name].dtype else None
        self._launched.clear()
        self._last_microbatch = False

    def expect_last(self) -> None:
        """The next backward is the step's last: launch each bucket as soon as it is full."""
        self._missing = [len(bucket) for bucket in self._buckets]
        self._last_microbatch = True

    def finish(self) -> None:
        """Wait until every bucket is summed over the data axis."""
        self._launch(up_to=len(self._buckets))
        for handle in self._launched:
            handle.wait()

    def _allocate(self, bucket: Sequence[str], dtype: torch.dtype) -> Buffer:
        first = self._weights[bucket[0]]
        return buffer(sum(self._weights[name].numel() for name in bucket), dtype, first.device, self._group)

    def _cut(self, number: int) -> list[tuple[str, torch.Tensor]]:
        bucket = self._buckets[number]
        pieces = self.flat[number].split([self._weights[name].numel() for name in bucket])
        return [(name, piece.view(self._weights[name].shape)) for name, piece in zip(bucket, pieces, strict=True)]

    def _collect(self, name: str, weight: torch.nn.Parameter) -> None:
        gradient = weight.grad
        assert gradient is not None  # the hook runs after autograd has set it
        if gradient.dtype != self.views[name].dtype:
            self.views[name].add_(gradient)
            weight.grad = None
        if self._last_microbatch:
            self._missing[self._bucket_of[name]] -= 1
            full = next((n for n, missing in enumerate(self._missing) if missing), len(self._missing))
            self._launch(up_to=full)

    def _launch(self, up_to: int) -> None:
        while len(self._launched) < up_to:
            self._launched.append(all_reduce(self.flat[len(self._launched)], self._group))
