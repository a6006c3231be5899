"""Collectives in two levels, for ranks of several hosts with several on one: what crosses crosses once a host.

                 host A               host B                 4 ranks, tensor of 2 slices x y
             rank 0    rank 1     rank 2    rank 3
    inside   x01       y01        x23       y23              reduce-scatter, over shared memory
    across   x0123 ◄──────────────► x0123                    all-reduce of a slice, among those of one place
                       y0123 ◄──────────────► y0123
    inside   xy        xy         xy        xy               all-gather, over shared memory

A ring through all four sends 3/2 of the tensor's bytes out of each host; this way it is 1. Hosts of unequal sizes have
as many slices as the smallest has ranks: where that is one, one rank a host crosses for all others. A reduce-scatter is
the first half of it, an all-gather the second, of other slices (`halves`).

A large tensor goes in pieces: while one crosses, the next is summed inside; all ranks do what is inside in one order.
Bits are the same everywhere: each slice is summed once on each host, and across by a wire that keeps to the rule.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from plait.collectives.arena import crowded
from plait.collectives.background import Task
from plait.collectives.c10d import C10d
from plait.collectives.cheapest import Cheapest
from plait.collectives.columns import Columns
from plait.collectives.halves import gather, scatter
from plait.collectives.levels import Levels, crossed
from plait.collectives.packed import Packed
from plait.collectives.progress import Operation, Queue, Steps
from plait.collectives.shared_memory import SharedMemory
from plait.collectives.stepwise import cut
from plait.collectives.wire import Combination, Exchange, Started, Transfer, Work
from plait.sharding.all_reduce import PIECE_BYTES

__all__ = ["Hierarchical"]


class Hierarchical(Packed):
    """The collectives of a group on several hosts, as `Wire` has them. `hosts`: the places that stand on each.

    `inside`: this host's shared memory, None where this rank has it for itself. `across`: among the ranks at this one's
    place on each host, None beyond the smallest host's ranks. What is neither summed nor gathered goes over `whole`,
    the group's own wire, and between two of one host through their memory.
    """

    def __init__(
        self, whole: C10d, hosts: Sequence[Sequence[int]], inside: SharedMemory | None, across: Cheapest | None
    ) -> None:
        self._whole, self.index = whole.driving(), whole.index
        self.levels = Levels(Columns(hosts, whole.index), inside, across)
        self._local = {place: number for number, place in enumerate(self.levels.columns.here)}
        self._queue = Queue(self.levels.look, spins=False, crowded=crowded())

    @property
    def name(self) -> str:
        """As `Wire`."""
        return "hierarchical"

    @property
    def standing(self) -> tuple[int, ...]:
        """How many of the group stand on each host."""
        return tuple(map(len, self.levels.columns.hosts))

    def all_reduce(self, flat: Tensor, operation: Combination) -> Operation:
        """As `Wire`."""
        return self._queue.start(self._reduce(flat, operation))

    def sum_by(self, flat: Tensor, crossing: Callable[[Tensor], object]) -> Operation:
        """Sum in place, as `all_reduce`, but across by `crossing`: it is called, where a line of steps is performed,
        with this host's sum of this rank's slice, and makes it all hosts', in place, the same bits on each of them."""
        return self._queue.start(self._sum_by(flat, crossing))

    def all_gather(self, flat: Tensor, counts: Sequence[int]) -> Started:
        """As `Wire`."""
        results: list[Tensor] = []
        return Started(self._queue.start(gather(self.levels, flat, counts, results)), lambda: results)

    def reduce_scatter(self, parts: Sequence[Tensor]) -> Started:
        """As `Wire`."""
        result = torch.empty_like(parts[self.index])
        return Started(self._queue.start(scatter(self.levels, parts, result)), lambda: [result])

    def all_to_all(self, parts: Sequence[Tensor], counts: Sequence[int]) -> Started:
        """As `Wire`."""
        return self._whole.all_to_all(parts, counts)

    def broadcast(self, flat: Tensor, root: int) -> Work:
        """As `Wire`."""
        return self._whole.broadcast(flat, root)

    def receives_ahead(self, peer: int) -> bool:
        """As `Wire`: not from one of this host, in whose memory nothing moves but while somebody waits."""
        return peer not in self._local and self._whole.receives_ahead(peer)

    def exchange(self, transfers: Sequence[Transfer]) -> Exchange:
        """As `Wire`."""
        near = [
            Transfer(direction=one.direction, tensor=one.tensor, peer=self._local[one.peer])
            for one in transfers
            if one.peer in self._local
        ]
        far = [one for one in transfers if one.peer not in self._local]
        memory = self.levels.inside
        inside = memory.exchange(near) if memory is not None else Exchange(receives=(), sends=())
        across = self._whole.exchange(far) if far else Exchange(receives=(), sends=())
        return Exchange(receives=[*inside.receives, *across.receives], sends=[*inside.sends, *across.sends])

    def _reduce(self, flat: Tensor, operation: Combination) -> Steps:
        across = self.levels.across
        crossing: deque[tuple[Tensor, Tensor, Task | None]] = deque()
        for piece in flat.split(max(PIECE_BYTES // flat.itemsize, 1)) if flat.numel() else ():
            ours = yield from self.levels.summed(piece, operation)
            crossing.append((piece, ours, across.all_reduce(ours, operation) if across else None))
            if len(crossing) > 1:
                yield from self._given_out(*crossing.popleft())
        while crossing:
            yield from self._given_out(*crossing.popleft())

    def _sum_by(self, flat: Tensor, crossing: Callable[[Tensor], object]) -> Steps:
        across = self.levels.across
        ours = yield from self.levels.summed(flat, "sum")
        yield from self._given_out(flat, ours, across.start(partial(crossing, ours)) if across else None)

    def _given_out(self, piece: Tensor, ours: Tensor, crossing: Task | None) -> Steps:
        """Every slice's sum over all hosts, to all of this one, into the piece; some of it at a time."""
        yield from crossed(crossing)
        if self.levels.inside is None:
            return
        slices = cut(piece, self.levels.columns.number)
        room = -(-max(PIECE_BYTES // piece.itemsize, 1) // len(slices))
        for first in range(0, slices[0].numel(), room):
            some = [part[first : first + room] for part in slices]
            found = yield from self.levels.gathered(ours[first : first + room], [part.numel() for part in some])
            for part, values in zip(some, found, strict=True):
                part.copy_(values)
