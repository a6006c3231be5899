"""A wire that sums by whichever algorithm of ours is cheapest for the size: ring, halving-doubling or doubling.

Which is asked of `sharding.all_reduce`, as the planner asks it, on a link that all ranks are told alike, so that they
agree.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from plait.collectives.halving_doubling import HalvingDoubling
from plait.collectives.peers import Peers
from plait.collectives.ring import Ring
from plait.collectives.stepwise import Combine, Stepwise
from plait.sharding.all_reduce import OURS, cheapest_all_reduce
from plait.specs.links import LinkSpeed

__all__ = ["Cheapest"]


class Cheapest(Stepwise):
    """The collectives among peers, of whom each has `link` to itself."""

    def __init__(self, peers: Peers, link: LinkSpeed) -> None:
        super().__init__(peers)
        self._link = link
        self._ring, self._halving = Ring(peers), HalvingDoubling(peers)

    @property
    def name(self) -> str:
        """As `Wire`."""
        return "cheapest"

    def reduce_all(self, flat: Tensor, combine: Combine) -> None:
        """As `Stepwise`."""
        match cheapest_all_reduce(flat.nbytes, self._peers.size, self._link, OURS):
            case "halving-doubling":
                self._halving.reduce_all(flat, combine)
            case "doubling":
                self._halving.double_all(flat, combine)
            case _:
                self._ring.reduce_all(flat, combine)

    def reduce_parts(self, parts: Sequence[Tensor], combine: Combine) -> None:
        """As `Stepwise`: around the ring, which copies nothing."""
        self._ring.reduce_parts(parts, combine)

    def gather_parts(self, parts: Sequence[Tensor]) -> None:
        """As `Stepwise`: around the ring."""
        self._ring.gather_parts(parts)
