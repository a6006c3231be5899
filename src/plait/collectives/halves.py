"""The halves of a sum in two levels by themselves: a reduce-scatter, and an all-gather. What is for the ranks of a
column, or from them, crosses in it together; hosts with more ranks than there are columns hand on the rest.

    host A: 0 1, host B: 2 3; rank 0 is to own a, 1 b, 2 c, 3 d

                      rank 0     rank 1     rank 2     rank 3
    inside            a01 c01    b01 d01    a23 c23    b23 d23      reduce-scatter of (a c) and (b d)
    across, 0 ◄─► 2   a0123                 c0123                   reduce-scatter of a and c
            1 ◄─► 3              b0123                 d0123

Half of the tensor leaves each host, where a ring through all four sends three quarters. An all-gather goes the same way
back.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from plait.collectives.levels import Levels, crossed
from plait.collectives.progress import Steps

__all__ = ["gather", "scatter"]


def scatter(levels: Levels, parts: Sequence[Tensor], result: Tensor) -> Steps:
    """Fill `result` with the sum of what all ranks have as this one's part. `parts` are only read."""
    columns, nothing = levels.columns, result[:0]
    slices = [torch.cat([parts[place] for place in column]) for column in columns.all]
    ours = yield from levels.scattered(slices)
    mine = [nothing]  # by those of this host for whom something crosses in this column
    if levels.across is not None and columns.own is not None:
        counts = [[parts[place].numel() for place in host] for host in columns.places(columns.own)]
        blocks = ours.split([sum(some) for some in counts])
        yield from crossed(levels.across.start(partial(levels.across.reduce_parts, blocks)))
        mine = list(blocks[columns.host].split(counts[columns.host]))
    if columns.handed_on:
        sent = [nothing] * len(columns.here)
        if columns.own is not None:
            sent[columns.own :: columns.number] = mine
        by = columns.local % columns.number
        expected = [result.numel() * (local == by) for local in range(len(columns.here))]
        mine = [(yield from levels.traded(sent, expected))[by]]
    result.copy_(mine[0])


def gather(levels: Levels, flat: Tensor, counts: Sequence[int], results: list[Tensor]) -> Steps:
    """Append every rank's tensor, of `counts` elements, to `results`, by place."""
    columns, nothing = levels.columns, flat[:0]
    here = () if columns.own is None else columns.places(columns.own)[columns.host]
    mine = [flat]
    if columns.handed_on:
        sent = [nothing] * len(columns.here)
        sent[columns.local % columns.number] = flat
        arrived = yield from levels.traded(sent, [counts[place] * (place in here) for place in columns.here])
        mine = [part for place, part in zip(columns.here, arrived, strict=True) if place in here]
    ours = nothing
    if levels.across is not None and columns.own is not None:
        sizes = [sum(counts[place] for place in host) for host in columns.places(columns.own)]
        ours = flat.new_empty(sum(sizes))
        blocks = ours.split(sizes)
        torch.cat(mine, out=blocks[columns.host])
        yield from crossed(levels.across.start(partial(levels.across.gather_parts, blocks)))
    whole = yield from levels.gathered(ours, [sum(counts[place] for place in column) for column in columns.all])
    found: dict[int, Tensor] = {}
    for column, values in zip(columns.all, whole, strict=True):
        found.update(zip(column, values.split([counts[place] for place in column]), strict=True))
    results.extend(found[place] for place in range(len(counts)))
