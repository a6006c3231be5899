"""Sums whose steps are sends and receives between pairs of ranks, written out in Python; ring and halving-doubling are
two ways.

It needs nothing but sends and receives of the wire below, and so goes between any of a group's ranks. It is for tensors
of CPUs: an accelerator's wire follows streams, of which a line of tasks knows nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from plait.collectives.background import Task
from plait.collectives.peers import Peers
from plait.collectives.wire import Combination

__all__ = ["Combine", "Stepwise", "cut"]

Combine = Callable[..., Tensor]
_COMBINE: dict[str, Combine] = {"sum": torch.add, "max": torch.maximum}


def cut(flat: Tensor, parts: int) -> list[Tensor]:
    """As many views as parts, all but the last ones of equal size; what is left over is empty."""
    step = -(-flat.numel() // parts)
    return [flat[place * step : (place + 1) * step] for place in range(parts)]


class Stepwise(ABC):
    """Sums among `peers`. What is named by what it does is performed at once, step by step; what is started, by the
    peers' line, one after the other."""

    def __init__(self, peers: Peers) -> None:
        self._peers = peers
        self.index, self.size = peers.index, peers.size

    @abstractmethod
    def reduce_all(self, flat: Tensor, combine: Combine) -> None:
        """An all-reduce, step by step, in place."""

    def all_reduce(self, flat: Tensor, operation: Combination) -> Task:
        """Start it; as `Wire`."""
        return self.start(partial(self.reduce_all, flat, _COMBINE[operation]))

    def start(self, steps: Callable[[], object]) -> Task:
        """Start other steps of these peers, when their turn has come."""
        return self._peers.line.start(steps)
