"""What ranks hold: Korthikanti's formulas, the bytes a parameter of the ZeRO paper, and what must never happen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from plait.estimates.memory import memory, saved_by_block
from plait.estimates.practice import Practice
from plait.layers.parameters import parameters
from tests.estimates.arranged import GPT, arranged, task

EXPLICIT = Practice(fused_attention=False, masks=True)


@pytest.mark.parametrize("tensor", [1, 2, 8])
@pytest.mark.parametrize("parallel", [False, True])
def test_a_block_saves_what_korthikanti_counts(tensor: int, parallel: bool) -> None:
    """Reducing Activation Recomputation in Large Transformer Models, equations 1, 2 and 4."""
    batch, sequence, hidden, heads = 4, 2048, GPT.hidden, GPT.heads
    plan = arranged(tensor=tensor, microbatch=batch, sequence_parallel=parallel)
    scores = 5 * heads * sequence / hidden
    whole = sequence * batch * hidden
    expected = whole / tensor * (34 + scores) if parallel else whole * (10 + 24 / tensor + scores / tensor)
    found = saved_by_block(GPT, EXPLICIT, plan, sequence)
    assert found["none"][0] == pytest.approx(expected, rel=1e-12)
    assert found["selective"][0] == pytest.approx(expected - whole * scores / tensor, rel=1e-12)


@pytest.mark.parametrize("tensor", [1, 4])
def test_norms_behind_a_block_s_halves_keep_what_they_normalise(tensor: int) -> None:
    plan = arranged(tensor=tensor, microbatch=4, sequence_parallel=True)
    plain, normed = (
        saved_by_block(replace(GPT, post_norms=more), Practice(), plan, 2048)["none"][0] for more in (False, True)
    )
    assert normed - plain == 2 * 2 * 4 * 2048 * GPT.hidden / tensor  # two inputs, of two bytes a feature


@pytest.mark.parametrize(("zero", "each"), [(0, 18), (1, 6 + 12 / 8), (2, 2 + 16 / 8), (3, 18 / 8)])
def test_states_are_the_bytes_a_parameter_of_zero(zero: int, each: float) -> None:
    held = memory(task(), arranged(data=8, zero=zero))
    elements = parameters(GPT).total
    beside = 2 * 2.0 * (elements / GPT.layers) * (zero == 3)  # two layers whole
    beside += 4.0 * (elements / GPT.layers) * (zero >= 2)  # and a layer's gradient, until its share is taken
    found = held.weights[0] + held.gradients[0] + held.optimizer[0]
    assert found == pytest.approx(each * elements + beside, rel=1e-6)


def test_the_first_stage_of_1f1b_holds_as_many_microbatches_as_stages() -> None:
    one = memory(task(), arranged(pipeline=[1], microbatch=1))
    four = memory(task(), arranged(pipeline=[4], microbatch=1))
    gpipe = memory(task(), arranged(pipeline=[4], microbatch=1, schedule="gpipe"))
    received = 2.0 * 2048 * GPT.hidden
    assert four.activations[0] == pytest.approx(
        one.activations[0] + 4 * received
    )  # a quarter of the layers, four times
    assert gpipe.activations[0] == pytest.approx(four.activations[0] * 256 / 4)


def test_offload_takes_the_optimizer_off_the_device() -> None:
    there, gone = memory(task(), arranged(offload=False)), memory(task(), arranged(offload=True))
    assert there.optimizer[0] > 0 == gone.optimizer[0]
    assert there.weights[0] == gone.weights[0]


def test_more_ranks_never_hold_more() -> None:
    for axis in ("data", "tensor", "context"):
        plans = arranged(5, **{axis: [1, 2, 4, 8, 16]}, zero=3, sequence_parallel=True, recompute="selective")
        total = memory(task(batch=256), plans).total
        assert np.all(np.diff(total) < 0), axis


def test_narrow_practice_facts_change_their_own_kind_alone() -> None:
    plan = arranged(data=8, zero=1)
    usual = memory(task(), plan)
    twice = memory(task(practice=replace(Practice(), gradient_copies=2)), plan)
    fused = memory(task(practice=replace(Practice(), loss_bytes=6.0)), plan)
    assert twice.gradients[0] == 2 * usual.gradients[0]
    assert twice.weights[0] == usual.weights[0]
    assert fused.logits[0] == usual.logits[0] / 2
    assert fused.activations[0] == usual.activations[0]
