"""Sums around a ring: each rank sends to its right neighbour alone; a part goes once round to be summed, and once more
to be handed out (Patarasuk, Yuan, 2009: 2 (n-1) steps, 2 (n-1)/n of the bytes, which no algorithm undercuts).

Three ranks; rank 0 is to own part a, 1 b, 2 c. `a12` is the sum of rank 1's and 2's. A part sets out from its owner's
right neighbour, and so comes to its owner last.

                   rank 0 ──►        rank 1 ──►        rank 2 ──► rank 0
    has            a0 b0 c0          a1 b1 c1          a2 b2 c2
    sends │ has    c0  │ b20         a1  │ c01         b2  │ a12
    sends │ has    b20 │ a120        c01 │ b201        a12 │ c012              reduced: each has one part's sum
    sends │ has    a   │ a c         b   │ a b         c   │ b c
    sends │ has    c   │ a b c       a   │ a b c       b   │ a b c             gathered

A part travels in chunks: while one is added, and sent on at once, the next arrive. Each part is summed along one path
and then handed round, so that all ranks hold the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from plait.collectives.peers import Peers, chunks
from plait.collectives.stepwise import Combine, Stepwise, cut

__all__ = ["Ring"]

_Chunks = tuple[Tensor, ...]


class Ring(Stepwise):
    """Sums around a ring, and its two halves."""

    def __init__(self, peers: Peers) -> None:
        super().__init__(peers)
        self._left, self._right = (peers.index - 1) % peers.size, (peers.index + 1) % peers.size

    def reduce_all(self, flat: Tensor, combine: Combine) -> None:
        """As `Stepwise`."""
        me, parts = self._peers.index, cut(flat, self._peers.size)
        first, *summed = self._backwards(parts, me - 1)
        self._pass(first, summed, self._backwards(parts, me)[1:], combine)

    def reduce_parts(self, parts: Sequence[Tensor]) -> None:
        """Make the own part the sum of all ranks'; the others' are left half summed."""
        first, *summed = self._backwards(parts, self._peers.index - 1)
        self._pass(first, summed, [], torch.add)

    def gather_parts(self, parts: Sequence[Tensor]) -> None:
        """Fill the others' parts."""
        own, *others = self._backwards(parts, self._peers.index)
        self._pass(own, [], others, None)

    def _pass(
        self,
        first: _Chunks,
        summed: Sequence[_Chunks],
        gathered: Sequence[_Chunks],
        combine: Combine | None,
    ) -> None:
        """Send a part to the right; then add to parts as they come, the own one last, and take parts as they come. All
        but the last one that comes are sent on. One stream: the first parts are handed round while others are summed.

        Where a part comes to be taken, its half sum has left: it could not have come otherwise.
        """
        targets = [chunk for part in (*summed, *gathered) for chunk in part]
        to_sum = sum(map(len, summed))
        onward = len(targets) - len((*summed, *gathered)[-1])

        def room(number: int, chunk: Tensor) -> Tensor:
            return torch.empty_like(chunk) if number < to_sum else chunk

        arriving = self._peers.arriving(targets, self._left, room)
        sends = [self._peers.send(chunk, self._right) for chunk in first]
        for number, (chunk, came) in enumerate(arriving):
            if number < to_sum and combine is not None:
                combine(chunk, came, out=chunk)
            if number < onward:
                sends.append(self._peers.send(chunk, self._right))
        for send in sends:
            send.wait()

    def _backwards(self, parts: Sequence[Tensor], start: int) -> list[_Chunks]:
        """Every part's chunks, from part `start` on leftwards round the ring: in which order they come by."""
        return [chunks(parts[(start - step) % len(parts)]) for step in range(len(parts))]
