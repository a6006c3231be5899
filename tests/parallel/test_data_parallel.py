"""Gradient buckets: what a step leaves in them, and when each one leaves.

The chain of these tests is y = w2 · w1 · w0 · x, whose backward gives w2's gradient first and w0's last.
"""

from __future__ import annotations

import pytest
import torch

from plait.collectives.functional import Handle
from plait.collectives.process_groups import Group, build_mesh
from plait.parallel import data_parallel
from plait.parallel.data_parallel import GradientBuffers
from plait.sharding.mesh_shape import MeshShape
from plait.training.optimizer import Optimizer
from tests.parallel.cases import CASES
from tests.parallel.measured import build, learn

ALONE = Group(axis="data", ranks=(0,), index=0)
PAIR = Group(axis="data", ranks=(0, 1), index=0)
FORWARD_ORDER = ("w0", "w1", "w2")
BUCKETS = (("w2", "w1"), ("w0",))


def chain(dtype=torch.float64):
    return {
        name: torch.nn.Parameter(torch.full((2,), 2.0 + place, dtype=dtype)) for place, name in enumerate(FORWARD_ORDER)
    }


def backward(weights, x=1.0, names=FORWARD_ORDER):
    y = torch.full((2,), x, dtype=weights["w0"].dtype)
    for name in names:
        y = y * weights[name]
    y.sum().backward()


def buffers_of(weights, buckets=BUCKETS, group=ALONE, dtype=torch.float64):
    return GradientBuffers(weights, buckets, group, dtype)


@pytest.fixture
def launches(monkeypatch):
    """The order of what happens: buckets as they are launched, each a no-op, beside what a test adds."""
    order = []

    def launch(flat, group):
        order.append(len(flat))
        return Handle(group.axis, None, lambda: flat)

    monkeypatch.setattr(data_parallel, "all_reduce", launch)
    return order


def plain_gradients(steps):
    """The same backwards, left to autograd."""
    weights = chain()
    for options in steps:
        backward(weights, **options)
    return {name: weight.grad for name, weight in weights.items()}


def test_microbatches_add_up():
    weights = chain()
    buffers = buffers_of(weights)
    buffers.begin()
    for x in (1.0, 3.0):
        backward(weights, x)
    buffers.before_backward(turn=0, last=list(weights))
    backward(weights, 5.0)
    buffers.finish()
    for name, gradient in plain_gradients([{"x": 1.0}, {"x": 3.0}, {"x": 5.0}]).items():
        assert torch.equal(buffers.views[name], gradient)
        assert weights[name].grad is buffers.views[name]  # autograd adds where the buffers are


def test_a_step_knows_nothing_of_the_one_before():
    weights = chain()
    buffers = buffers_of(weights)
    for x in (7.0, 1.0):
        buffers.begin()
        buffers.before_backward(turn=0, last=list(weights))
        backward(weights, x)
        buffers.finish()
    assert torch.equal(buffers.views["w0"], plain_gradients([{"x": 1.0}])["w0"])


def test_a_weight_without_gradient_counts_as_zero():
    weights = chain()
    buffers = buffers_of(weights)
    for names in (FORWARD_ORDER, ("w0", "w2")):
        buffers.begin()
        buffers.before_backward(turn=0, last=list(weights))
        backward(weights, names=names)
        buffers.finish()
    assert torch.equal(buffers.views["w1"], torch.zeros(2, dtype=torch.float64))
    assert torch.equal(buffers.views["w0"], plain_gradients([{"names": ("w0", "w2")}])["w0"])


def test_a_gradient_that_somebody_took_away_is_put_back():
    weights = chain()
    buffers = buffers_of(weights)
    for _ in range(2):
        buffers.begin()
        buffers.before_backward(turn=0, last=list(weights))
        backward(weights)
        buffers.finish()
        for weight in weights.values():
            weight.grad = None  # as an optimizer's zero_grad does
    assert torch.equal(buffers.views["w0"], plain_gradients([{}])["w0"])


def test_half_precision_gradients_are_added_in_single():
    weights = chain(torch.bfloat16)
    buffers = buffers_of(weights, dtype=torch.float32)
    buffers.begin()
    for x in (256.0, 1.0):  # bfloat16 has no 257
        backward(weights, x, names=("w0",))
    buffers.finish()
    assert torch.equal(buffers.views["w0"], torch.full((2,), 257.0))


def test_views_cut_the_buffers_without_rest():
    weights = chain() | {"w3": torch.nn.Parameter(torch.zeros(3, 5, dtype=torch.float64))}
    buffers = buffers_of(weights, (("w3", "w2"), ("w1", "w0")))
    assert [len(flat) for flat in buffers.flat] == [17, 4]
    assert buffers.nbytes == 8 * 21
    for number, gradient in enumerate(buffers.views.values()):
        gradient.fill_(number)
    assert torch.cat(buffers.flat).tolist() == [0.0] * 15 + [1.0] * 2 + [2.0] * 2 + [3.0] * 2
    assert {name: view.shape for name, view in buffers.views.items()} == {n: w.shape for n, w in weights.items()}


def test_only_the_last_microbatch_launches(launches):
    weights = chain()
    buffers = buffers_of(weights, group=PAIR)
    buffers.begin()
    backward(weights)
    assert launches == []
    buffers.before_backward(turn=0, last=list(weights))
    backward(weights)
    assert launches == [4, 2]
    buffers.finish()
    assert launches == [4, 2]


def test_a_bucket_leaves_as_soon_as_it_is_full(launches):
    weights = chain()
    buffers = buffers_of(weights, group=PAIR)
    for name, weight in weights.items():
        weight.register_post_accumulate_grad_hook(lambda _, name=name: launches.append(name))  # after the buffers' own
    buffers.begin()
    buffers.before_backward(turn=0, last=list(weights))
    backward(weights)
    assert launches == ["w2", 4, "w1", 2, "w0"]


def test_buckets_leave_in_their_order_whatever_backward_s_order_is(launches):
    weights = chain()
    buffers = buffers_of(weights, (("w0",), ("w2", "w1")), group=PAIR)  # the first one is full last
    buffers.begin()
    buffers.before_backward(turn=0, last=list(weights))
    backward(weights)
    assert launches == [2, 4]


def test_what_is_not_full_leaves_at_the_end(launches):
    weights = chain()
    buffers = buffers_of(weights, group=PAIR)
    buffers.begin()
    buffers.before_backward(turn=0, last=list(weights))
    backward(weights, names=("w0", "w2"))
    assert launches == []  # the first bucket waits for w1, the second for the first
    buffers.finish()
    assert launches == [4, 2]


def sum_over_ranks(ranks):
    mesh = build_mesh(MeshShape(data=ranks))
    weights = chain()
    buffers = buffers_of(weights, group=mesh.axis("data"))
    for step in (1, 2):
        buffers.begin()
        backward(weights, float(mesh.rank))
        buffers.before_backward(turn=0, last=list(weights))
        backward(weights, float(step))
        buffers.finish()
    return {name: view.clone() for name, view in buffers.views.items()}


def test_ranks_end_with_the_sum_of_all_their_microbatches(run_on_ranks):
    expected = plain_gradients([{"x": 0.0 + 1.0 + 2.0}, *[{"x": 2.0}] * 3])
    for found in run_on_ranks(3, sum_over_ranks, 3):
        assert all(torch.equal(found[name], expected[name]) for name in expected)


def order_of_events(case):
    """One step's launches, and the moment when backward reaches the first layer."""
    model = build(case)
    optimizer = Optimizer(model.weights, model.gradients, dict.fromkeys(model.weights, False), case.training)
    events, plain = [], data_parallel.all_reduce

    def launch(flat, group):
        events.append("launch")
        return plain(flat, group)

    def watch(module, inputs, hidden):
        hidden.register_hook(lambda _: events.append("first layer"))

    model.decoder.blocks["0"].register_forward_hook(watch)
    data_parallel.all_reduce = launch
    try:
        learn(case, model, optimizer, 0)
    finally:
        data_parallel.all_reduce = plain
    return events


def test_buckets_leave_while_backward_still_runs(run_on_ranks):
    (case,) = [case for case in CASES if case.name == "dp2, a bucket for each weight, sgd"]
    for events in run_on_ranks(2, order_of_events, case):
        last_backward = len(events) - 1 - events[::-1].index("first layer")
        before, after = events[:last_backward].count("launch"), events[last_backward:].count("launch")
        assert (before, after) == (2 + 12, 12 + 2)  # ln_f and block 1 before; block 0, wpe and wte (tied) after
        assert events.count("first layer") == 3
