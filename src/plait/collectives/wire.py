"""What a group's messages travel on, as the collectives see it.

    shared_memory                    between processes of one host
    c10d                             gloo between hosts, NCCL between accelerators
    hierarchical                     several ranks on several hosts: shared memory inside, one of those below across
    ring, halving_doubling, cheapest step by step, over c10d's sends and receives

Tensors on it are flat and contiguous. Everything is started first and waited for later, and all ranks of the group
start the same things in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor, dtype

__all__ = ["Buffer", "Combination", "Exchange", "Parts", "Started", "Transfer", "Wire", "Work"]

Combination = Literal["sum", "max"]
Parts = Sequence[Sequence[Tensor]]  # by place: the views of a buffer's own that are that rank's part of it


class Work(Protocol):
    """Something under way."""

    def wait(self) -> object:
        """Return when it is done."""
        ...


@dataclass(frozen=True)
class Started:
    """A collective under way, and what it leaves, to be asked for when its work is done: a tensor from each rank, or
    one tensor alone."""

    work: Work
    results: Callable[[], Sequence[Tensor]]

    def wait(self) -> Sequence[Tensor]:
        """The results, once they are there."""
        self.work.wait()
        return self.results()


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """One tensor to or from the rank at place `peer` of the group. A received tensor is written in place."""

    direction: Literal["send", "receive"]
    tensor: Tensor
    peer: int


@dataclass(frozen=True, eq=False)
class Buffer:
    """Memory that a group works on long: this rank's `own`; where ranks see each other's, `all` of them, by place."""

    own: Tensor
    all: Sequence[Tensor] = ()


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """Transfers under way."""

    receives: Sequence[Work]
    sends: Sequence[Work]

    def wait(self) -> None:
        """All has arrived, and left."""
        for work in (*self.receives, *self.sends):
            work.wait()


class Wire(Protocol):
    """What each wire can do; `name` is told in measurements."""

    @property
    def name(self) -> str:
        """The backend."""
        ...

    @property
    def in_background(self) -> bool:
        """Whether what is started goes on while the program computes, and not only while it waits."""
        ...

    def receives_ahead(self, peer: int) -> bool:
        """Whether a receive from place `peer` that is started long before it is needed goes on by itself, and holds
        nothing else up."""
        ...

    def all_reduce(self, flat: Tensor, operation: Combination) -> Work:
        """Sum or maximum, in place; the same bits on all ranks."""
        ...

    def all_gather(self, flat: Tensor, counts: Sequence[int]) -> Started:
        """Every rank's tensor, of `counts` elements."""
        ...

    def reduce_scatter(self, parts: Sequence[Tensor]) -> Started:
        """The sum of what all ranks give as this one's part."""
        ...

    def all_to_all(self, parts: Sequence[Tensor], counts: Sequence[int]) -> Started:
        """What every rank has as this one's part, of `counts` elements."""
        ...

    def broadcast(self, flat: Tensor, root: int) -> Work:
        """The tensor of the rank at place `root`, in place."""
        ...

    def exchange(self, transfers: Sequence[Transfer]) -> Exchange:
        """Start all of them at once, in either direction."""
        ...

    def buffer(self, count: int, of: dtype) -> Buffer | None:
        """Zeros from which an all-reduce of the whole copies nothing, for as long as the buffer is held; None where the
        wire has no such. All ranks ask together, those that use it as a whole for as much."""
        ...

    def all_gather_of(self, buffer: Buffer, counts: Sequence[int]) -> Started:
        """What lies in every rank's buffer, of `counts` elements. The results may be the others' memory itself: nobody
        writes to a buffer before all have read them."""
        ...

    def reduce_scatter_in(self, buffer: Buffer, parts: Parts) -> Work:
        """This rank's part of the buffer becomes the sum over all ranks; what the rest of it holds is not said."""
        ...

    def all_gather_in(self, buffer: Buffer, parts: Parts) -> Work:
        """Every rank's part of its buffer, to the same place in all others."""
        ...
