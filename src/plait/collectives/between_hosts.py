"""The wire of CPU ranks each on a host of its own: gloo's, but for what gloo does badly.

reduce-scatter     gloo sums all parts on all ranks and keeps one: 2 (n-1)/n of the bytes    ─► around a ring: (n-1)/n
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.distributed as dist
from torch import Tensor

from plait.collectives.c10d import C10d
from plait.collectives.peers import Peers
from plait.collectives.ring import Ring
from plait.collectives.wire import Started

__all__ = ["BetweenHosts"]

_TAG = 2  # what crosses in two levels has its own


class BetweenHosts(C10d):
    """As `C10d`, of gloo."""

    def __init__(self, handle: dist.ProcessGroup, ranks: Sequence[int], index: int) -> None:
        super().__init__(handle, ranks, index)
        self._ring = Ring(Peers(C10d(handle, ranks, index), tag=_TAG))

    def reduce_scatter(self, parts: Sequence[Tensor]) -> Started:
        """As `Wire`."""
        return self._ring.reduce_scatter(parts)
