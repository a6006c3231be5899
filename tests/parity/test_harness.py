"""The harness itself can fail: by a billionth on one rank, by a copy that drifts, by a tensor that is missing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from plait.defects import plant
from tests.parity.harness import BITING, BOUND, GPT2, LLAMA, TRAINING, plan
from tests.verification import own_defects

SEQUENCE = plan(tensor=2, sequence_parallel=True, microbatch=12)
STAGES = plan(pipeline=2, microbatch=12)
REPLICAS = plan(data=2, microbatch=6)


def test_a_gradient_that_is_wrong_by_a_billionth_is_seen(parity):
    with plant("stage-scaled-by-a-billionth"), pytest.raises(AssertionError, match="block 0/gradient"):
        parity.holds(LLAMA, TRAINING, STAGES)


def test_rounding_alone_is_far_below_the_bound(parity):
    assert own_defects.StageScaledWithinRounding.factor == 1 + BOUND / 10
    with plant("stage-scaled-within-rounding"):
        parity.holds(LLAMA, TRAINING, STAGES)


@pytest.mark.parametrize(
    ("model", "chosen", "defect", "seen"),
    [
        (LLAMA, SEQUENCE, "norm-gradient-partial", "model.norm.weight"),
        (GPT2, STAGES, "tied-gradient-not-summed", "transformer.wte.weight"),
        (GPT2, REPLICAS, "bucket-not-reduced", "transformer.ln_f.bias"),
        (GPT2, REPLICAS, "replica-drifts", "transformer.wte.weight"),
        (GPT2, SEQUENCE, "norm-counts-replicas", "norm"),
        (GPT2, SEQUENCE, "row-bias-on-every-rank", "block 0"),
        (replace(LLAMA, layers=4), plan(pipeline=2, layers=4), "layers-dropped", "block 1"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_mistake_is_seen(parity, model, chosen, defect, seen):
    with plant(defect), pytest.raises(AssertionError, match=seen):
        parity.holds(model, replace(TRAINING, clip_norm=BITING), chosen)
