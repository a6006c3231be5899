"""Sums of a bucket whose elements travel rounded (fp16, bf16, int8): in one hop for two ranks, in two for more.

    2 ranks    each   [ payload ] ──all-gather──► both payloads, summed by each
    more       each   [ for 0 │ for 1 │ for 2 ] ──all-to-all──► its slice of all, summed, rounded anew ──all-gather──►

Sums are taken in the gradient's own dtype, in rank order. What the first rounding lost stays with the rank whose
gradient it was; what the second lost, with the slice's owner.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import torch
from torch import Tensor

from plait.collectives.codecs import codec_of
from plait.collectives.payloads import Arriving, Payloads
from plait.collectives.residual import drop_what_is_not_finite
from plait.plans.compression import payload_bytes
from plait.sharding.boxes import shares
from plait.specs.compression import Compression

__all__ = ["Rounded"]


class Rounded:
    """The sums of a flat tensor over `ranks`; `residual`, as long, is what this rank still owes."""

    def __init__(self, compression: Compression, ranks: Payloads, residual: Tensor) -> None:
        self._ranks, self.residual = ranks, residual
        self._codec = codec_of(compression.kind)
        count = residual.numel()
        self._slices = [(0, count)] if ranks.size == 2 else list(shares(count, (1,) * ranks.size))
        longest = max(stop - start for start, stop in self._slices)
        self._size = payload_bytes(compression, longest, residual.itemsize)
        self.kept = {"residual": residual}

    def start(self, flat: Tensor) -> Callable[[], Tensor]:
        """Begin to sum `flat` over the ranks; what is returned waits for it, and gives it, summed in place."""
        self.residual.add_(flat)
        payloads = self._blank(len(self._slices))
        for payload, (start, stop) in zip(payloads, self._slices, strict=True):
            self._codec.write(self.residual[start:stop], payload)
        one_hop = len(self._slices) == 1
        under_way = self._ranks.all_gather(payloads[0]) if one_hop else self._ranks.all_to_all(payloads)
        for payload, (start, stop) in zip(payloads, self._slices, strict=True):
            self._codec.add(payload, self.residual[start:stop], sign=-1)
        drop_what_is_not_finite(self.residual)
        return cache(partial(self._sum if one_hop else self._sum_slice, under_way, flat))

    def _blank(self, rows: int) -> Tensor:
        return self.residual.new_zeros((rows, self._size), dtype=torch.uint8)

    def _sum(self, gathered: Arriving, flat: Tensor) -> Tensor:
        payloads = gathered.wait()
        flat.zero_()
        for payload in payloads:
            self._codec.add(payload, flat)
        return flat

    def _sum_slice(self, exchanged: Arriving, flat: Tensor) -> Tensor:
        start, stop = self._slices[self._ranks.index]
        total = self.residual.new_zeros(stop - start)
        for payload in exchanged.wait():
            self._codec.add(payload, total)
        payload = self._blank(1)[0]
        self._codec.write(total, payload)
        under_way = self._ranks.all_gather(payload)
        self._codec.add(payload, total, sign=-1)
        drop_what_is_not_finite(total)
        self.residual[start:stop].add_(total)
        flat.zero_()
        for payload, (start, stop) in zip(under_way.wait(), self._slices, strict=True):
            self._codec.add(payload, flat[start:stop])
        return flat
