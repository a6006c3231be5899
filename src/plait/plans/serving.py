"""Who serves what under a parameter server, and what travels: weights are shared out over those that serve.

    servers = 0      every data rank works and serves        w s │ w s │ w s │ w s
    servers = 1      the last data ranks serve alone           w │   w │   w │   s

    staleness        updated by                 weights that a step begins with contain
    0                the sum of all portions    every step before it
    k > 0            each portion as it comes   every step before it but the last k, and whatever has come of those
    -1               each portion as it comes   whatever has come

What a server has of a weight is what a data rank keeps of it under ZeRO 1, among the servers (`keeping`), so that state
and checkpoint are boxes as theirs. A step's global batch falls into as many *portions* as there are workers: the rows
that `rows` deals to each. Where updates come one by one, a portion goes to whichever worker asks for it.

Sources: Li et al., "Scaling Distributed Machine Learning with the Parameter Server" (2014): shards, ranges of keys;
Ho et al., "More Effective Distributed ML via a Stale Synchronous Parallel Parameter Server" (2013): the bound.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from plait.plans.compression import Message
from plait.plans.holdings import Held
from plait.plans.keeping import kept
from plait.plans.plan import Plan

__all__ = ["HEADER_BYTES", "TICKET_BYTES", "portion_messages", "pulled", "pushed", "served_elements"]

HEADER_BYTES, TICKET_BYTES = 24, 8  # of a request: its kind, a portion, a learning rate; of a portion given out


def served_elements(held: Sequence[Held], plan: Plan) -> tuple[int, ...]:
    """Elements of these weights that each data rank serves."""
    return tuple(sum(kept(one, plan, rank).elements for one in held) for rank in range(plan.data))


def pushed(held: Sequence[Held], plan: Plan, data_rank: int, itemsize: int) -> tuple[Message, ...]:
    """What a data rank sends and receives of the gradients of one bucket in a synchronous step: every worker's go to
    those that serve them. `itemsize`: bytes of one of their elements."""
    counts = served_elements(held, plan)
    works, mine = data_rank < plan.workers, counts[data_rank] * itemsize
    others = [count * itemsize for rank, count in enumerate(counts) if rank != data_rank and count]
    came = [Message("receive", mine)] * (plan.workers - works) if mine else []
    return (*(Message("send", size) for size in others if works), *came)


def pulled(held: Sequence[Held], plan: Plan, data_rank: int, itemsize: int) -> tuple[Message, ...]:
    """The same of new weights: every server's go to all."""
    counts = served_elements(held, plan)
    mine = counts[data_rank] * itemsize
    sent = [Message("send", mine)] * (plan.data - 1) if mine else []
    came = (Message("receive", count * itemsize) for rank, count in enumerate(counts) if rank != data_rank and count)
    return (*sent, *came)


def portion_messages(
    counts: Sequence[int], plan: Plan, data_rank: int, *, stage: int = 0, gradient_bytes: int, weight_bytes: int
) -> Iterator[Message]:
    """What a worker sends and receives for one portion of a step, where updates come one by one; `counts`: as
    `served_elements` has them of all its weights. What it serves the others is counted by them. `gradient_bytes`,
    `weight_bytes`: of one element."""
    if data_rank >= plan.workers:
        return
    if stage == 0 and plan.keepers.start != data_rank:  # who gives portions out; the first stage asks for all
        yield Message("send", HEADER_BYTES)
        yield Message("receive", TICKET_BYTES)
    for rank, count in enumerate(counts):
        if count and rank != data_rank:
            yield from [Message("send", HEADER_BYTES)] * 2
            yield Message("send", count * gradient_bytes)
            yield Message("receive", count * weight_bytes)
