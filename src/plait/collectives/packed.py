"""What a wire does with buffers when ranks can't see each other's: pieces are packed together, sent, and put back.

    pieces of a buffer   [a  ·  b ·]  [·  c  · d]     ─► a b │ c d ─► reduce-scatter, or all-gather ─► into their places

A wire that has `all_gather` and `reduce_scatter` of flat tensors gets the rest from here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from plait.collectives.wire import Buffer, Parts, Started, Work

__all__ = ["Packed", "packed", "put_back"]


class Packed(ABC):
    """The part of `Wire` that concerns buffers."""

    index: int  # this rank's place in the group
    in_background = True  # as `Wire` has it: threads of its own, or a device's

    @abstractmethod
    def all_gather(self, flat: Tensor, counts: Sequence[int]) -> Started:
        """As `Wire`."""

    @abstractmethod
    def reduce_scatter(self, parts: Sequence[Tensor]) -> Started:
        """As `Wire`."""

    def buffer(self, count: int, of: torch.dtype) -> Buffer | None:
        """As `Wire`: None, what is summed is sent from where it lies."""
        return None

    def all_gather_of(self, buffer: Buffer, counts: Sequence[int]) -> Started:
        """As `Wire`."""
        return self.all_gather(buffer.own, counts)

    def reduce_scatter_in(self, buffer: Buffer, parts: Parts) -> Work:
        """As `Wire`."""
        started = self.reduce_scatter([packed(part, buffer.own) for part in parts])
        return _Then(started.work, lambda: put_back(started.results()[0], parts[self.index]))

    def all_gather_in(self, buffer: Buffer, parts: Parts) -> Work:
        """As `Wire`."""
        counts = [sum(piece.numel() for piece in part) for part in parts]
        started = self.all_gather(packed(parts[self.index], buffer.own), counts)

        def finish() -> None:
            for place, (flat, part) in enumerate(zip(started.results(), parts, strict=True)):
                if place != self.index:
                    put_back(flat, part)

        return _Then(started.work, finish)


@dataclass(eq=False)
class _Then:
    """Work with something left to do after it, once."""

    work: Work
    finish: Callable[[], None]
    done: bool = False

    def wait(self) -> None:
        """As `Work`."""
        if not self.done:
            self.done = True
            self.work.wait()
            self.finish()


def packed(part: Sequence[Tensor], like: Tensor) -> Tensor:
    """Pieces one after another, in memory of their own; of none, nothing of the dtype of `like`."""
    return torch.cat([piece.reshape(-1) for piece in part]) if part else like.new_empty(0)


def put_back(flat: Tensor, part: Sequence[Tensor]) -> None:
    """What `packed` made, into its pieces."""
    for piece, values in zip(part, flat.split([piece.numel() for piece in part]), strict=True):
        piece.copy_(values.view(piece.shape))
