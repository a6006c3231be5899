"""What a rank's model remembers from step to step beside its weights: what is owed, and what averages go by.

    compressed sums    what a bucket has not sent yet (`owed`), and powersgd's last Q (`right`)
    averages           the weights as replicas last met, and DiLoCo's outer momentum

All of it is told and taken back by the names of weights, as it is saved. It knows buckets and sums, and no stage.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from plait.collectives.compression import Compressed
from plait.collectives.process_groups import Group
from plait.parallel.data_parallel import piece_of
from plait.parallel.gradients import perform_reductions
from plait.parallel.local_sgd import Averaging
from plait.plans.holdings import Held, Piece
from plait.plans.plan import Plan
from plait.plans.reductions import Reduction

__all__ = ["Carried"]


@dataclass(frozen=True, kw_only=True)
class Carried:
    """One rank's. `compressed` goes with `buckets`, where there is any; `later` are the sums that follow those over the
    data axis; `answers_for` tells the pieces of a weight that this rank counts, of all that hold them."""

    plan: Plan
    buckets: Sequence[Sequence[Held]]
    compressed: Sequence[Compressed]
    averaging: Averaging | None
    gradients: Mapping[str, torch.Tensor]
    kept: Mapping[str, Held]
    later: Sequence[tuple[Reduction, Group]]
    answers_for: Callable[[Held], Sequence[Piece]]

    @property
    def nbytes(self) -> int:
        """Bytes of what compressed sums and averages keep from step to step."""
        return sum(one.nbytes for one in self.compressed) + (self.averaging.nbytes if self.averaging else 0)

    @property
    def owed(self) -> dict[str, torch.Tensor]:
        """By name, what compressed sums have not sent yet of this rank's gradients; no weight that travels whole."""
        buckets = zip(self.buckets, self.compressed, strict=True) if self.compressed else ()
        return {bucket[place].weight.name: owed for bucket, sums in buckets for place, owed in sums.owed.items()}

    def owed_in_all(self) -> dict[str, torch.Tensor]:
        """The same of every weight, where tensor ranks or stages hold elements in common as what they owe together: as
        it is saved. Averages take the first holder's, which owes alone. Every rank calls it: it sums over ranks."""
        owed = {name: torch.zeros_like(gradient) for name, gradient in self.gradients.items()}
        for name, mine in self.owed.items():
            owed[name].copy_(mine)
        if not self.plan.averages:
            perform_reductions(owed, self.later)
        return owed

    @property
    def right(self) -> dict[str, torch.Tensor]:
        """By name, powersgd's last Q (columns, rank) of this rank's slice of each compressed weight."""
        buckets = zip(self.buckets, self.compressed, strict=True) if self.compressed else ()
        return {bucket[place].weight.name: q for bucket, sums in buckets for place, q in sums.right.items()}

    @property
    def outer_momentum(self) -> Mapping[str, torch.Tensor]:
        """By name, that of DiLoCo's outer optimizer."""
        return self.averaging.momentum if self.averaging else {}

    @property
    def together(self) -> bool:
        """Whether all replicas have the same weights."""
        return self.averaging is None or self.averaging.together

    @torch.no_grad()
    def go_on(
        self,
        masters: Mapping[str, torch.Tensor],
        outer: Mapping[str, torch.Tensor],
        owed: Mapping[str, torch.Tensor],
        right: Mapping[str, torch.Tensor],
    ) -> None:
        """Take over what a run that was saved has kept from step to step, by name: the masters, alike on all replicas,
        and what `outer_momentum`, `owed_in_all` and `right` had; what is not given is zero, or stays as it was drawn.
        What several ranks owe together the first of them owes from here."""
        if self.averaging is not None:
            self.averaging.begin_from(masters)
            for name, momentum in self.averaging.momentum.items():
                momentum.copy_(outer[name]) if name in outer else momentum.zero_()
        mine = self.owed
        for name, tensor in mine.items():
            tensor.zero_()
            for piece in self.answers_for(self.kept[name]) if name in owed else ():
                piece_of(mine, piece).copy_(piece_of(owed, piece))
        for name, q in self.right.items():
            q.copy_(right.get(name, q))
