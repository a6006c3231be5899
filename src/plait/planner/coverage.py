"""Where a prediction lies outside what was measured, said in words: a link between more ranks, a larger product.

There the nearest measured group's formula, or the rate at the border of the measured shapes, had to speak; all of it
lies outside where the machine was busy, or is another one. It knows which operations and links a plan uses, and which
were measured; on which machine it is asked its caller knows.
"""

from __future__ import annotations

from collections.abc import Iterator

from plait.layers.gpt import describe_gpt
from plait.planner.communication_volume import traffic_of_step
from plait.planner.operations import Attend, Move, Multiply, Operation, operations_of
from plait.planner.prices import JobPrices
from plait.planner.sum_prices import COLLECTIVES
from plait.plans.offload import HOST_RATE
from plait.plans.plan import Plan
from plait.specs.catalogue import ASSUMED
from plait.specs.measurements import Correction, Host, Measurements, Processor
from plait.specs.training import PRECISIONS
from plait.specs.wording import counted
from plait.units import Bytes

__all__ = ["corrected_by_runs", "correction_words", "doubts", "outside_what_was_measured"]


def outside_what_was_measured(plan: Plan, prices: JobPrices, here: Processor | None = None) -> tuple[str, ...]:
    """One sentence for each kind of guess in this plan's prediction; none where everything was measured. `here`: what
    the caller runs on, if that is to be what was profiled."""
    host = prices.machine.host
    parts = (_disbelieved, _links, _messages, _untimed, _products, _speeds)
    return (*(doubts(host, here) if host else ()), *(words for part in parts for words in part(plan, prices)))


def doubts(host: Host, here: Processor | None) -> Iterator[str]:
    """What speaks against a profile of this host: others were at work on it, or `here` is another processor."""
    if host.was_busy:
        yield f"profiled while other programs kept {host.busy_cores:.1f} cores busy: predictions are of that"
    if here is not None and host.on != here:
        alike = host.on.name == here.name
        there, ours = (counted(one.cores, "core") + ("" if alike else f" of {one.name}") for one in (host.on, here))
        yield f"profiled on {there}, and this runs on {ours}: `plait profile` measures this machine"


def corrected_by_runs(measurements: Measurements) -> tuple[str, ...]:
    """One sentence for each correction that a prediction contains beside what was measured."""
    return tuple(correction_words(one) for one in measurements.corrections if one.believed)


def correction_words(one: Correction) -> str:
    """A correction, and what to think of one that was cut."""
    bound = ("more than " if one.ratio > 1 else "less than ") if one.cut else ""
    words = f"{one.what}: {bound}{one.ratio:.2f} times what was profiled, as {one.source} took"
    words += f" ({one.date})" if one.date else ""
    return f"{words}; so wrong is no profile, but a crowded machine or another one" if one.cut else words


def _disbelieved(plan: Plan, prices: JobPrices) -> Iterator[str]:
    del plan  # whichever it is
    for one in prices.machine.disbelieved:
        yield f"a correction is left out: {correction_words(one)} (`plait profile` measures this machine anew)"


def _links(plan: Plan, prices: JobPrices) -> Iterator[str]:
    spreads = {axis: prices.machine.spread(plan, axis) for axis in ("data", "tensor")}
    if prices.machine.between_hosts is not None and prices.machine.communication.source == "assumed":
        yield f"nobody has said or measured what joins the hosts: taken for {ASSUMED} (cluster.inter_link says it)"
    between_cpus = prices.machine.between_hosts is not None and prices.machine.shares_memory
    if between_cpus and not prices.machine.communication.overhead_measured:
        yield "what a message between hosts takes from who computes was not measured: it is taken for nothing"
    for axis, spread in spreads.items():
        ranks = spread.hosts[0]
        if ranks > 1 and not prices.machine.communication.measured("all_reduce", ranks):
            yield f"links between {ranks} {axis} ranks were not measured: the nearest group's formula speaks for them"
    here = any(pair.ranks > 1 and not pair.crosses for pair in prices.machine.boundaries(plan))
    if here and not prices.machine.communication.measured("send", 2):
        yield "sends were not measured: another collective's formula speaks for them"
    if plan.asynchronous:
        yield "what servers are asked travels over gloo, beside the program: this wire's own sends speak for it"
    if plan.offloads and not prices.machine.shares_memory:
        yield f"the update in host memory was not measured: {HOST_RATE / 1e9:.0f} GB/s a rank are assumed"
        if prices.machine.host_memory_bytes is None:
            yield "how much memory the host has was not measured: it is taken to be enough"


def _speeds(plan: Plan, prices: JobPrices) -> Iterator[str]:
    if prices.machine.speeds.guessed(plan.ranks):
        yield "ranks differ in speed, and some of these were not measured: taken to be as fast as on the first host"


def _messages(plan: Plan, prices: JobPrices) -> Iterator[str]:
    """Of each axis the largest message beyond those that were timed between as many ranks of one host."""
    for axis in ("data", "tensor", "pipeline"):
        spread = prices.machine.spread(plan, axis)
        sent = [one for one in traffic_of_step(prices.model, prices.training, plan, 0) if one.axis == axis]
        if not sent or spread.crosses:
            continue
        largest = max(sent, key=lambda one: one.bytes)
        ranks = 2 if axis == "pipeline" else spread.ranks
        known = prices.machine.communication.largest_measured(COLLECTIVES[largest.kind], ranks)
        if known is not None and largest.bytes > known:
            yield (
                f"messages of {Bytes(largest.bytes)} along {axis} exceed the largest that was timed ({Bytes(known)}): "
                "the link's formula speaks for them"
            )


def _operations(plan: Plan, prices: JobPrices) -> set[Operation]:
    """All that any rank does to a microbatch."""
    asked: set[Operation] = set()
    for layer in {layer.kind: layer for layer in describe_gpt(prices.model)}.values():
        for rank in range(plan.tensor):
            found = operations_of(layer, prices.model, prices.training.sequence_length, plan, rank)
            asked.update((*found.forward, *found.backward))
    return asked


def _untimed(plan: Plan, prices: JobPrices) -> Iterator[str]:
    """Kinds of operations of which the profile has none."""
    compute, optimizer = prices.machine.compute, prices.training.optimizer
    lacking = [one for one in _operations(plan, prices) if isinstance(one, Attend | Move) and not compute.timed(one)]
    kinds = sorted({"attention" if isinstance(one, Attend) else one.kind.replace("_", " ") for one in lacking})
    elsewhere = plan.offloads and not prices.machine.shares_memory  # `_links` has that
    kinds += [] if compute.timed_optimizer(optimizer) or elsewhere else [optimizer]
    if kinds:
        dtype = PRECISIONS[prices.training.precision].compute
        instead = "products and the memory's bandwidth speak for what is missing"
        yield f"no {', '.join(kinds)} was timed in {dtype}: {instead}"


def _products(plan: Plan, prices: JobPrices) -> Iterator[str]:
    operations = _operations(plan, prices)
    asked = {one for one in operations if isinstance(one, Multiply)}
    attended = {one for one in operations if isinstance(one, Attend)}
    outside = [one for one in asked if not prices.machine.compute.covers(one)]
    if outside:
        largest = max(outside, key=lambda one: (one.m * one.n * one.k, one))
        shape = f"{largest.m} × {largest.n} × {largest.k}"
        yield f"{len(outside)} of {len(asked)} products lie outside the measured shapes (the largest: {shape})"
    beyond = [one for one in attended if not prices.machine.compute.covers_attention(one)]
    if beyond:
        one = max(beyond, key=lambda one: (one.sequence, one.head_dim))
        yield f"attention over {one.sequence} tokens, {one.head_dim} features a head, lies outside the measured shapes"
