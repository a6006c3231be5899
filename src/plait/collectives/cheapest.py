"""Sums by whichever algorithm of ours is cheapest for the size: ring, halving-doubling or doubling; and what else ranks
pass each other step by step.

Which is asked of `sharding.all_reduce`, as the planner asks it, on a link that all ranks are told alike, so that they
agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from plait.collectives.halving_doubling import HalvingDoubling
from plait.collectives.peers import Peers
from plait.collectives.ring import Ring
from plait.collectives.stepwise import Combine, Stepwise
from plait.collectives.wire import Started
from plait.sharding.all_reduce import OURS, cheapest_all_reduce
from plait.specs.links import LinkSpeed

__all__ = ["Cheapest"]


class Cheapest(Stepwise):
    """Sums among peers, of whom each has `link` to itself."""

    def __init__(self, peers: Peers, link: LinkSpeed) -> None:
        super().__init__(peers)
        self._link = link
        self._ring, self._halving = Ring(peers), HalvingDoubling(peers)

    def reduce_all(self, flat: Tensor, combine: Combine) -> None:
        """As `Stepwise`."""
        match cheapest_all_reduce(flat.nbytes, self.size, self._link, OURS):
            case "halving-doubling":
                self._halving.reduce_all(flat, combine)
            case "doubling":
                self._halving.double_all(flat, combine)
            case _:
                self._ring.reduce_all(flat, combine)

    def reduce_parts(self, parts: Sequence[Tensor]) -> None:
        """As `Ring`, which copies nothing."""
        self._ring.reduce_parts(parts)

    def gather_parts(self, parts: Sequence[Tensor]) -> None:
        """As `Ring`."""
        self._ring.gather_parts(parts)

    def trade(self, given: Sequence[Tensor], taken: Sequence[Tensor]) -> None:
        """Everybody with everybody at once: `given` by receiver, `taken` by sender, the own one among them."""
        taken[self.index].copy_(given[self.index])
        others = [place for place in range(self.size) if place != self.index]
        works = [self._peers.receive(taken[other], other) for other in others]
        works += [self._peers.send(given[other], other) for other in others]
        for work in works:
            work.wait()

    def reduce_scatter(self, parts: Sequence[Tensor]) -> Started:
        """Start it; as `Wire`. What is given is copied: sums are taken in the copy."""
        copies = torch.cat(list(parts)).split([part.numel() for part in parts])
        return Started(self.start(partial(self.reduce_parts, copies)), lambda: [copies[self.index]])

    def all_gather(self, flat: Tensor, counts: Sequence[int]) -> Started:
        """Start it; as `Wire`."""
        results = [flat.new_empty(count) for count in counts]
        results[self.index].copy_(flat)
        return Started(self.start(partial(self.gather_parts, results)), lambda: results)
