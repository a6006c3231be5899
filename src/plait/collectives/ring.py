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
and then handed round, so that all ranks hold the same bits. Compressed, each hop of a sum is encoded (`codecs`), sums
are kept in full, and what is handed round is the owner's encoding, which the owner takes itself. What a hop loses is
lost: who wants it back the next time sums otherwise (`rounded`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from plait.collectives.codecs import Codec, codec_of
from plait.collectives.peers import Peers, chunks
from plait.collectives.stepwise import Combine, Stepwise, cut
from plait.plans.compression import payload_bytes
from plait.specs.compression import Compression

__all__ = ["Ring"]

_Chunks = tuple[Tensor, ...]


class Ring(Stepwise):
    """The collectives around a ring; `compression` (fp16, bf16, int8) encodes what is summed, of float32 and float64
    only: nothing else is rounded."""

    def __init__(self, peers: Peers, compression: Compression | None = None) -> None:
        super().__init__(peers)
        self._hop = _Hop(compression, codec_of(compression.kind)) if compression else None
        self._left, self._right = (peers.index - 1) % peers.size, (peers.index + 1) % peers.size

    @property
    def name(self) -> str:
        """As `Wire`."""
        return "ring"

    def reduce_all(self, flat: Tensor, combine: Combine) -> None:
        """As `Stepwise`."""
        me, parts = self._peers.index, cut(flat, self._peers.size)
        first, *summed = self._backwards(parts, me - 1)
        self._pass(first, summed, self._backwards(parts, me)[1:], combine, self._hop_of(flat, combine))

    def reduce_parts(self, parts: Sequence[Tensor], combine: Combine) -> None:
        """As `Stepwise`."""
        first, *summed = self._backwards(parts, self._peers.index - 1)
        self._pass(first, summed, [], combine, self._hop_of(parts[0], combine))

    def gather_parts(self, parts: Sequence[Tensor]) -> None:
        """As `Stepwise`: to the bit, compressed or not."""
        own, *others = self._backwards(parts, self._peers.index)
        self._pass(own, [], others, None, None)

    def _pass(
        self,
        first: _Chunks,
        summed: Sequence[_Chunks],
        gathered: Sequence[_Chunks],
        combine: Combine | None,
        hop: _Hop | None,
    ) -> None:
        """Send a part to the right; then add to parts as they come, the own one last, and take parts as they come. All
        but the last one that comes are sent on. One stream: the first parts are handed round while others are summed.

        Where a part comes to be taken, its half sum has left: it could not have come otherwise.
        """
        targets = [chunk for part in (*summed, *gathered) for chunk in part]
        to_sum = sum(map(len, summed))
        own = to_sum - len(summed[-1]) if summed and gathered else to_sum
        onward = len(targets) - len((*summed, *gathered)[-1])

        def room(number: int, chunk: Tensor) -> Tensor:
            if hop is not None:
                return hop.room(chunk)
            return torch.empty_like(chunk) if number < to_sum else chunk

        arriving = self._peers.arriving(targets, self._left, room)
        sends = [self._peers.send(hop.encoded(chunk) if hop else chunk, self._right) for chunk in first]
        for number, (chunk, came) in enumerate(arriving):
            travelling = came
            if number < to_sum and combine is not None:
                if hop is None:
                    combine(chunk, came, out=chunk)
                else:
                    hop.codec.add(came, chunk)
                travelling = hop.encoded(chunk) if hop and number < onward else chunk
            if number < onward:
                sends.append(self._peers.send(travelling, self._right))
            if number >= own and hop is not None:
                hop.codec.add(travelling, chunk.zero_())
        for send in sends:
            send.wait()

    def _backwards(self, parts: Sequence[Tensor], start: int) -> list[_Chunks]:
        """Every part's chunks, from part `start` on leftwards round the ring: in which order they come by."""
        return [chunks(parts[(start - step) % len(parts)]) for step in range(len(parts))]

    def _hop_of(self, flat: Tensor, combine: Combine) -> _Hop | None:
        rounds = flat.dtype in (torch.float32, torch.float64) and combine is torch.add
        return self._hop if rounds else None


@dataclass(frozen=True)
class _Hop:
    """What one message of a compressed sum is."""

    compression: Compression
    codec: Codec

    def room(self, chunk: Tensor) -> Tensor:
        """Where the encoding of a chunk like this one can arrive: contents undefined."""
        return chunk.new_empty(payload_bytes(self.compression, chunk.numel(), chunk.itemsize), dtype=torch.uint8)

    def encoded(self, chunk: Tensor) -> Tensor:
        """It, as bytes."""
        payload = self.room(chunk)
        self.codec.write(chunk, payload)
        return payload
