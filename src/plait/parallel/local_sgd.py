"""Replicas that learn alone, and are brought together every H steps: local SGD, and DiLoCo.

    replica 0   w ─► step ─► step ─► … ─► w0 ╲                      local-sgd    w = mean of w0, w1
    replica 1   w ─► step ─► step ─► … ─► w1 ╱ over the data axis   diloco       d = w - mean of w0, w1
                └───────── H steps ─────────┘                       v = 0.9 v + d,  w -= 0.7 (d + 0.9 v)

Each divides its loss by its own targets and clips by its own norm; the optimizer's state stays its own. Compressed,
what travels is what the weights have changed by, with error feedback. Elements that several tensor ranks or stages hold
take the first holder's values: their replicas' sums may be taken in another order elsewhere.

Sources: Stich, "Local SGD Converges Fast and Communicates Little" (2019); Douillard et al., "DiLoCo" (2023), whose
outer optimizer and numbers these are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from plait.collectives.compression import Compressed
from plait.collectives.functional import Handle, all_reduce
from plait.collectives.process_groups import Group
from plait.models.loss import IGNORED
from plait.models.sequences import Sequences
from plait.parallel.data_parallel import GradientBuffers, piece_of
from plait.parallel.gradients import perform_reductions
from plait.plans.plan import Plan
from plait.plans.reductions import Reduction

__all__ = ["Averaging", "LocalGradients", "own_targets"]

_OUTER_RATE = 0.7
_OUTER_MOMENTUM = 0.9


def own_targets(rows: Sequences) -> int:
    """How many targets a replica's rows have; 1 where they have none, as there is nothing to divide then."""
    assert rows.targets is not None
    return max(1, int((rows.targets != IGNORED).sum()))


class LocalGradients(GradientBuffers):
    """`GradientBuffers` that each replica keeps for itself."""

    def _sum(self, number: int) -> Handle[object]:
        return Handle(self._group.axis, None, lambda: self.flat[number])


class Averaging:
    """Brings the masters of one rank's weights together with those of the other replicas.

    What travels lies in the buckets of `gradients`, which are free between an update and the next step. `sums`: for
    each bucket, where it is compressed; `later`: the sums over tensor ranks and stages that hold elements in common.
    """

    def __init__(
        self,
        plan: Plan,
        gradients: LocalGradients,
        weights: Mapping[str, Tensor],
        group: Group,
        sums: Sequence[Compressed],
        later: Sequence[tuple[Reduction, Group]],
    ) -> None:
        self._gradients, self._group, self._sums, self._later = gradients, group, sums, later
        self._outer = plan.synchronisation == "diloco"
        views = gradients.views
        moves = self._outer or sums
        self._before = {n: weights[n].detach().to(view.dtype, copy=True) for n, view in views.items()} if moves else {}
        self._momentum = {n: torch.zeros_like(view) for n, view in views.items()} if self._outer else {}

    @property
    def nbytes(self) -> int:
        """Bytes of what stays from one meeting to the next."""
        return sum(kept.nbytes for kept in (*self._before.values(), *self._momentum.values()))

    @torch.no_grad()
    def bring_together(self, masters: Mapping[str, Tensor]) -> None:
        """Give all replicas the same masters, in place. Every rank calls it."""
        views = self._gradients.views
        for name, view in views.items():
            view.copy_(masters[name])  # from host memory, it may be
            if self._before:
                torch.sub(self._before[name], view, out=view)
        for handle in [self._start(number) for number in range(len(self._gradients.flat))]:
            handle.wait()
        for flat in self._gradients.flat:
            flat.div_(self._group.size)
        self._agree(views)
        for name, mean in views.items():
            if self._before:
                self._before[name].sub_(self._outer_step(name, mean))
            masters[name].copy_(self._before.get(name, mean))

    def _start(self, number: int) -> Handle[Tensor]:
        flat = self._gradients.flat[number]
        return self._sums[number].start(flat) if self._sums else all_reduce(flat, self._group)

    def _agree(self, views: Mapping[str, Tensor]) -> None:
        """Of what ranks of other axes hold in common, the first holder's: the others add zeros to it."""
        for reduction, group in self._later:
            for piece in reduction.pieces if group.index else ():
                piece_of(views, piece).zero_()
            perform_reductions(views, [(reduction, group)])

    def _outer_step(self, name: str, mean: Tensor) -> Tensor:
        if not self._outer:
            return mean
        momentum = self._momentum[name].mul_(_OUTER_MOMENTUM).add_(mean)
        return mean.add_(momentum, alpha=_OUTER_MOMENTUM).mul_(_OUTER_RATE)
