"""Who serves what under a parameter server, and what travels: weights are shared out over those that serve.

    servers = 0      every data rank works and serves        w s │ w s │ w s │ w s
    servers = 1      the last data ranks serve alone           w │   w │   w │   s

    staleness        updated by                 weights that a step begins with contain
    0                the sum of all portions    every step before it
    k > 0            each portion as it comes   every step before it but the last k, and whatever has come of those
    -1               each portion as it comes   whatever has come

What a server has of a weight is what a data rank keeps of it under ZeRO, among the servers (`keeping`), so that state
and checkpoint are boxes as theirs. A step's global batch falls into as many *portions* as there are workers.

Sources: Li et al., "Scaling Distributed Machine Learning with the Parameter Server" (2014): shards, ranges of keys;
Ho et al., "More Effective Distributed ML via a Stale Synchronous Parallel Parameter Server" (2013): the bound.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from plait.plans.holdings import Held, Piece
from plait.plans.keeping import kept_piece
from plait.plans.plan import Plan
from plait.plans.prediction import Traffic
from plait.sharding.redistribute import CollectiveKind

__all__ = [
    "HEADER_BYTES",
    "TICKET_BYTES",
    "portion_traffic",
    "served_elements",
    "served_piece",
    "servers",
    "synchronous_traffic",
    "workers",
]

HEADER_BYTES, TICKET_BYTES = 24, 8  # of a request: its kind, a portion, a learning rate; of a portion given out


def servers(plan: Plan) -> range:
    """The data ranks that serve."""
    return range(plan.data - (plan.servers or plan.data), plan.data)


def workers(plan: Plan) -> range:
    """The data ranks that work: each has a share of the batch."""
    return range(plan.data - plan.servers)


def served_piece(held: Held, plan: Plan, data_rank: int) -> Piece:
    """The elements of a local weight that a data rank serves; none for one that only works."""
    places = servers(plan)
    among = replace(plan, data=len(places), data_shares=(1,) * len(places), zero=1)
    piece = kept_piece(held, among, max(data_rank - places.start, 0))
    return piece if data_rank in places else replace(piece, start=0, stop=0)


def served_elements(held: Sequence[Held], plan: Plan) -> tuple[int, ...]:
    """Elements of these weights that each data rank serves."""
    return tuple(sum(_elements(one, served_piece(one, plan, rank)) for one in held) for rank in range(plan.data))


def synchronous_traffic(
    buckets: Sequence[Sequence[Held]], plan: Plan, data_rank: int, *, gradient_bytes: int, weight_bytes: int
) -> tuple[Traffic, ...]:
    """What a data rank sends and receives in one step, sorted: of each bucket every worker's gradients to their
    servers, and every server's new weights to all. `gradient_bytes`, `weight_bytes`: of one element."""
    found: Counter[tuple[CollectiveKind, int]] = Counter()
    for counts in (served_elements(bucket, plan) for bucket in buckets):
        mine = counts[data_rank]
        others = [count for rank, count in enumerate(counts) if rank != data_rank]
        if data_rank in workers(plan):
            found.update(("send", count * gradient_bytes) for count in others)
        found["receive", mine * gradient_bytes] += len(workers(plan)) - (data_rank in workers(plan))
        found["send", mine * weight_bytes] += plan.data - 1
        found.update(("receive", count * weight_bytes) for count in others)
    return _rows(found)


def portion_traffic(
    counts: Sequence[int], plan: Plan, data_rank: int, *, gradient_bytes: int, weight_bytes: int
) -> tuple[Traffic, ...]:
    """What a worker sends and receives for one portion of a step, where updates come one by one; `counts`: as
    `served_elements` has them of all its weights. What it serves the others is counted by them."""
    first, found = servers(plan).start, Counter[tuple[CollectiveKind, int]]()
    if first != data_rank:  # who gives portions out
        found["send", HEADER_BYTES] += 1
        found["receive", TICKET_BYTES] += 1
    for rank, count in enumerate(counts):
        if count and rank != data_rank:
            found["send", HEADER_BYTES] += 2
            found["send", count * gradient_bytes] += 1
            found["receive", count * weight_bytes] += 1
    return _rows(found)


def _elements(held: Held, piece: Piece) -> int:
    return held.elements // held.shape[piece.dim] * (piece.stop - piece.start) if held.elements else 0


def _rows(found: Counter[tuple[CollectiveKind, int]]) -> tuple[Traffic, ...]:
    return tuple(
        Traffic(axis="data", kind=kind, bytes=size, count=count)
        for (kind, size), count in sorted(found.items())
        if size and count
    )
