"""Which rows of the global batch a data rank has, and into which microbatches it cuts them.

    global batch of 11, data_shares = [2, 1], microbatch = 3
    data rank 0    [ 0 1 2 | 3 4 5 | 6 ]          three microbatches, the last one smaller
    data rank 1    [ 7 8 9 | 10 ]                 two
    rounds           0       1       2            as many as the rank with the most has

Rows are shared out in proportion to `data_shares`, by largest remainder. All ranks of one pipeline have the same rows.
Trainer, verify, planner and tests ask here; nothing else divides a batch. It knows a plan and a number of sequences.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from heapq import heapify, heapreplace
from typing import NamedTuple

from plait.plans.plan import Plan
from plait.sharding.boxes import Interval, shares

__all__ = [
    "balanced_shares",
    "cut",
    "microbatches_of",
    "rounds_of",
    "row_counts",
    "rows_of",
    "sizes_of",
]


def rows_of(plan: Plan, global_batch: int, data_rank: int) -> Interval:
    """The rows [start, stop) of the global batch that a data rank has; none of those that only serve."""
    return _dealt(plan, global_batch).rows[data_rank]


def row_counts(plan: Plan, global_batch: int) -> tuple[int, ...]:
    """How many rows each data rank has."""
    return _dealt(plan, global_batch).counts


def microbatches_of(plan: Plan, global_batch: int, data_rank: int) -> tuple[int, ...]:
    """The rows of each of its microbatches; the last one may have fewer than the others."""
    start, stop = rows_of(plan, global_batch, data_rank)
    return cut(stop - start, plan.microbatch)


@lru_cache(maxsize=1024)
def cut(rows: int, microbatch: int) -> tuple[int, ...]:
    """So many rows in microbatches, of which the last may have fewer than the others."""
    return tuple(min(microbatch, rows - first) for first in range(0, rows, microbatch))


def sizes_of(plan: Plan, global_batch: int, data_rank: int) -> Counter[int]:
    """How many of its microbatches have so many rows: there are two sizes at most."""
    start, stop = rows_of(plan, global_batch, data_rank)
    whole, rest = divmod(stop - start, plan.microbatch)
    return Counter({size: count for size, count in ((plan.microbatch, whole), (rest, 1)) if size and count})


def rounds_of(plan: Plan, global_batch: int) -> int:
    """How many microbatches the data rank with the most of them has."""
    return -(-_dealt(plan, global_batch).most // plan.microbatch)


class _Dealt(NamedTuple):
    """The rows of each data rank, how many they are, and the most of them."""

    rows: tuple[Interval, ...]
    counts: tuple[int, ...]
    most: int


def _dealt(plan: Plan, global_batch: int) -> _Dealt:
    return _deal(plan.data_shares, plan.workers, plan.data, global_batch)


@lru_cache(maxsize=1024)
def _deal(data_shares: tuple[float, ...], workers: int, data: int, global_batch: int) -> _Dealt:
    rows = (*shares(global_batch, data_shares[:workers]), *((global_batch, global_batch),) * (data - workers))
    counts = tuple(stop - start for start, stop in rows)
    return _Dealt(rows, counts, max(counts))


def balanced_shares(speeds: Sequence[float], global_batch: int) -> tuple[int, ...]:
    """The sequences of each rank, one at least, with which the slowest one is done first, in sequences a second.

    Given to the ranks one by one, each to the one that would then be done first: no other way is faster, since the
    k-th sequence of a rank is done at k / speed, and these are the earliest. Raises ValueError for a speed that is not
    above 0, or fewer sequences than ranks.
    """
    if not speeds or min(speeds) <= 0:
        raise ValueError(f"each rank does more than 0 sequences a second: {list(speeds)}")
    if global_batch < len(speeds):
        raise ValueError(f"{global_batch} sequences are too few for {len(speeds)} ranks: each needs one")
    counts = [1] * len(speeds)
    ends = [(2 / speed, rank) for rank, speed in enumerate(speeds)]
    heapify(ends)
    for _ in range(global_batch - len(speeds)):
        _, rank = ends[0]
        counts[rank] += 1
        heapreplace(ends, ((counts[rank] + 1) / speeds[rank], rank))
    return tuple(counts)
