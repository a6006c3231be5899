"""Where a prediction lies outside what was measured, said in words: a link between more ranks, a larger product.

There the nearest measured group's formula, or the rate at the border of the measured shapes, had to speak. It knows
which operations and links a plan uses, and which were measured.
"""

from __future__ import annotations

from collections.abc import Iterator

from plait.layers.gpt import describe_gpt
from plait.planner.operations import Multiply, operations_of
from plait.planner.prices import HOST_RATE, JobPrices
from plait.plans.plan import Plan
from plait.specs.catalogue import ASSUMED
from plait.specs.measurements import Measurements

__all__ = ["corrected_by_runs", "outside_what_was_measured"]


def outside_what_was_measured(plan: Plan, prices: JobPrices) -> tuple[str, ...]:
    """One sentence for each kind of guess in this plan's prediction; none where everything was measured."""
    return (*_links(plan, prices), *_products(plan, prices), *_speeds(plan, prices))


def corrected_by_runs(measurements: Measurements) -> tuple[str, ...]:
    """One sentence for each correction that a prediction contains beside what was measured."""
    return tuple(
        f"{one.what}: {one.ratio:.2f} times what was profiled, as {one.source} took"
        + (f" ({one.date})" if one.date else "")
        for one in measurements.corrections
    )


def _links(plan: Plan, prices: JobPrices) -> Iterator[str]:
    spreads = {axis: prices.machine.spread(plan, axis) for axis in ("data", "tensor")}
    if prices.machine.between_hosts is not None and prices.machine.communication.source == "assumed":
        yield f"nobody has said or measured what joins the hosts: taken for {ASSUMED} (cluster.inter_link says it)"
    for axis, spread in spreads.items():
        ranks = spread.hosts[0]
        if ranks > 1 and not prices.machine.communication.measured("all_reduce", ranks):
            yield f"links between {ranks} {axis} ranks were not measured: the nearest group's formula speaks for them"
    if plan.pipeline > 1 and not prices.machine.communication.measured("send", 2):
        yield "sends were not measured: another collective's formula speaks for them"
    if plan.asynchronous:
        yield "what servers are asked travels over gloo, beside the program: this wire's own sends speak for it"
    if plan.offloads and not prices.machine.shares_memory:
        yield f"the update in host memory was not measured: {HOST_RATE / 1e9:.0f} GB/s a rank are assumed"


def _speeds(plan: Plan, prices: JobPrices) -> Iterator[str]:
    if prices.machine.speeds.guessed(plan.ranks):
        yield "ranks differ in speed, and some of these were not measured: taken to be as fast as on the first host"


def _products(plan: Plan, prices: JobPrices) -> Iterator[str]:
    asked: set[Multiply] = set()
    for layer in {layer.kind: layer for layer in describe_gpt(prices.model)}.values():
        for rank in range(plan.tensor):
            found = operations_of(layer, prices.model, prices.training.sequence_length, plan, rank)
            asked.update(one for one in (*found.forward, *found.backward) if isinstance(one, Multiply))
    outside = [one for one in asked if not prices.machine.compute.covers(one)]
    if outside:
        largest = max(outside, key=lambda one: (one.m * one.n * one.k, one))
        shape = f"{largest.m} × {largest.n} × {largest.k}"
        yield f"{len(outside)} of {len(asked)} products lie outside the measured shapes (the largest: {shape})"
