"""Sums of a bucket whose elements travel rounded (fp16, bf16, int8): in one hop for two ranks, in two for more.

    2 ranks    each   [ payload ] ──all-gather──► both payloads, summed by each
    more       each   [ for 0 │ for 1 │ for 2 ] ──all-to-all──► its slice of all, summed, rounded anew ──all-gather──►

Sums are taken in the gradient's own dtype, in rank order. What the first rounding lost stays with the rank whose
gradient it was; what the second lost, with the slice's owner.
"""

from __future__ import annotations

from functools import cache, partial

import torch
from torch import Tensor

from plait.collectives.codecs import codec_of
from plait.collectives.functional import Handle, all_gather, all_to_all
from plait.collectives.process_groups import Group
from plait.collectives.residual import drop_what_is_not_finite
from plait.plans.compression import payload_bytes
from plait.sharding.boxes import shares
from plait.specs.compression import Compression

__all__ = ["Rounded"]


class Rounded:
    """The sums of one bucket of `count` elements; `residual` (count) is what this rank still owes."""

    def __init__(
        self, compression: Compression, count: int, dtype: torch.dtype, group: Group, device: torch.device
    ) -> None:
        self._group = group
        self._codec = codec_of(compression.kind)
        self._slices = [(0, count)] if group.size == 2 else list(shares(count, (1,) * group.size))
        longest = max(stop - start for start, stop in self._slices)
        self._size = payload_bytes(compression, longest, dtype.itemsize)
        self.residual = torch.zeros(count, dtype=dtype, device=device)
        self.kept = {"residual": self.residual}

    def start(self, flat: Tensor) -> Handle:
        """Begin to sum `flat` over the group; `wait` gives it, summed in place."""
        self.residual.add_(flat)
        payloads = self._blank(len(self._slices))
        for payload, (start, stop) in zip(payloads, self._slices, strict=True):
            self._codec.write(self.residual[start:stop], payload)
        one_hop = len(self._slices) == 1
        under_way = self._spread(payloads[0]) if one_hop else all_to_all(payloads, self._group)
        for payload, (start, stop) in zip(payloads, self._slices, strict=True):
            self._codec.add(payload, self.residual[start:stop], sign=-1)
        drop_what_is_not_finite(self.residual)
        finish = partial(self._sum if one_hop else self._sum_slice, under_way, flat)
        return Handle(self._group.axis, None, cache(finish))

    def _blank(self, rows: int) -> Tensor:
        return self.residual.new_zeros((rows, self._size), dtype=torch.uint8)

    def _spread(self, payload: Tensor) -> Handle:
        return all_gather(payload, self._group, 0, self._group.size * self._size)

    def _sum(self, gathered: Handle, flat: Tensor) -> Tensor:
        payloads = gathered.wait().view(self._group.size, self._size)
        flat.zero_()
        for payload in payloads:
            self._codec.add(payload, flat)
        return flat

    def _sum_slice(self, exchanged: Handle, flat: Tensor) -> Tensor:
        start, stop = self._slices[self._group.index]
        total = self.residual.new_zeros(stop - start)
        for payload in exchanged.wait():
            self._codec.add(payload, total)
        payload = self._blank(1)[0]
        self._codec.write(total, payload)
        under_way = self._spread(payload)
        self._codec.add(payload, total, sign=-1)
        drop_what_is_not_finite(total)
        self.residual[start:stop].add_(total)
        flat.zero_()
        for payload, (start, stop) in zip(under_way.wait().view(-1, self._size), self._slices, strict=True):
            self._codec.add(payload, flat[start:stop])
        return flat
