"""The two levels of a group on several hosts, as steps that an operation takes: inside a host over its shared memory,
and across among the ranks of a column.

    scattered    slices of all ranks of a host ─► the sum of one's own
    gathered     one's own slice               ─► those of all ranks of a host
    traded       one tensor for each rank of a host
    crossed      what a line of steps performs meanwhile

Each is a generator, driven as all that rests in shared memory is. Of the ranks of a host the first ones have slices.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

from torch import Tensor

from plait.collectives.background import Task
from plait.collectives.cheapest import Cheapest
from plait.collectives.columns import Columns
from plait.collectives.progress import NAP_SECONDS, Awaited, Queue, Steps
from plait.collectives.shared_memory import SharedMemory
from plait.collectives.stepwise import cut
from plait.collectives.wire import Combination

__all__ = ["Levels", "crossed"]

_TensorSteps = Generator[Awaited, None, Tensor]
_TensorsSteps = Generator[Awaited, None, Sequence[Tensor]]


@dataclass(frozen=True)
class Levels:
    """`inside`: this host's shared memory, None where this rank has it for itself. `across`: among the ranks of this
    one's column, None where it has none."""

    columns: Columns
    inside: SharedMemory | None
    across: Cheapest | None

    def own_slice(self, flat: Tensor) -> Tensor:
        """The part of a tensor of which this rank sums what crosses: nothing where it has no column."""
        return flat[:0] if self.columns.own is None else cut(flat, self.columns.number)[self.columns.own]

    def summed(self, flat: Tensor, operation: Combination) -> _TensorSteps:
        """This host's sum of this rank's slice of a tensor."""
        if self.inside is None:
            return flat
        if operation == "max":
            self.inside.all_reduce(flat, operation)
            yield _Ended(self.inside.queue)
            return self.own_slice(flat)
        return (yield from self.scattered(cut(flat, self.columns.number)))

    def scattered(self, slices: Sequence[Tensor]) -> _TensorSteps:
        """This host's sum of this rank's slice; of nothing, for ranks beyond them."""
        if self.inside is None:
            return slices[0]
        started = self.inside.reduce_scatter([*slices, *[slices[0][:0]] * self._beyond(slices)])
        yield _Ended(self.inside.queue)
        return started.results()[0]

    def gathered(self, ours: Tensor, counts: Sequence[int]) -> _TensorsSteps:
        """Every slice, of `counts` elements."""
        if self.inside is None:
            return [ours]
        started = self.inside.all_gather(ours, [*counts, *[0] * self._beyond(counts)])
        yield _Ended(self.inside.queue)
        return started.results()[: len(counts)]

    def traded(self, sent: Sequence[Tensor], expected: Sequence[int]) -> _TensorsSteps:
        """What every rank of this host has for this one, of so many elements `expected`."""
        assert self.inside is not None, "a rank that has its host for itself has nobody there to trade with"
        started = self.inside.all_to_all(sent, expected)
        yield _Ended(self.inside.queue)
        return started.results()

    def look(self, seconds: float, needed: Awaited) -> None:
        """Inside, ranks are looked at; a crossing ends by itself, with an error if need be."""
        queue = self.inside.queue if self.inside is not None else None
        if queue is not None and queue.needed is not None:
            queue.look(seconds, queue.needed)

    def _beyond(self, slices: Sequence[object]) -> int:
        return len(self.columns.here) - len(slices)


def crossed(crossing: Task | None) -> Steps:
    """Wait for what crosses, if anything does."""
    if crossing is not None:
        yield _Crossed(crossing)
        crossing.wait()


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
