"""A wire that sums by whichever algorithm is cheapest for the size: ring, halving-doubling or doubling.

Which is asked of `sharding.all_reduce`, on a link that is assumed once for all ranks, so that they agree.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from plait.collectives.halving_doubling import HalvingDoubling
from plait.collectives.peers import Peers
from plait.collectives.ring import Ring
from plait.collectives.stepwise import Combine, Stepwise
from plait.sharding.all_reduce import cheapest_all_reduce

__all__ = ["Cheapest"]


class Cheapest(Stepwise):
    """The collectives among peers on a link of `alpha` seconds a message and `bytes_per_second`."""

    def __init__(self, peers: Peers, *, alpha: float, bytes_per_second: float) -> None:
        super().__init__(peers)
        self._alpha, self._bytes_per_second = alpha, bytes_per_second
        self._ring, self._halving = Ring(peers), HalvingDoubling(peers)

    @property
    def name(self) -> str:
        """As `Wire`."""
        return "cheapest"

    def reduce_all(self, flat: Tensor, combine: Combine) -> None:
        """As `Stepwise`."""
        match cheapest_all_reduce(
            flat.nbytes, self._peers.size, alpha=self._alpha, bytes_per_second=self._bytes_per_second
        ):
            case "ring":
                self._ring.reduce_all(flat, combine)
            case "halving-doubling":
                self._halving.reduce_all(flat, combine)
            case "doubling":
                self._halving.double_all(flat, combine)

    def reduce_parts(self, parts: Sequence[Tensor], combine: Combine) -> None:
        """As `Stepwise`: around the ring, which copies nothing."""
        self._ring.reduce_parts(parts, combine)

    def gather_parts(self, parts: Sequence[Tensor]) -> None:
        """As `Stepwise`: around the ring."""
        self._ring.gather_parts(parts)
