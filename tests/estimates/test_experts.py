"""Experts: one placing for what ranks hold, sum and send, and what a block with experts says over the tensor axis."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from plait.estimates.collectives import Network
from plait.estimates.estimate import running_out
from plait.estimates.memory import memory
from plait.estimates.practice import Practice
from plait.estimates.step import times
from plait.estimates.task import Task
from plait.layers.parameters import parameters
from plait.specs.model import Experts, ModelSpec
from plait.specs.presets import PRESETS
from tests.estimates.arranged import GPT, arranged, machines, task

MIXTRAL = ModelSpec(**PRESETS["mixtral-8x7b"], max_positions=4096)
H100 = Task(
    model=MIXTRAL, global_batch=256, sequence=4096, machines=machines("h100-80gb", nodes=8),
    practice=Practice(overlap_data=False, overlap_tensor=False),
)  # fmt: skip
EXPERTS = replace(GPT, bias=False, experts=Experts(count=8, per_token=2, ffn=2048))
PLAIN = Practice(overlap_data=False, overlap_tensor=False)


def test_mixtral_on_64_h100_shares_out_the_experts_that_eight_ranks_have() -> None:
    """Tensor 8, data 8, expert 8: each expert on 8 of 64 ranks, so that each of these keeps an eighth of its state."""
    plan = arranged(tensor=8, data=8, expert=8, zero=1, sequence_parallel=True, recompute="selective")
    held = memory(H100, plan)
    counted = parameters(MIXTRAL)
    whole = counted.router + counted.norms  # on every tensor rank
    dense = (counted.total - counted.experts - whole) / 8 + whole
    assert held.optimizer[0] == pytest.approx(12 * (dense / 8 + counted.experts / 8 / 8), rel=1e-9)
    assert running_out(H100, held.total)[0] < 0.1


@pytest.mark.parametrize("zero", [0, 1])
@pytest.mark.parametrize("degrees", [(2, 1, 1), (2, 1, 2), (4, 2, 4), (1, 8, 4)])
def test_all_copies_together_keep_each_expert_s_state_once(degrees: tuple[int, int, int], zero: int) -> None:
    tensor, data, expert = degrees
    with_experts, without = (
        memory(replace(H100, model=model), arranged(tensor=tensor, data=data, expert=expert, zero=zero)).optimizer[0]
        for model in (MIXTRAL, replace(MIXTRAL, experts=Experts(count=8, per_token=2, ffn=0)))
    )
    kept = (with_experts - without) * tensor * data / (1 if zero else tensor * data / expert)
    assert kept == pytest.approx(12 * parameters(MIXTRAL).experts, rel=1e-9)


def test_experts_that_tensor_ranks_copy_are_summed_there() -> None:
    counted, network = parameters(EXPERTS), Network(machines=machines())
    found = times(task(EXPERTS, practice=PLAIN), arranged(tensor=2, expert=1, data=1)).data[0]
    two, one = np.array([2]), np.array([1])
    experts = 2 * network.reduce_scatter(np.array([4.0 * counted.experts]), two, one)[0]
    whole = network.all_reduce(np.array([4.0 * (counted.router + counted.norms)]), two, one)[0]
    assert found == pytest.approx(experts + whole, rel=1e-9)
    apart = times(task(EXPERTS, practice=PLAIN), arranged(tensor=2, expert=2, data=1)).data[0]
    assert apart == pytest.approx(whole, rel=1e-9)


def test_copies_are_updated_as_they_are_kept() -> None:
    apart, copied = (
        times(task(EXPERTS), arranged(tensor=4, data=2, expert=expert, zero=1)).optimizer[0] for expert in (8, 2)
    )
    assert apart == pytest.approx(copied)  # a quarter as many experts on a rank, a quarter as many copies


def test_results_are_gathered_over_tensor_ranks_that_all_have_the_sequence() -> None:
    """Each tensor rank sends its part of the tokens to experts: the rest need the results, forward, and backward their
    gradients; with sequence parallelism everybody keeps its part. Shared experts are split, and summed as an MLP is."""
    plans = arranged(2, tensor=4, microbatch=2, sequence_parallel=[True, False])
    size = np.array([2 * 2048 * GPT.hidden * 2.0])
    one = Network(machines=machines()).all_reduce(size, np.array([4]), np.array([1]))[0]
    shared = replace(EXPERTS, experts=Experts(count=8, per_token=2, ffn=2048, shared=1))
    rounds = 256 / 2 * GPT.layers

    def said(model: ModelSpec) -> np.ndarray:
        return times(task(model, practice=PLAIN), plans).tensor / rounds

    split, whole = said(EXPERTS)
    assert whole - split == pytest.approx(2 * one / 2, rel=1e-9)
    assert said(shared) - said(EXPERTS) == pytest.approx([2 * one, 2 * one], rel=1e-9)
    assert said(replace(EXPERTS, experts=None))[0] - split == pytest.approx(2 * one, rel=1e-9)


def test_experts_stand_side_by_side_whatever_their_ranks_are_to_other_axes() -> None:
    """Tensor 8 with as many tokens a rank as tensor 1: the same eight neighbours on one host."""
    plans = arranged(3, tensor=[8, 1, 1], data=[4, 32, 32], microbatch=[8, 1, 1], expert=[8, 8, 16])
    experts = replace(EXPERTS, experts=Experts(count=16, per_token=2, ffn=2048))
    inside, as_well, across = times(task(experts), plans).expert
    assert inside == pytest.approx(as_well, rel=1e-12)
    assert across > 2 * inside
