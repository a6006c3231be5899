"""Compressed sums of ranks of several hosts: each host sums first, and what is compressed is what crosses.

    host A               host B                4 ranks, a bucket of 2 slices x y
    rank 0    rank 1     rank 2    rank 3
    x01       y01        x23       y23         gradients + all that is owed: reduce-scatter, over shared memory
    x01 ──compressed──── x23                   each with its counterparts, as among ranks that are alone
              y01 ──compressed──── y23
    xy        xy         xy        xy          all-gather, over shared memory

Inside a host nothing is lost. What is lost of a slice its host's rank at that place keeps, in the slice's part of its
residual; what lies in the rest of it, of a run that stood otherwise, goes into the next sum like any gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from torch import Tensor

from plait.collectives.functional import Handle
from plait.collectives.hierarchical import Hierarchical
from plait.collectives.payloads import OverColumn, Payloads
from plait.collectives.recorder import note
from plait.plans.compression import Message

__all__ = ["HostsFirst"]


class _Sums(Protocol):
    def start(self, flat: Tensor) -> Callable[[], Tensor]: ...


class HostsFirst:
    """The sums of a bucket on a wire of two levels; `residual`, as long, is what this rank still owes. `over` makes the
    form's sums over some ranks, with a residual of theirs; `messages` are what the recorder is told of."""

    def __init__(
        self,
        axis: str,
        wire: Hierarchical,
        over: Callable[[Payloads, Tensor], _Sums],
        residual: Tensor,
        messages: Sequence[Message],
    ) -> None:
        self._axis, self._wire, self._messages = axis, wire, messages
        self.residual = residual
        self.kept = {"residual": residual}
        owed, across = wire.levels.own_slice(residual), wire.levels.across
        self._sums = over(OverColumn(across), owed) if across is not None and owed.numel() else None

    def start(self, flat: Tensor) -> Callable[[], Tensor]:
        """Begin to sum `flat` over the group; what is returned waits for it, and gives it, summed in place."""
        for message in self._messages:
            note(self._axis, *message)
        flat.add_(self.residual)
        self.residual.zero_()
        return Handle(self._axis, self._wire.sum_by(flat, self._cross), lambda: flat).wait

    def _cross(self, ours: Tensor) -> None:
        if self._sums is not None:
            self._sums.start(ours)()
