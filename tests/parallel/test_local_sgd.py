"""Replicas that learn alone: every H steps they have equal weights, send 1/H of the bytes, and with H = 1 and plain SGD
they are dense mathematics."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from plait.collectives.recorder import record
from plait.plans.plan import Plan
from plait.specs.training import TrainingSpec
from plait.training.optimizer import Optimizer
from tests.parallel.cases import FP64, GPT2, LLAMA, Case, case, plan
from tests.parallel.measured import build, decays, learn

PLAIN = replace(FP64, optimizer="sgd", betas=(0.0, 0.95), clip_norm=0.0, learning_rate=0.1, warmup_steps=0)


def weights_after(one: Case, steps: int) -> list[tuple[dict[str, torch.Tensor], int]]:
    """After each step this rank's weights, and how many bytes went along the data axis, but for the loss."""
    model = build(one)
    optimizer = Optimizer(model.shards, model.gradients, decays(one), one.training, unfused=model.displaced)
    found = []
    for step in range(steps):
        with record() as recorder:
            learn(one, model, optimizer, step)
        sent = sum(row.bytes * row.count for row in recorder.traffic() if row.axis == "data" and row.bytes > 8)
        found.append(({name: weight.detach().clone() for name, weight in model.weights.items()}, sent))
    return found


def test_with_one_step_and_plain_sgd_it_is_dense(run_on_ranks):
    dense = run_on_ranks(2, weights_after, case("dense", GPT2, plan(data=2), PLAIN), 3)
    alone = run_on_ranks(2, weights_after, case("sgd", GPT2, plan(data=2, synchronisation="local-sgd"), PLAIN), 3)
    for (expected, _), (found, _) in zip(dense[0], alone[0], strict=True):
        for name, weight in expected.items():
            torch.testing.assert_close(found[name], weight, rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    "more",
    [
        {"synchronisation": "local-sgd"},
        {"synchronisation": "diloco"},
        {"synchronisation": "local-sgd", "compression": "powersgd:1"},
        {"synchronisation": "diloco", "compression": "int8"},
    ],
    ids=lambda more: "-".join(more.values()),
)
def test_they_meet_every_h_steps_and_send_a_part(run_on_ranks, more):
    one = case("alone", GPT2, plan(data=3, local_steps=3, **more), TrainingSpec(global_batch=6, sequence_length=9))
    ranks = run_on_ranks(3, weights_after, one, 6)
    every = run_on_ranks(3, weights_after, replace(one, plan=replace(one.plan, local_steps=1)), 6)
    for step in range(6):
        meeting = (step + 1) % 3 == 0
        (first, sent), *others = (rank[step] for rank in ranks)
        alike = all(torch.equal(first[name], other[name]) for other, _ in others for name in first)
        assert (alike, sent > 0) == (meeting, meeting)
    total, dense = (sum(sent for _, sent in runs[0]) for runs in (ranks, every))
    assert 3 * total == dense


@pytest.mark.parametrize("compression", ["none", "int8"])
def test_what_ranks_hold_in_common_stays_alike(run_on_ranks, compression):
    """Four tensor ranks with two kv heads: what is compressed of their copies would not be the same."""
    model = replace(LLAMA, bias=True)
    shape = {"data": 2, "tensor": 4, "synchronisation": "diloco", "compression": compression}
    ranks = run_on_ranks(8, weights_after, case("copies", model, plan(**shape), FP64), 3)
    norm, copy = "model.norm.weight", "model.layers.0.self_attn.k_proj.weight"
    for step in range(3):
        found = [rank[step][0] for rank in ranks]
        assert all(torch.equal(found[0][norm], one[norm]) for one in found)
        assert all(torch.equal(found[place][copy], found[4 + place][copy]) for place in range(4))  # replicas
        assert torch.equal(found[2][copy], found[3][copy])  # both read the second kv head alone


def outer_steps(one: Case) -> float:
    """The largest distance from torch's own SGD, of weights that replicas have moved by random amounts, three times."""
    model = build(one)
    masters = dict(model.shards)
    expected = {name: torch.nn.Parameter(weight.detach().clone()) for name, weight in masters.items()}
    outer = torch.optim.SGD(expected.values(), lr=0.7, momentum=0.9, nesterov=True)
    for step in range(3):
        moved = {}
        for name, weight in masters.items():
            both = torch.randn(2, *weight.shape, dtype=weight.dtype, generator=torch.Generator().manual_seed(step))
            weight.data.add_(both[model.mesh.coordinate("data")])
            moved[name] = both.mean(0)
        for name, weight in expected.items():
            weight.grad = -moved[name]
        outer.step()
        assert model.average(masters, step, last=False)
    return max(float((masters[name] - weight).abs().max()) for name, weight in expected.items())


def test_the_outer_step_is_nesterov_s(run_on_ranks):
    one = case("outer", GPT2, plan(data=2, synchronisation="diloco"), FP64)
    assert max(run_on_ranks(2, outer_steps, one)) < 1e-13


def test_the_last_step_of_a_run_brings_them_together(run_on_ranks):
    training = replace(FP64, steps=2)
    one = case("short", GPT2, plan(data=2, local_steps=8, synchronisation="diloco"), training)
    first, second = run_on_ranks(2, weights_after, one, 2)
    assert not all(torch.equal(first[0][0][name], second[0][0][name]) for name in first[0][0])
    assert all(torch.equal(first[1][0][name], second[1][0][name]) for name in first[1][0])


def test_who_learns_alone_is_said():
    alone = Plan(data=2, data_shares=(1, 1), stages=(2,), synchronisation="diloco", local_steps=8)
    assert alone.averages
    assert not replace(alone, data=1, data_shares=(1,)).averages
    assert not replace(alone, synchronisation="all-reduce").averages
