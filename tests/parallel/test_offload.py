"""With the optimizer in host memory a run is the same to the bit, in every dtype and under every level of ZeRO."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from unittest.mock import patch

import pytest
import torch

from plait.devices.device import Device
from plait.devices.transfers import Pair, Transfers
from plait.training.masters import InHostMemory
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


class Late(Transfers):
    """Copies that are made when they are waited for, and not before; memory that holds nothing until then."""

    def __init__(self, device: Device) -> None:
        super().__init__(device)
        self.sent: list[Pair] = []

    def memory(self, like: torch.Tensor) -> torch.Tensor:
        return super().memory(like).fill_(torch.nan)

    def to_host(self, pairs: Iterable[Pair]) -> Callable[[], None]:
        return partial(copied, list(pairs))

    def to_device(self, pairs: Iterable[Pair]) -> None:
        self.sent += pairs

    def finish(self) -> None:
        copied(self.sent)
        self.sent.clear()


@torch.no_grad()
def copied(pairs: Iterable[Pair]) -> None:
    for source, target in pairs:
        target.copy_(source)


def learned_late(one: Case, left_out: str = "") -> Mapping[str, torch.Tensor]:
    """Offloaded, over `Late`, in batches of one weight; without one of the places where copies are waited for."""
    with ExitStack() as stack:
        stack.enter_context(patch("plait.training.masters.Transfers", Late))
        stack.enter_context(patch("plait.training.masters.BATCH_BYTES", 1))
        if left_out:
            stack.enter_context(patch.object(InHostMemory, left_out, lambda *_: None))
        return learned(one, True)


@pytest.mark.parametrize("one", [CASES[1], CASES[3], CASES[6]], ids=["bf16", "dp2, zero 2", "dp2 pp2"])
def test_it_waits_for_every_copy(one, run_on_ranks):
    """The update for a batch's gradients, the next step for the weights."""
    device = run_on_ranks(one.plan.ranks, learned, one, False)
    host = run_on_ranks(one.plan.ranks, learned_late, one)
    for here, there in zip(device, host, strict=True):
        assert [name for name in here if not torch.equal(here[name], there[name])] == []


@pytest.mark.parametrize("left_out", ["take_in", "end"])
def test_a_copy_that_nobody_waits_for_is_missed(left_out, run_on_ranks):
    one = CASES[1]
    (here,), (there,) = run_on_ranks(1, learned, one, False), run_on_ranks(1, learned_late, one, left_out)
    assert any(not torch.equal(here[name], there[name]) for name in here)


@pytest.mark.parametrize("offload", [False, True])
def test_weights_move(offload, run_on_ranks):
    one = replace(CASES[0], training=replace(TRAINING, warmup_steps=0))
    (after,) = run_on_ranks(1, learned, one, offload)
    (before,) = run_on_ranks(1, drawn, one)
    assert not any(torch.equal(before[name], after[name]) for name in before)


def drawn(one: Case) -> Mapping[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in build(one).weights.items()}
