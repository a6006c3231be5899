"""Sums of a bucket whose matrices travel as products of two thin ones (PowerSGD: Vogels et al., NeurIPS 2019).

    M (m, n) ≈ P Qᵀ           P = M Q ──all-reduce──► orthonormal columns          (m, rank)
                              Q = Mᵀ P ──all-reduce──► and the next step's first   (n, rank)

    messages   [ all P of the bucket ]   [ tensors that are no matrices, as they are ]   [ all Q of the bucket ]

One step of the power method a step, warm from the last one's Q. M is the gradient with what was lost before; what is
lost of this rank's own is M - P (Mᵀ P)ᵀ. All ranks turn the same sums into the same bits, provided that their
processors and libraries multiply alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from itertools import accumulate
from math import prod

import torch
from torch import Tensor

from plait.collectives.functional import Handle, all_reduce
from plait.collectives.process_groups import Group
from plait.collectives.residual import drop_what_is_not_finite
from plait.plans.compression import Packing, Shape, matrix
from plait.random.normal import normal_box
from plait.random.words import stream_key

__all__ = ["PowerSGD"]


class PowerSGD:
    """The sums of one bucket of tensors of `shapes`. `residual` holds what this rank still owes of the compressed ones,
    `right` the last step's Q of all of them; both flat, in the order of the bucket."""

    def __init__(
        self,
        rank: int,
        shapes: Sequence[Shape],
        packing: Packing,
        dtype: torch.dtype,
        group: Group,
        device: torch.device,
        key: int,
    ) -> None:
        self._group, self._rank, self._key = group, rank, key
        self._compressed, self._whole = packing.compressed, packing.whole
        self._sizes = [prod(shape) for shape in shapes]
        self._matrices = [matrix(shapes[place]) for place in packing.compressed]
        self.residual = torch.zeros(sum(m * n for m, n in self._matrices), dtype=dtype, device=device)
        self._owed = _cut(self.residual, self._matrices)
        self.right = torch.empty(sum(rank * n for _, n in self._matrices), dtype=dtype, device=device)
        for number, right in enumerate(self._cut_right(self.right)):
            right.copy_(self._drawn(number))
        self.kept = {"residual": self.residual, "right": self.right}

    @property
    def rights(self) -> list[Tensor]:
        """The last step's Q (n, rank) of each matrix: views."""
        return self._cut_right(self.right)

    def start(self, flat: Tensor) -> Callable[[], Tensor]:
        """Begin to sum `flat` over the group; what is returned waits for it, and gives it, summed in place."""
        pieces = flat.split(self._sizes)
        left = self.residual.new_empty(sum(self._rank * m for m, _ in self._matrices))
        lefts = _cut(left, [(m, self._rank) for m, _ in self._matrices])
        for owed, place, p, q in zip(self._owed, self._compressed, lefts, self._cut_right(self.right), strict=True):
            owed.add_(pieces[place].view(owed.shape))  # (m, n)
            torch.mm(owed, q, out=p)  # (m, rank)
        under_way = all_reduce(left, self._group)
        plain = torch.cat([pieces[place] for place in self._whole]) if self._whole else flat[:0]
        plain_under_way = all_reduce(plain, self._group) if plain.numel() else None
        return cache(partial(self._finish, under_way, lefts, plain_under_way, flat))

    def _finish(self, left: Handle, lefts: Sequence[Tensor], plain: Handle | None, flat: Tensor) -> Tensor:
        left.wait()
        bases = [_orthonormal(p) for p in lefts]
        rights = self._cut_right(self.right)
        for owed, p, q in zip(self._owed, bases, rights, strict=True):
            torch.mm(owed.t(), p, out=q)  # (n, rank)
        own = self._cut_right(self.right.clone())
        under_way = all_reduce(self.right, self._group)
        for owed, p, q in zip(self._owed, bases, own, strict=True):
            torch.addmm(owed, p, q.t(), alpha=-1, out=owed)
        drop_what_is_not_finite(self.residual)
        under_way.wait()
        pieces = flat.split(self._sizes)
        for place, p, q in zip(self._compressed, bases, rights, strict=True):
            pieces[place].view(p.shape[0], q.shape[0]).copy_(p @ q.t())  # not in place: alignment may change the bits
        if plain is not None:
            for place, piece in zip(self._whole, plain.wait().split(self._plain_sizes()), strict=True):
                pieces[place].copy_(piece)
        self._revive(rights)
        return flat

    def _revive(self, rights: Sequence[Tensor]) -> None:
        """Draw columns of Q anew that a step without gradients, or with NaN, has left useless: 0 stays 0 for ever."""
        for number, right in enumerate(rights):
            useful = right.isfinite().all(0) & (right != 0).any(0)
            if not bool(useful.all()):
                right.copy_(torch.where(useful, right, self._drawn(number)))

    def _plain_sizes(self) -> list[int]:
        return [self._sizes[place] for place in self._whole]

    def _cut_right(self, flat: Tensor) -> list[Tensor]:
        return _cut(flat, [(n, self._rank) for _, n in self._matrices])

    def _drawn(self, number: int) -> Tensor:
        shape = (self._matrices[number][1], self._rank)
        box = ((0, shape[0]), (0, shape[1]))
        key = stream_key(self._key, "powersgd", number)
        return normal_box(key, shape, box, std=1.0, dtype=self.right.dtype).to(self.right.device)


def _orthonormal(left: Tensor) -> Tensor:
    """Orthonormal columns that span those of a sum (m, rank); NaN where it is not finite, for all to see."""
    if not bool(left.isfinite().all()):
        return torch.full_like(left, torch.nan)
    return torch.linalg.qr(left.clone()).Q.contiguous()


def _cut(flat: Tensor, shapes: Sequence[tuple[int, int]]) -> list[Tensor]:
    """Views of a flat tensor, one behind another."""
    stops = list(accumulate(m * n for m, n in shapes))
    return [flat[stop - m * n : stop].view(m, n) for (m, n), stop in zip(shapes, stops, strict=True)]
