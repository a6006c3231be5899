"""Sums in two levels, for ranks of several hosts with several on one: what crosses between hosts crosses once a host.

                 host A               host B                 4 ranks, tensor of 2 slices x y
             rank 0    rank 1     rank 2    rank 3
    inside   x01       y01        x23       y23              reduce-scatter, over shared memory
    across   x0123 ◄──────────────► x0123                    all-reduce of a slice, among those of one place
                       y0123 ◄──────────────► y0123
    inside   xy        xy         xy        xy               all-gather, over shared memory

A ring through all four sends 3/2 of the tensor's bytes out of each host; this way it is 1. Hosts of unequal sizes have
as many slices as the smallest has ranks: where that is one, one rank a host crosses for all others.

A large tensor goes in pieces: while one crosses, the next is summed inside; all ranks do what is inside in one order.
Bits are the same everywhere: each slice is summed once on each host, and across by a wire that keeps to the rule.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass

from torch import Tensor

from plait.collectives.background import Task, wait_and_drive
from plait.collectives.c10d import C10d
from plait.collectives.packed import Packed
from plait.collectives.progress import NAP_SECONDS, Awaited, Operation, Queue, Steps
from plait.collectives.shared_memory import SharedMemory
from plait.collectives.stepwise import Stepwise, cut
from plait.collectives.wire import Combination, Exchange, Started, Transfer, Work
from plait.sharding.all_reduce import PIECE_BYTES

__all__ = ["Hierarchical"]

_TensorSteps = Generator[Awaited, None, Tensor]


class Hierarchical(Packed):
    """The collectives of a group on several hosts, as `Wire` has them. `hosts`: the places that stand on each.

    `inside`: this host's shared memory, None where this rank has it for itself. `across`: among the ranks at this one's
    place on each host, None beyond the smallest host's ranks. What is not summed goes over `whole`, the group's own
    wire, and between two of one host through their memory.
    """

    def __init__(
        self, whole: C10d, hosts: Sequence[Sequence[int]], inside: SharedMemory | None, across: Stepwise | None
    ) -> None:
        self._whole, self._inside, self._across = whole, inside, across
        self.index = whole.index
        here = next(host for host in hosts if whole.index in host)
        self._local = {place: number for number, place in enumerate(here)}
        self._slices = min(len(host) for host in hosts)
        self._queue = Queue(self._look, spins=False)

    @property
    def name(self) -> str:
        """As `Wire`."""
        return "hierarchical"

    def all_reduce(self, flat: Tensor, operation: Combination) -> Operation:
        """As `Wire`."""
        return self._queue.start(self._reduce(flat, operation))

    def all_gather(self, flat: Tensor, counts: Sequence[int]) -> Started:
        """As `Wire`."""
        return _driving(self._whole.all_gather(flat, counts))

    def reduce_scatter(self, parts: Sequence[Tensor]) -> Started:
        """As `Wire`."""
        return _driving(self._whole.reduce_scatter(parts))

    def all_to_all(self, parts: Sequence[Tensor], counts: Sequence[int]) -> Started:
        """As `Wire`."""
        return _driving(self._whole.all_to_all(parts, counts))

    def broadcast(self, flat: Tensor, root: int) -> Work:
        """As `Wire`."""
        return _Driving(self._whole.broadcast(flat, root))

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
        inside = self._inside.exchange(near) if self._inside is not None else Exchange(receives=(), sends=())
        across = self._whole.exchange(far) if far else Exchange(receives=(), sends=())
        return Exchange(
            receives=[*inside.receives, *map(_Driving, across.receives)],
            sends=[*inside.sends, *map(_Driving, across.sends)],
        )

    def _reduce(self, flat: Tensor, operation: Combination) -> Steps:
        crossing: deque[tuple[Tensor, Tensor, Task | None]] = deque()
        for piece in flat.split(max(PIECE_BYTES // flat.itemsize, 1)) if flat.numel() else ():
            own = cut(piece, self._slices)
            ours = yield from self._gathered_in(piece, own, operation)
            crossing.append((piece, ours, self._across.all_reduce(ours, operation) if self._across else None))
            if len(crossing) > 1:
                yield from self._given_out(*crossing.popleft())
        while crossing:
            yield from self._given_out(*crossing.popleft())

    def _gathered_in(self, piece: Tensor, slices: Sequence[Tensor], operation: Combination) -> _TensorSteps:
        """This host's sum of this rank's slice; of nothing, where it has none."""
        if self._inside is None:
            return piece
        parts = [*slices, *[piece[:0]] * (len(self._local) - len(slices))]
        if operation == "max":
            self._inside.all_reduce(piece, operation)
            yield _Ended(self._inside.queue)
            return parts[self._local[self._whole.index]]
        started = self._inside.reduce_scatter(parts)
        yield _Ended(self._inside.queue)
        return started.results()[0]

    def _given_out(self, piece: Tensor, ours: Tensor, crossing: Task | None) -> Steps:
        """Every slice's sum over all hosts, to all of this one, into the piece."""
        if crossing is not None:
            yield _Crossed(crossing)
            crossing.wait()
        if self._inside is None:
            return
        slices = cut(piece, self._slices)
        counts = [part.numel() for part in slices] + [0] * (len(self._local) - len(slices))
        gathered = self._inside.all_gather(ours, counts)
        yield _Ended(self._inside.queue)
        for part, found in zip(slices, gathered.results(), strict=False):
            part.copy_(found)

    def _look(self, seconds: float, needed: Awaited) -> None:
        """Inside, ranks are looked at; a crossing ends by itself, with an error if need be."""
        queue = self._inside.queue if self._inside is not None else None
        if queue is not None and queue.needed is not None:
            queue.look(seconds, queue.needed)


@dataclass(frozen=True)
class _Ended:
    """All that a queue had under way is done."""

    queue: Queue
    missing: Sequence[int] = ()

    @property
    def met(self) -> bool:
        return self.queue.progress()


@dataclass(frozen=True)
class _Crossed:
    """A task has ended. Looking at it leaves the interpreter to its thread for a moment."""

    task: Task
    missing: Sequence[int] = ()

    @property
    def met(self) -> bool:
        return self.task.ended(within=NAP_SECONDS)


@dataclass(frozen=True)
class _Driving:
    """The wait for a work of the wire below: what rests in shared memory goes on meanwhile."""

    work: Work

    def wait(self) -> None:
        wait_and_drive(self.work)


def _driving(started: Started) -> Started:
    return Started(_Driving(started.work), started.results)
