"""Over all tensor ranks and stages every element counts once, copies are what ranks share, and sums agree on it."""

from __future__ import annotations

from collections import Counter
from itertools import product

import numpy as np
from hypothesis import assume, given

from plait.layers.gpt import describe_gpt
from plait.plans.completion import complete
from plait.plans.holdings import owned_boxes, rank_weights, tied_places
from plait.plans.keeping import kept as kept_of
from plait.plans.keeping import kept_weights
from plait.plans.legality import is_legal
from plait.plans.reductions import reductions
from plait.sharding.boxes import copies, intervals
from tests.plans.drawn import jobs


def addresses(held):
    """The local tensor, filled with the flat addresses of its elements in the global one."""
    sizes = [sum(part.size for part in dim.parts) for dim in held.weight.dims]
    chosen = [np.concatenate([np.arange(*piece) for piece in pieces]) for pieces in held.intervals]
    return np.arange(int(np.prod(sizes))).reshape(sizes)[np.ix_(*chosen)]


@given(jobs())
def test_every_element_counts_once(job):
    assume(is_legal(job))
    plan, layers = complete(job), describe_gpt(job.model)
    counted: Counter[tuple[str, int]] = Counter()
    tied = tied_places(layers, plan)
    writers = range(plan.data) if plan.sharding_level else [0]  # of several data ranks that keep the same, one counts
    for stage, data, rank in product(range(plan.pipeline), writers, range(plan.tensor)):
        members = rank_weights(layers, plan, stage, rank)
        for one in kept_weights(members, plan, data):
            name, places = one.weight.name, addresses(one)
            if tied.get(name, (stage,))[0] == stage:
                for box in owned_boxes(one, plan, rank):
                    mine = places[tuple(slice(*interval) for interval in box.local)]
                    assert mine.shape == tuple(stop - start for start, stop in box.whole)
                    counted.update((name, int(place)) for place in mine.flat)
    weights = {weight.name: weight for layer in layers for weight in layer.weights}
    for name, weight in weights.items():
        size = int(np.prod([sum(part.size for part in dim.parts) for dim in weight.dims]))
        assert all(counted[name, place] == 1 for place in range(size))
        for dim in weight.dims:
            held = [{n for p in intervals(dim, plan.tensor_shares, r) for n in range(*p)} for r in range(plan.tensor)]
            for copy in copies(dim, plan.tensor_shares):
                for place in range(copy.start, copy.stop):
                    assert copy.holders == tuple(r for r in range(plan.tensor) if place in held[r])


@given(jobs())
def test_the_members_of_a_sum_lay_the_same_elements_in_the_same_order(job):
    assume(is_legal(job))
    plan, layers = complete(job), describe_gpt(job.model)
    told: dict[object, list[list[object]]] = {}
    for rank in range(plan.ranks):
        at = {axis: plan.mesh.coordinate(rank, axis) for axis in ("data", "tensor", "pipeline")}
        members = rank_weights(layers, plan, at["pipeline"], at["tensor"])
        held = {one.weight.name: one for one in members}
        kept = {one.weight.name: one for one in kept_weights(members, plan, at["data"])}
        for number, one in enumerate(reductions(layers, plan, rank, 4)):
            source = held if one.axis == "data" else kept
            parts = [np.take(addresses(source[p.name]), range(p.start, p.stop), axis=p.dim) for p in one.pieces]
            message = [(p.name, part.ravel().tolist()) for p, part in zip(one.pieces, parts, strict=True)]
            size = sum(part.size for part in parts)
            if one.kind == "reduce_scatter":  # as many elements as all parts together, each as long as the longest
                shared = [sum(kept_of(held[p.name], plan, n).elements for p in one.pieces) for n in range(plan.data)]
                assert sum(shared) == size
                assert max(shared) * plan.data == one.elements
            else:
                assert size == one.elements > 0
            assert at[one.axis] in one.members
            others = tuple(place for axis, place in at.items() if axis != one.axis)
            kind = number if one.axis == "data" else (one.members, tuple(p.name for p in one.pieces))
            told.setdefault((one.axis, others, one.members, kind), []).append(message)
    for (_, _, members, _), messages in told.items():
        assert len(messages) == len(members)
        assert all(message == messages[0] for message in messages)
