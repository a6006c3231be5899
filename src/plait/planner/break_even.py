"""When compression pays, said of one plan before it runs: below which bandwidth, and what it does to this step here.

    seconds of a step │  dense   ╲            even where the seconds that are saved on the way are those of packing:
                      │  ─ ─ ─ ─ ─╲─ ─ ─      links k times as fast save a k-th of them
                      │  compressed  ╲___
                      └──────────┴──────────► bandwidth between the ranks

It knows plans and prices; the words of what travels are `plans.compression`'s.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from plait.planner.prices import JobPrices
from plait.planner.simulator import Played, play
from plait.planner.stage import Stage, stage_of
from plait.plans.compression import Message, packing_words, sent_bytes
from plait.plans.plan import Plan
from plait.plans.reductions import bucket_compression, gradient_buckets
from plait.specs.compression import compression_of
from plait.specs.training import ITEMSIZE, PRECISIONS

__all__ = ["compression_words"]

_EVEN = 0.005  # what is less than half a percent of a step is said to be none


def compression_words(one: Played, prices: JobPrices) -> tuple[str, ...]:
    """What the plan's compression does, and whether it pays; nothing of a plan that has none."""
    plan = one.plan
    if plan.compression == "none":
        return ()
    place = max(range(plan.pipeline), key=lambda stage: _stage(plan, prices, stage).elements)
    return (_what_travels(plan, prices, place), *_break_even(one, prices, place))


def _what_travels(plan: Plan, prices: JobPrices, place: int) -> str:
    itemsize = ITEMSIZE[PRECISIONS[prices.training.precision].reduce]
    buckets = gradient_buckets(_stage(plan, prices, place).held, plan, itemsize)
    alike = [bucket for bucket in buckets if bucket_compression(bucket, plan).kind == "none"]
    shapes = [[held.shape for held in bucket] for bucket in buckets if bucket not in alike]
    whole = [[held.shape for held in bucket] for bucket in alike]
    form = compression_of(plan.compression)
    hosts = prices.machine.levels(plan)
    if not plan.averages:
        return packing_words(form, shapes, itemsize, plan.data, whole, hosts=hosts)
    often = "a step" if plan.local_steps == 1 else f"every {plan.local_steps} steps"
    words = {"what": "changes of weights", "often": often}
    return packing_words(form, shapes, itemsize, plan.data, whole, hosts=hosts, **words)


def _break_even(one: Played, prices: JobPrices, place: int) -> Iterator[str]:
    plan, dense = one.plan, replace(one.plan, compression="none")
    packing = prices.sums.packing_seconds(plan, _stage(plan, prices, place)).total
    if not packing:
        return
    whole, less = (prices.sums.sum_seconds(each, _stage(each, prices, place)) for each in (dense, plan))
    speed = _sent(dense, prices, place) / whole
    without = play(dense, prices.step(dense), prices).seconds
    change = one.step.seconds / without - 1
    effect = "makes no difference" if abs(change) < _EVEN else f"{'costs' if change > 0 else 'saves'} {abs(change):.0%}"
    if less >= whole:  # other messages than the dense sum's, over the same links: no fewer seconds on any
        never = f"compression {plan.compression} pays at no speed between these ranks"
        yield f"{never}, where its messages take no less time: at {_speed(speed)} it {effect} of a step"
        return
    below = speed * (whole - less) / packing
    hidden = ", as backward hides what it saves" if change > _EVEN and speed < below else ""
    yield (
        f"compression {plan.compression} pays below {_speed(below)} between these ranks; "
        f"at the {_source(plan, prices)} {_speed(speed)} it {effect} of a step{hidden}"
    )


def _source(plan: Plan, prices: JobPrices) -> str:
    """Where the speed is from that is spoken of."""
    source = prices.machine.communication.source if prices.machine.spread(plan, "data").crosses else "measured"
    return source if source == "measured" else f"{source} link's"


def _sent(plan: Plan, prices: JobPrices, place: int) -> float:
    """Bytes that a rank sends for its gradients; where hosts sum first, that leave a host."""
    hosts = prices.machine.levels(plan)
    itemsize = ITEMSIZE[PRECISIONS[prices.training.precision].reduce]
    sums = (one for one in _stage(plan, prices, place).sums if one.axis == "data")
    messages: list[Message] = [message for one in sums for message in one.messages(itemsize, hosts)]
    return sent_bytes(messages, len(hosts) or plan.data)


def _stage(plan: Plan, prices: JobPrices, place: int) -> Stage:
    return stage_of(prices.model, prices.training, plan, plan.mesh.rank_at(pipeline=place, data=0, tensor=0))


def _speed(bytes_per_second: float) -> str:
    return f"{8 * bytes_per_second / 1e9:.3g} Gbit/s"
