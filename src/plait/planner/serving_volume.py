"""Under a parameter server: what travels beside a synchronous step's gradients, how long, and what stands meanwhile.

    staleness 0    of each bucket every server's new weights to all, after the update
    else           for each portion: a ticket, weights pulled before it, gradients pushed after it

In a synchronous step two ranks that have something for each other exchange it; all else goes one after another, so that
the rank with the most of it is what all wait for. It knows a stage and the seconds of a message, no machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from plait.planner.stage import Stage
from plait.plans.compression import Message
from plait.plans.plan import Plan
from plait.plans.reductions import gradient_buckets
from plait.plans.serving import portion_messages, pulled, served_elements
from plait.specs.links import LinkKind
from plait.specs.training import ITEMSIZE, PRECISIONS, TrainingSpec

__all__ = ["busiest", "served_messages", "standing_bytes", "transfer_seconds"]

_WAYS = ("send", "receive")

_Seconds = Callable[[LinkKind, int], float]  # of one message between two ranks


def served_messages(stage: Stage, training: TrainingSpec, plan: Plan, data_rank: int, place: int) -> Iterator[Message]:
    """What a data rank of pipeline stage `place` sends and receives along the data axis beside the sums of gradients:
    once a step, or for one portion of it."""
    if not plan.served:
        return
    reduced, weight = _itemsizes(training)
    if plan.asynchronous:
        counts = served_elements(stage.held, plan)
        yield from portion_messages(counts, plan, data_rank, stage=place, gradient_bytes=reduced, weight_bytes=weight)
        return
    for bucket in gradient_buckets(stage.held, plan, reduced):
        yield from pulled(bucket, plan, data_rank, weight)


def busiest(plan: Plan) -> int:
    """The data rank for which most travels: a worker for a portion; in a step for all the first server, unless more
    serve than work. 0 without servers."""
    if plan.asynchronous:
        return plan.workers - 1
    return plan.keepers.start if plan.workers >= len(plan.keepers) else 0


def transfer_seconds(messages: Sequence[Message], seconds: _Seconds, *, exchanged: bool) -> float:
    """Seconds in which a data rank sends and receives these, one after another; `exchanged`: as far as it can in pairs
    of both directions at once."""
    if not exchanged:
        return sum(seconds("send", one.bytes) for one in messages)
    sent, came = (sorted((one.bytes for one in messages if one.kind == kind), reverse=True) for kind in _WAYS)
    both = sum(seconds("exchange", max(pair)) for pair in zip(sent, came, strict=False))
    pairs = min(len(sent), len(came))
    return both + sum(seconds("send", size) for size in (*sent[pairs:], *came[pairs:]))


def standing_bytes(stage: Stage, training: TrainingSpec, plan: Plan, data_rank: int) -> int:
    """Bytes of what is on its way to and from servers at the worst moment, and of the buffers that wait for it."""
    if not plan.served:
        return 0
    reduced, weight = _itemsizes(training)
    mine = sum(served_elements([one], plan)[data_rank] for one in stage.held)
    others, works = stage.elements - mine, data_rank < plan.workers
    remote = plan.workers - works  # that push to this rank
    if plan.asynchronous:
        return stage.elements * weight + works * others * reduced + remote * mine * (reduced + weight)
    came = mine * remote * reduced
    return came + max(works * others * reduced, stage.elements * weight)


def _itemsizes(training: TrainingSpec) -> tuple[int, int]:
    policy = PRECISIONS[training.precision]
    return ITEMSIZE[policy.reduce], ITEMSIZE[policy.compute]
