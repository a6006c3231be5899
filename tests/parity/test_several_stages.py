"""Several stages a rank, and backward in two parts: every schedule, with every other axis, ties, and every level of
ZeRO."""

from __future__ import annotations

from dataclasses import replace

import pytest

from plait.specs.grids import tidy
from tests.parity.harness import BITING, GPT2, LLAMA, TRAINING, plan

TIED, UNTIED = replace(GPT2, layers=5, dropout=0.1), replace(LLAMA, layers=5)
FIVE = replace(LLAMA, layers=5, tie_embeddings=True)
GRID = tidy("""
rank 0   0F0 0F1 0F2 3F0 3B0 3F1 3B1 0B0 3F2 3I2 0B1 3W2 0I2 0W2
rank 1   1F0 1F1 2F0 2F1 2I0 1B0 2W0 1F2 2F2 2B1 1B1 2I2 1I2 2W2 1W2
""")
KINDS = {
    "interleaved": {"schedule": "interleaved", "virtual_stages": 2, "stages": (1, 2, 1, 1)},
    "zb-h1": {"schedule": "zb-h1", "stages": (2, 3)},
    "zb-v": {"schedule": "zb-v", "virtual_stages": 2, "stages": (1, 1, 1, 2)},
    "grid": {"schedule": GRID, "virtual_stages": 2, "stages": (1, 1, 2, 1)},
}
NAMED = [kind for kind in KINDS if kind != "grid"]


@pytest.mark.parametrize("microbatches", [1, 2, 3, 5, 6])
@pytest.mark.parametrize("kind", NAMED)
def test_a_pipeline_is_the_same_model(parity, kind, microbatches):
    training = replace(TRAINING, global_batch=microbatches, clip_norm=BITING)
    parity.holds(TIED, training, plan(pipeline=2, layers=5, microbatch=1, **KINDS[kind]), exact=["value"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_last_microbatch_may_be_smaller(parity, kind):
    parity.holds(TIED, replace(TRAINING, global_batch=5), plan(pipeline=2, layers=5, **KINDS[kind]), exact=["value"])


@pytest.mark.parametrize("kind", NAMED)
def test_without_ties_every_gradient_is_equal_to_the_bit(parity, kind):
    """All of a weight's gradients are summed in the order of the microbatches, whenever they are made."""
    exact = ["value", "gradient"] if kind == "interleaved" else ["value"]  # W sums its tokens in a product of its own
    parity.holds(UNTIED, TRAINING, plan(pipeline=2, layers=5, **KINDS[kind]), exact=exact)


@pytest.mark.parametrize(
    "stages",
    [(4, "zb-h1", 1, (1, 1, 2, 1)), (3, "zb-h1", 1, (1, 3, 1)), (1, "zb-v", 2, (2, 3)), (2, "interleaved", 3, None)],
)
def test_other_numbers_of_stages(parity, stages):
    pipeline, kind, virtual, layers = stages
    model = TIED if layers else replace(TIED, layers=6)
    chosen = plan(pipeline=pipeline, schedule=kind, virtual_stages=virtual, stages=layers or (1,) * 6)
    parity.holds(model, replace(TRAINING, clip_norm=BITING), chosen, exact=["value"])


@pytest.mark.parametrize("model", [TIED, FIVE], ids=["gpt2", "llama"])
@pytest.mark.parametrize("kind", NAMED)
def test_with_tensor_ranks(parity, kind, model):
    chosen = plan(tensor=2, pipeline=2, layers=5, sequence_parallel=model is FIVE, **KINDS[kind])
    parity.holds(model, replace(TRAINING, clip_norm=BITING), chosen)


@pytest.mark.parametrize("zero", [0, 1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_with_replicas_of_unequal_batches(parity, kind, zero):
    """One has three microbatches, the other fewer, the last of them smaller."""
    training = replace(TRAINING, global_batch=9, clip_norm=BITING)
    chosen = plan(data=2, pipeline=2, layers=5, data_shares=(2, 1), zero=zero, bucket_bytes=4096, **KINDS[kind])
    parity.holds(TIED if zero in (0, 3) else FIVE, training, chosen)


@pytest.mark.parametrize("kind", NAMED)
def test_all_axes_under_zero_3(parity, kind):
    chosen = plan(
        data=2, tensor=2, pipeline=2, layers=5, zero=3, sequence_parallel=True, bucket_bytes=4096, **KINDS[kind]
    )
    parity.holds(FIVE, replace(TRAINING, clip_norm=BITING), chosen)
