"""A wire whose collectives are steps between pairs of ranks, written out in Python; ring and halving-doubling are two.

    all-reduce        cut the tensor into a part for each rank ─► reduce: each has the sum of its own ─► gather them all
    reduce-scatter    the parts one after the other            ─► reduce
    all-gather        each its own part                                                               ─► gather

It needs nothing but sends and receives of the wire below, and so goes between any of a group's ranks. It is for tensors
of CPUs: an accelerator's wire follows streams, of which a line of tasks knows nothing.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from plait.collectives.background import Task
from plait.collectives.packed import Packed
from plait.collectives.peers import Peers
from plait.collectives.wire import Combination, Exchange, Started, Transfer, Work

__all__ = ["Combine", "Stepwise", "cut"]

Combine = Callable[..., Tensor]
_COMBINE: dict[str, Combine] = {"sum": torch.add, "max": torch.maximum}


def cut(flat: Tensor, parts: int) -> list[Tensor]:
    """As many views as parts, all but the last ones of equal size; what is left over is empty."""
    step = -(-flat.numel() // parts)
    return [flat[place * step : (place + 1) * step] for place in range(parts)]


class Stepwise(Packed):
    """The collectives among `peers`, as `Wire` has them; an algorithm says how parts are reduced and gathered."""

    def __init__(self, peers: Peers) -> None:
        self._peers = peers
        self.index = peers.index

    @property
    @abstractmethod
    def name(self) -> str:
        """As `Wire`."""

    @abstractmethod
    def reduce_all(self, flat: Tensor, combine: Combine) -> None:
        """An all-reduce, step by step, in place."""

    @abstractmethod
    def reduce_parts(self, parts: Sequence[Tensor], combine: Combine) -> None:
        """Make the own part the sum of all ranks'; the others' are left half summed."""

    @abstractmethod
    def gather_parts(self, parts: Sequence[Tensor]) -> None:
        """Fill the others' parts."""

    def all_reduce(self, flat: Tensor, operation: Combination) -> Task:
        """As `Wire`."""
        return self._start(partial(self.reduce_all, flat, _COMBINE[operation]))

    def all_gather(self, flat: Tensor, counts: Sequence[int]) -> Started:
        """As `Wire`."""
        parts = list(flat.new_empty(sum(counts)).split(list(counts)))
        parts[self._peers.index].copy_(flat)
        return Started(self._start(partial(self.gather_parts, parts)), lambda: parts)

    def reduce_scatter(self, parts: Sequence[Tensor]) -> Started:
        """As `Wire`. What is given is copied: sums are taken in the copy."""
        copies = torch.cat(list(parts)).split([part.numel() for part in parts])
        work = self._start(partial(self.reduce_parts, copies, torch.add))
        return Started(work, lambda: [copies[self._peers.index]])

    def all_to_all(self, parts: Sequence[Tensor], counts: Sequence[int]) -> Started:
        """As `Wire`: everybody with everybody at once."""
        results = [parts[0].new_empty(count) for count in counts]
        results[self._peers.index].copy_(parts[self._peers.index])
        return Started(self._start(partial(self._trade, parts, results)), lambda: results)

    def broadcast(self, flat: Tensor, root: int) -> Work:
        """As `Wire`: down a tree, whose ranks double with each step."""
        return self._start(partial(self._spread, flat, root))

    def receives_ahead(self, peer: int) -> bool:
        """As `Wire`, which is what the wire below says."""
        return self._peers.over.receives_ahead(self._peers.places[peer])

    def exchange(self, transfers: Sequence[Transfer]) -> Exchange:
        """As `Wire`, which is what the wire below has."""
        places = self._peers.places
        moved = [Transfer(direction=one.direction, tensor=one.tensor, peer=places[one.peer]) for one in transfers]
        return self._peers.over.exchange(moved)

    def _start(self, steps: Callable[[], object]) -> Task:
        return self._peers.line.start(steps)

    def _trade(self, parts: Sequence[Tensor], results: Sequence[Tensor]) -> None:
        peers = self._peers
        others = [place for place in range(peers.size) if place != peers.index]
        works = [peers.receive(results[other], other) for other in others if results[other].numel()]
        works += [peers.send(parts[other], other) for other in others if parts[other].numel()]
        for work in works:
            work.wait()

    def _spread(self, flat: Tensor, root: int) -> None:
        peers = self._peers
        place = (peers.index - root) % peers.size  # the root is 0, and step s reaches those below 2^(s+1)
        reach = 1 << place.bit_length()
        if not flat.numel():
            return
        if place:
            peers.receive(flat, (place - reach // 2 + root) % peers.size).wait()
        sends: list[Work] = []
        while place + reach < peers.size:
            sends.append(peers.send(flat, (place + reach + root) % peers.size))
            reach *= 2
        for send in sends:
            send.wait()
