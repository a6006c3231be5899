"""Replicas that learn alone, and are brought together every H steps: local SGD, and DiLoCo.

    replica 0   w ─► step ─► step ─► … ─► w0 ╲                      local-sgd    w = mean of w0, w1
    replica 1   w ─► step ─► step ─► … ─► w1 ╱ over the data axis   diloco       d = w - mean of w0, w1
                └───────── H steps ─────────┘                                    v = μ v + d,  w -= 0.7 (d + μ v)

Each divides its loss by its own targets and clips by its own norm; the optimizer's state stays its own. In a mean each
counts by the targets that it has learned from since the last one, so that rows weigh alike wherever they are.
Compressed, what travels is what the weights have changed by, with error feedback. Elements that several tensor ranks or
stages hold take the first holder's values: their replicas' sums may be taken in another order elsewhere. Which steps
are meetings, which are dense, and when a meeting's averages arrive, is said by `plans.meetings`:

    in step     meeting │ w = said                        late     meeting ─► step │ w += said - (w as it left)

Sources: Stich, "Local SGD Converges Fast and Communicates Little" (2019); Douillard et al., "DiLoCo" (2023), whose
outer optimizer and rate these are (its momentum: `outer_momentum`), and "Streaming DiLoCo with overlapping
communication" (2025).
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
from plait.plans.meetings import OUTER_RATE, Pace, arrives_late, outer_momentum
from plait.plans.plan import Plan
from plait.plans.reductions import Reduction

__all__ = ["Averaging", "LocalGradients", "targets_of"]


def targets_of(rows: Sequences) -> int:
    """How many targets a replica's rows have."""
    assert rows.targets is not None
    return int((rows.targets != IGNORED).sum())


class LocalGradients(GradientBuffers):
    """`GradientBuffers` that each replica keeps for itself, but in `dense` steps."""

    dense = False

    def _sum(self, number: int) -> Handle[object]:
        return super()._sum(number) if self.dense else Handle(self._group.axis, None, lambda: self.flat[number])


class Averaging:
    """Brings the masters of one rank's weights together with those of the other replicas.

    What travels is made in the buckets of `gradients`, which are free between an update and the next step, and leaves
    from there where all wait for it; else from copies. `sums`: for each bucket, where it is compressed; `later`: the
    sums over tensor ranks and stages that hold elements in common.
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
        self._outer_momentum = outer_momentum(plan.data)
        self._late = arrives_late(plan, in_background=group.wire is not None and group.wire.in_background)
        views = gradients.views
        moves = self._outer or sums
        self._before = {n: weights[n].detach().to(view.dtype, copy=True) for n, view in views.items()} if moves else {}
        self.momentum = {n: torch.zeros_like(view) for n, view in views.items()} if self._outer else {}
        self.together = True  # whether all replicas have the same masters
        self._own = self._all = 0  # targets since the last meeting: this replica's, and all replicas'
        self._left: dict[str, Tensor] = {}  # the masters as they were when the meeting under way began
        self._under_way: list[Handle[Tensor]] = []

    @property
    def nbytes(self) -> int:
        """Bytes of what stays from one meeting to the next."""
        return sum(kept.nbytes for kept in (*self._before.values(), *self.momentum.values()))

    def learns_from(self, own: int, of: int) -> None:
        """This replica is about to learn from `own` targets of a batch that has `of`."""
        self._own += own
        self._all += of

    @torch.no_grad()
    def attend(self, masters: Mapping[str, Tensor], pace: Pace) -> bool:
        """After an update, do what the pace of the step asks; whether it has written to the masters. Every rank calls
        it. After a step that settles all replicas have the same masters."""
        self.together = pace == "dense"
        if self.together:
            self.begin_from(masters)
            return False
        arrives = bool(self._under_way)
        if arrives:
            self._arrive(masters)
        if pace == "alone":
            return arrives
        self._depart(masters, late=self._late and pace == "meets")
        if self._left:
            return arrives
        self._arrive(masters)
        self.together = True
        return True

    @torch.no_grad()
    def begin_from(self, masters: Mapping[str, Tensor]) -> None:
        """Replicas that have the same masters learn alone from there."""
        self._own = self._all = 0
        for name, before in self._before.items():
            before.copy_(masters[name])

    def _depart(self, masters: Mapping[str, Tensor], *, late: bool) -> None:
        counts = self._own * self._group.size / self._all if self._all else 1.0  # for so many of equal replicas
        self._own = self._all = 0
        for name, view in self._gradients.views.items():
            view.copy_(masters[name])  # from host memory, it may be
            if self._before:
                torch.sub(self._before[name], view, out=view)
            if counts != 1.0:
                view.mul_(counts)
        self._left = {name: master.detach().clone() for name, master in masters.items()} if late else {}
        leaving = [flat.clone() if late else flat for flat in self._gradients.flat]
        self._under_way = [self._start(number, flat) for number, flat in enumerate(leaving)]

    def _start(self, number: int, flat: Tensor) -> Handle[Tensor]:
        return self._sums[number].start(flat) if self._sums else all_reduce(flat, self._group)

    def _arrive(self, masters: Mapping[str, Tensor]) -> None:
        """The masters become what the meeting says; what they have learned since it began is theirs on top of it."""
        views = self._gradients.views
        for flat, handle in zip(self._gradients.flat, self._under_way, strict=True):
            torch.div(handle.wait(), self._group.size, out=flat)
        self._under_way = []
        self._agree(views)
        for name, mean in views.items():
            if self._before:
                self._before[name].sub_(self._outer_step(name, mean))
            said = self._before.get(name, mean)
            master = masters[name]
            master.add_(said.to(master.device) - self._left[name]) if self._left else master.copy_(said)
        self._left = {}

    def _agree(self, views: Mapping[str, Tensor]) -> None:
        """Of what ranks of other axes hold in common, the first holder's: the others add zeros to it."""
        for reduction, group in self._later:
            for piece in reduction.pieces if group.index else ():
                piece_of(views, piece).zero_()
            perform_reductions(views, [(reduction, group)])

    def _outer_step(self, name: str, mean: Tensor) -> Tensor:
        if not self._outer:
            return mean
        momentum = self.momentum[name].mul_(self._outer_momentum).add_(mean)
        return mean.add_(momentum, alpha=self._outer_momentum).mul_(OUTER_RATE)
