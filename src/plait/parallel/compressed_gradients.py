"""Gradient buckets that are summed over the data axis in fewer bytes (`[plan] compression`).

    microbatches ──► flat bucket ──► + residual ──compressed──► the same sum on all ranks
                                         └ what was not sent waits for the next step

All but the sum is as in `data_parallel`: buckets are launched in one order while backward runs, and waited for in that
order. It knows no form of compression.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from plait.collectives.compression import Compressed
from plait.collectives.functional import Handle
from plait.collectives.process_groups import Group
from plait.parallel.data_parallel import GradientBuffers

__all__ = ["CompressedGradients"]


class CompressedGradients(GradientBuffers):
    """`GradientBuffers` whose buckets are summed by `sums`, one for each of them, but in `dense` steps."""

    dense = False

    def __init__(
        self,
        weights: dict[str, torch.nn.Parameter],
        buckets: Sequence[Sequence[str]],
        group: Group,
        dtype: torch.dtype,
        sums: Sequence[Compressed],
    ) -> None:
        super().__init__(weights, buckets, group, dtype)
        self._compressed = sums

    def _sum(self, number: int) -> Handle[object]:
        return super()._sum(number) if self.dense else self._compressed[number].start(self.flat[number])
