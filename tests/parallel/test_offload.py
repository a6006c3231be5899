"""With the optimizer in host memory a run is the same to the bit, in every dtype and under every level of ZeRO."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch

from plait.training.optimizer import Optimizer
from tests.parallel.cases import BF16, FP64, GPT2, LLAMA, SGD, TRAINING, Case, case, plan
from tests.parallel.measured import build, decays, learn

STEPS = 3
CASES = [
    case("one rank", GPT2, plan()),
    case("one rank, bf16", LLAMA, plan(), BF16),
    case("dp2, zero 1, bf16", LLAMA, plan(data=2, zero=1), BF16),
    case("dp2, zero 2", GPT2, plan(data=2, zero=2), SGD),
    case("dp2, zero 3, bf16", GPT2, plan(data=2, zero=3), BF16),
    case("dp2 tp4, displaced, zero 3", replace(LLAMA, bias=True), plan(data=2, tensor=4, zero=3)),
    case("dp2 pp2, tied, fp64", GPT2, plan(data=2, pipeline=2), FP64),
    case("dp2, int8", GPT2, plan(data=2, compression="int8"), TRAINING),
    case("dp2, served, bf16", LLAMA, plan(data=2, synchronisation="parameter-server"), BF16),
    case("dp2, local sgd, bf16", GPT2, plan(data=2, synchronisation="local-sgd", local_steps=2), BF16),
    case("dp2, diloco", LLAMA, plan(data=2, synchronisation="diloco", local_steps=2)),
]


def learned(one: Case, offload: bool) -> Mapping[str, torch.Tensor]:
    """On every rank: all that some steps have left, by what it is."""
    model = build(one)
    optimizer = Optimizer(
        model.shards, model.gradients, decays(one), one.training, unfused=model.displaced, offload=offload
    )
    for step in range(STEPS):
        learn(one, model, optimizer, step)
    states = {f"{name}/{key}": value for name, state in optimizer.state.items() for key, value in state.items()}
    masters = {f"{name}/master": master for name, master in optimizer.masters.items()}
    return {name: tensor.detach().clone() for name, tensor in {**model.weights, **masters, **states}.items()}


def test_it_is_the_same_to_the_bit(run_on_ranks):
    for one in CASES:
        device = run_on_ranks(one.plan.ranks, learned, one, False)
        host = run_on_ranks(one.plan.ranks, learned, one, True)
        for here, there in zip(device, host, strict=True):
            assert here.keys() == there.keys(), one
            assert len(here) > 5
            assert [name for name in here if not torch.equal(here[name], there[name])] == [], one


@pytest.mark.parametrize("offload", [False, True])
def test_weights_move(offload, run_on_ranks):
    one = replace(CASES[0], training=replace(TRAINING, warmup_steps=0))
    (after,) = run_on_ranks(1, learned, one, offload)
    (before,) = run_on_ranks(1, drawn, one)
    assert not any(torch.equal(before[name], after[name]) for name in before)


def drawn(one: Case) -> Mapping[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in build(one).weights.items()}
