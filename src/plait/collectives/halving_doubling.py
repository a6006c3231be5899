"""Sums by recursive halving, handed out by recursive doubling: partners of all distances in log n steps each way
(Rabenseifner's algorithm, in Thakur, Rabenseifner, Gropp, 2005; as many bytes as a ring).

Four ranks, blocks a b c d; rank 0 is to own a, 1 b, 2 c, 3 d. `a02`: the sum of rank 0's and 2's.

              rank 0          rank 1          rank 2          rank 3
    halve     a0 b0 c0 d0     a1 b1 c1 d1     a2 b2 c2 d2     a3 b3 c3 d3
        0 ◄─► 2, 1 ◄─► 3: who is below the middle keeps the lower half, gives the upper one
              a02 b02         a13 b13              c02 d02         c13 d13
        0 ◄─► 1, 2 ◄─► 3
              a0123               b0123            c0123               d0123
    double    the same partners in the other order, each gives all that it has
              a b             a b                  c d             c d
              a b c d         a b c d         a b c d         a b c d

Where n is no power of two, the ranks beyond the largest one below it fold into partners first, and get the result last:

    rank 4 ─► rank 0        five ranks: 0 adds what 4 has, 0 to 3 do as above, 0 gives the result to 4

A little, whose messages are all latency, can be doubled at once: in log n steps each adds its partner's whole
(`double_all`). Every number is summed along one tree, so that all ranks hold the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from plait.collectives.peers import Peers, chunks
from plait.collectives.stepwise import Combine, Stepwise, cut

__all__ = ["HalvingDoubling"]


class HalvingDoubling(Stepwise):
    """Sums by halving and doubling."""

    def __init__(self, peers: Peers) -> None:
        super().__init__(peers)
        self._active = 1 << (peers.size.bit_length() - 1)  # the largest power of two
        self._spare = peers.size - self._active
        self._beyond = peers.index >= self._active

    def reduce_all(self, flat: Tensor, combine: Combine) -> None:
        """As `Stepwise`."""
        self._fold(flat, combine)
        if not self._beyond:
            blocks = cut(flat, self._active)
            self._halve(flat, blocks, combine)
            self._double(flat, blocks)
        self._unfold(flat)

    def double_all(self, flat: Tensor, combine: Combine) -> None:
        """The same in half as many steps, each of which sends all of it."""
        self._fold(flat, combine)
        if not self._beyond:
            self._double_sums(flat, combine)
        self._unfold(flat)

    def _fold(self, flat: Tensor, combine: Combine) -> None:
        me = self._peers.index
        if self._beyond:
            self._send(flat, me - self._active)
        elif me < self._spare:
            self._combine(flat, me + self._active, combine)

    def _unfold(self, flat: Tensor) -> None:
        me = self._peers.index
        if self._beyond:
            self._receive(flat, me - self._active)
        elif me < self._spare:
            self._send(flat, me + self._active)

    def _halve(self, flat: Tensor, blocks: Sequence[Tensor], combine: Combine) -> None:
        me, start, distance = self._peers.index, 0, self._active // 2
        while distance:
            low, high = _span(flat, blocks, start, distance), _span(flat, blocks, start + distance, distance)
            upper = bool(me & distance)
            self._swap(low if upper else high, high if upper else low, me ^ distance, combine)
            start, distance = start + distance * upper, distance // 2

    def _double(self, flat: Tensor, blocks: Sequence[Tensor]) -> None:
        me, distance = self._peers.index, 1
        while distance < self._active:
            start = me // distance * distance
            ours, theirs = (_span(flat, blocks, at, distance) for at in (start, start ^ distance))
            self._swap(ours, theirs, me ^ distance, None)
            distance *= 2

    def _double_sums(self, flat: Tensor, combine: Combine) -> None:
        me, distance = self._peers.index, 1
        while distance < self._active:
            arriving = self._peers.arriving(chunks(flat), me ^ distance, _beside)
            sends = [self._peers.send(chunk, me ^ distance) for chunk in chunks(flat)]
            for (chunk, arrived), send in zip(arriving, sends, strict=True):
                send.wait()  # it is overwritten
                combine(*((arrived, chunk) if me & distance else (chunk, arrived)), out=chunk)  # the lower rank's first
            distance *= 2

    def _swap(self, given: Tensor, target: Tensor, partner: int, combine: Combine | None) -> None:
        """Send one, receive the other; into its place, or to be combined with what is there."""
        arriving = self._peers.arriving(chunks(target), partner, _itself if combine is None else _beside)
        sends = [self._peers.send(chunk, partner) for chunk in chunks(given)]
        for chunk, arrived in arriving:
            if combine is not None:
                combine(chunk, arrived, out=chunk)
        for send in sends:
            send.wait()

    def _send(self, flat: Tensor, peer: int) -> None:
        self._swap(flat, flat[:0], peer, None)

    def _receive(self, flat: Tensor, peer: int) -> None:
        self._swap(flat[:0], flat, peer, None)

    def _combine(self, flat: Tensor, peer: int, combine: Combine) -> None:
        self._swap(flat[:0], flat, peer, combine)


def _itself(number: int, chunk: Tensor) -> Tensor:
    return chunk


def _beside(number: int, chunk: Tensor) -> Tensor:
    return torch.empty_like(chunk)


def _span(flat: Tensor, blocks: Sequence[Tensor], start: int, count: int) -> Tensor:
    """Blocks that follow one another, as one view."""
    first = sum(block.numel() for block in blocks[:start])
    return flat[first : first + sum(block.numel() for block in blocks[start : start + count])]
