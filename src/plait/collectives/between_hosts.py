"""The wire of CPU ranks each on a host of its own: gloo's, but for what gloo does badly.

all-gather         gloo sends a large part whole: both ways at once that takes up to 1.6 times as long as a ring
                   of chunks; a small one costs it less than steps of ours
reduce-scatter     gloo sums all parts on all ranks and keeps one: 2 (n-1)/n of the bytes    ─► around a ring: (n-1)/n
all-reduce         gloo goes around a ring: 2 (n-1) messages, many of them where hosts are many and the tensor is small
                                                                     ─► what `sharding.all_reduce` holds for cheapest
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.distributed as dist
from torch import Tensor

from plait.collectives.c10d import C10d
from plait.collectives.cheapest import Cheapest
from plait.collectives.peers import Peers
from plait.collectives.wire import Combination, Started, Work
from plait.sharding.all_reduce import RING_GATHER_BYTES, cheapest_all_reduce
from plait.specs.links import LinkSpeed

__all__ = ["BetweenHosts"]

_TAG = 2  # what crosses in two levels has its own


class BetweenHosts(C10d):
    """As `C10d`, of gloo, on a `link` between any two of the hosts."""

    def __init__(self, handle: dist.ProcessGroup, ranks: Sequence[int], index: int, link: LinkSpeed) -> None:
        super().__init__(handle, ranks, index)
        self._link = link
        self._ours = Cheapest(Peers(C10d(handle, ranks, index), tag=_TAG), link)

    def all_reduce(self, flat: Tensor, operation: Combination) -> Work:
        """As `Wire`."""
        if cheapest_all_reduce(flat.nbytes, len(self.ranks), self._link) == "gloo":
            return super().all_reduce(flat, operation)
        return self._ours.all_reduce(flat, operation)

    def all_gather(self, flat: Tensor, counts: Sequence[int]) -> Started:
        """As `Wire`."""
        if max(counts) * flat.itemsize < RING_GATHER_BYTES:
            return super().all_gather(flat, counts)
        return self._ours.all_gather(flat, counts)

    def reduce_scatter(self, parts: Sequence[Tensor]) -> Started:
        """As `Wire`."""
        return self._ours.reduce_scatter(parts)
