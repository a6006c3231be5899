"""What every operation on an arena is made of: the phase, with a code that says what it belongs to; sums in rank order.

phase   publish ─► wait for all ─► be sure that all do the same
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from plait.collectives.arena import KINDS, SIZE_BITS, Arena
from plait.collectives.progress import Steps

__all__ = [
    "ALL_GATHER",
    "ALL_REDUCE",
    "ALL_TO_ALL",
    "BROADCAST",
    "REDUCE_SCATTER",
    "SHARING",
    "Combine",
    "bounds",
    "combined",
    "phase",
]

ALL_REDUCE, REDUCE_SCATTER, ALL_GATHER, BROADCAST, ALL_TO_ALL, SHARING = (
    number << SIZE_BITS for number, _ in enumerate(KINDS, start=1)
)

Combine = Callable[..., Tensor]


def phase(arena: Arena, code: int) -> Steps:
    """Publish, wait for all, and be sure that all do the same."""
    yield arena.publish(code)
    arena.require(code)


def combined(pieces: Sequence[Tensor], combine: Combine, result: Tensor) -> None:
    """All pieces combined, in rank order, into `result`, which may be one of them."""
    still_read = any(piece.data_ptr() == result.data_ptr() for piece in pieces[2:])
    total = torch.empty_like(result) if still_read else result
    combine(pieces[0], pieces[1], out=total)
    for piece in pieces[2:]:
        combine(total, piece, out=total)
    if still_read:
        result.copy_(total)


def bounds(count: int, size: int) -> list[tuple[int, int]]:
    """Equal slices of `count` elements, whole cache lines where there are enough."""
    step = -(-count // size // 16) * 16 if count >= 16 * size else -(-count // size)
    return [(min(place * step, count), min((place + 1) * step, count)) for place in range(size)]
