"""The harness itself can fail: by a billionth on one rank, by a copy that drifts, by a tensor that is missing."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from tests.parity.harness import BITING, BOUND, GPT2, LLAMA, TRAINING, plan
from tests.verification import faults

SEQUENCE = plan(tensor=2, sequence_parallel=True, microbatch=12)
STAGES = plan(pipeline=2, microbatch=12)
REPLICAS = plan(data=2, microbatch=6)


def test_a_gradient_that_is_wrong_by_a_billionth_is_seen(parity):
    slight = partial(faults.first_stage_scaled, 1 + 1e-9)
    with pytest.raises(AssertionError, match="block 0/gradient"):
        parity.holds(LLAMA, TRAINING, STAGES, around=slight)


def test_rounding_alone_is_far_below_the_bound(parity):
    with pytest.raises(AssertionError):
        parity.holds(LLAMA, TRAINING, STAGES, around=partial(faults.first_stage_scaled, 1 + 10 * BOUND))
    parity.holds(LLAMA, TRAINING, STAGES, around=partial(faults.first_stage_scaled, 1 + BOUND / 10))


@pytest.mark.parametrize(
    ("model", "chosen", "fault", "seen"),
    [
        (LLAMA, SEQUENCE, faults.no_sums_over_the_sequence, "model.norm.weight"),
        (GPT2, STAGES, faults.no_sum_of_tied_copies, "transformer.wte.weight"),
        (GPT2, REPLICAS, faults.first_bucket_stays_local, "transformer.ln_f.bias"),
        (GPT2, REPLICAS, faults.one_copy_drifts, "transformer.wte.weight"),
        (GPT2, SEQUENCE, faults.norm_counts_copies, "norm"),
        (GPT2, SEQUENCE, faults.row_bias_on_every_rank, "block 0"),
        (replace(LLAMA, layers=4), plan(pipeline=2, layers=4), faults.layer_lost_between_stages, "block 1"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_mistake_is_seen(parity, model, chosen, fault, seen):
    with pytest.raises(AssertionError, match=seen):
        parity.holds(model, replace(TRAINING, clip_norm=BITING), chosen, around=fault)
