"""Sums of a bucket of which each rank sends its largest elements alone, with their places (Aji and Heafield, 2017).

    residual + gradient     0.1  -7   0.3  5  -0.2  6        fraction 1/3: two of six
    sent                        -7              6            values, then places
    residual                0.1   0   0.3  5  -0.2  0

All ranks gather all payloads and add them up in rank order. Of equal magnitudes the earlier element is taken.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import torch
from torch import Tensor

from plait.collectives.payloads import Arriving, Payloads
from plait.collectives.residual import drop_what_is_not_finite
from plait.plans.compression import kept_count, payload_bytes
from plait.specs.compression import Compression

__all__ = ["TopK", "largest"]

_SAMPLED = 1 << 15  # elements from which a sample saves most of the search
_STRIDE = 61


class TopK:
    """The sums of a flat tensor over `ranks`; `residual`, as long, is what this rank still owes."""

    def __init__(self, compression: Compression, ranks: Payloads, residual: Tensor) -> None:
        self._ranks, self.residual = ranks, residual
        self._count = kept_count(compression.fraction, residual.numel())
        self._size = payload_bytes(compression, residual.numel(), residual.itemsize)
        self.kept = {"residual": residual}

    def start(self, flat: Tensor) -> Callable[[], Tensor]:
        """Begin to sum `flat` over the ranks; what is returned waits for it, and gives it, summed in place."""
        self.residual.add_(flat)
        payload = self.residual.new_zeros(self._size, dtype=torch.uint8)
        places = largest(self.residual, self._count)
        values, indices = self._fields(payload)
        values.copy_(self.residual[places])
        indices.copy_(places)
        under_way = self._ranks.all_gather(payload)
        self.residual[places] = 0
        drop_what_is_not_finite(self.residual)
        return cache(partial(self._sum, under_way, flat))

    def _sum(self, gathered: Arriving, flat: Tensor) -> Tensor:
        flat.zero_()
        for payload in gathered.wait():
            values, indices = self._fields(payload)
            flat.index_add_(0, indices, values)
        return flat

    def _fields(self, payload: Tensor) -> tuple[Tensor, Tensor]:
        middle = self._count * self.residual.itemsize
        values = payload[:middle].view(self.residual.dtype)
        return values, payload[middle : middle + 4 * self._count].view(torch.int32)


def largest(values: Tensor, count: int) -> Tensor:
    """The places (int64, ascending) of the `count` largest magnitudes of a flat tensor; NaN counts as infinite."""
    magnitudes = values.abs().nan_to_num_(nan=torch.inf, posinf=torch.inf)
    places = _candidates(magnitudes, count)
    among = magnitudes[places]
    least = torch.topk(among, count, sorted=False).values.amin()
    above = places[among > least]
    equal = places[among == least][: count - above.numel()]
    return torch.cat([above, equal]).sort().values


def _candidates(magnitudes: Tensor, count: int) -> Tensor:
    """Places that hold the `count` largest, and not many others where a sample tells how large those are."""
    if magnitudes.numel() >= _SAMPLED:
        sample = magnitudes[::_STRIDE]
        expected = count * sample.numel() // magnitudes.numel()
        rank = min(sample.numel(), expected + expected // 8 + 32)
        places = (magnitudes >= torch.topk(sample, rank, sorted=False).values.amin()).nonzero().view(-1)
        if places.numel() >= count:
            return places
    return torch.arange(magnitudes.numel(), device=magnitudes.device)
