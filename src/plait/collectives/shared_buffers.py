"""Operations on memory that all ranks of a group see, each other's too: nothing is copied on the way.

    all-reduce         phase │ sum one's own slice of all, write it to all      │ phase
    reduce-scatter     phase │ sum one's own part of all, where it lies         │ phase
    all-gather         phase │ read the others' parts, each into the same place │ phase

The second phase says that all are done: nobody writes what others still read.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
from torch import Tensor

from plait.collectives.arena import SLOT_BYTES, Arena
from plait.collectives.phases import ALL_GATHER, ALL_REDUCE, REDUCE_SCATTER, SHARING, Combine, bounds, combined, phase
from plait.collectives.progress import Steps
from plait.collectives.segment import attached, created, mapped
from plait.collectives.wire import Buffer, Parts

__all__ = ["gather_parts", "reduce_buffer", "reduce_parts", "share"]


def reduce_buffer(arena: Arena, buffers: Sequence[Tensor], combine: Combine) -> Steps:
    """All ranks' buffers become their sum (or maximum), the same bits everywhere."""
    code = ALL_REDUCE | buffers[0].nbytes
    yield from phase(arena, code)
    start, stop = bounds(buffers[0].numel(), arena.size)[arena.index]
    step = SLOT_BYTES // buffers[0].itemsize
    for first in range(start, stop, step):
        pieces = [buffer[first : min(first + step, stop)] for buffer in buffers]
        combined(pieces, combine, pieces[0])
        for piece in pieces[1:]:
            piece.copy_(pieces[0])
    yield from phase(arena, code)


def reduce_parts(arena: Arena, buffer: Buffer, part: Sequence[Tensor]) -> Steps:
    """This rank's part of its buffer becomes the sum over all buffers."""
    code = REDUCE_SCATTER | buffer.own.nbytes
    yield from phase(arena, code)
    for piece in part:
        for rows in _in_cache(piece):
            combined([_at_same_place(rows, buffer.own, other) for other in buffer.all], torch.add, rows)
    yield from phase(arena, code)


def gather_parts(arena: Arena, buffer: Buffer, parts: Parts) -> Steps:
    """The others' parts, each from its owner's buffer into this one."""
    code = ALL_GATHER | buffer.own.nbytes
    yield from phase(arena, code)
    for place, part in enumerate(parts):
        if place != arena.index:
            for piece in part:
                piece.copy_(_at_same_place(piece, buffer.own, buffer.all[place]))
    yield from phase(arena, code)


def share(arena: Arena, size: int, buffers: list[Tensor]) -> Steps:
    """A new buffer of `size` bytes, other ranks' may have others; `buffers` gets all of them as this rank sees them, by
    place."""
    descriptor = created(size)
    try:
        own = mapped(descriptor, size)
        places = arena.slots(torch.int64, 3)
        places[arena.index].copy_(torch.tensor([os.getpid(), descriptor, size]))
        yield from phase(arena, SHARING)
        for place, (process, number, there) in enumerate(slot.tolist() for slot in places):
            buffers.append(own if place == arena.index else attached(process, number, there))
        yield from phase(arena, SHARING)  # all have attached
    finally:
        os.close(descriptor)


def _in_cache(piece: Tensor) -> Sequence[Tensor]:
    """The piece, or runs of its rows that stay in the processor's cache while several ranks' are summed."""
    rows = piece.shape[0] if piece.dim() else 0
    return piece.split(max(1, rows * SLOT_BYTES // piece.nbytes)) if piece.nbytes > SLOT_BYTES else (piece,)


def _at_same_place(piece: Tensor, own: Tensor, other: Tensor) -> Tensor:
    """The elements of another rank's buffer that lie where `piece` lies in one's own."""
    offset = piece.storage_offset() - own.storage_offset() + other.storage_offset()
    return other.as_strided(piece.shape, piece.stride(), offset)
