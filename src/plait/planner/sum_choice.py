"""Which algorithm each sum over the data axis takes, told before it runs: what `sharding.all_reduce` chooses, for the
wire as for the planner.

    4 hosts of 1 rank      6 messages by gloo           2 hosts of 2      6 messages by two levels, doubling across

It knows a plan's messages and the links, no second.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from plait.planner.prices import JobPrices
from plait.planner.stage import stage_of
from plait.plans.plan import Plan
from plait.sharding.redistribute import CollectiveKind
from plait.specs.training import ITEMSIZE, PRECISIONS
from plait.specs.wording import counted
from plait.units import Bytes

__all__ = ["SumChoice", "sum_words", "sums_over_data"]


@dataclass(frozen=True, kw_only=True)
class SumChoice:
    """`count` messages of `bytes` each along the data axis, and what performs them."""

    kind: CollectiveKind
    bytes: int
    count: int
    algorithm: str


def sums_over_data(plan: Plan, prices: JobPrices) -> tuple[SumChoice, ...]:
    """Of the first stage's gradients, in the order in which backward makes them; nothing for one replica, nor where a
    server applies portions, which nobody sums."""
    if plan.asynchronous:
        return ()
    itemsize = ITEMSIZE[PRECISIONS[prices.training.precision].reduce]
    stage = stage_of(prices.model, prices.training, plan, 0)
    sums = (one for one in stage.sums if one.axis == "data")
    hosts = prices.machine.levels(plan)
    counted_alike = Counter(message for one in sums for message in one.messages(itemsize, hosts))
    return tuple(
        SumChoice(kind=message.kind, bytes=message.bytes, count=count, algorithm=prices.sums.algorithm(plan, *message))
        for message, count in counted_alike.items()
    )


def sum_words(sums: Sequence[SumChoice], steps: int = 1) -> str:
    """The same in a sentence without its point, once in so many steps; nothing where there are none."""
    by_algorithm: dict[str, list[SumChoice]] = {}
    for one in sums:
        by_algorithm.setdefault(one.algorithm, []).append(one)
    parts = [
        f"{counted(sum(one.count for one in some), 'message')} "
        f"(payload {Bytes(sum(one.count * one.bytes for one in some))}) by {algorithm}"
        for algorithm, some in by_algorithm.items()
    ]
    often = f" every {steps} steps" if steps > 1 else ""
    return f"sums over data{often}: {', '.join(parts)}" if parts else ""
