"""Batches that come out uneven: unequal shares, more microbatches on one replica than another, smaller last ones."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.parity.harness import BITING, GPT2, LLAMA, TRAINING, plan

CLIPPED = replace(TRAINING, clip_norm=BITING, global_batch=11)
LEVELS = (0, 1, 2, 3)

LAYOUTS = {
    "dp2, two to one": (GPT2, {"data": 2, "data_shares": (2, 1)}),
    "dp3, dropout": (replace(LLAMA, dropout=0.1), {"data": 3, "data_shares": (3, 1, 2)}),
    "dp3, equal shares": (GPT2, {"data": 3, "microbatch": 3}),
    "dp2, the last rank has most": (LLAMA, {"data": 2, "data_shares": (1, 4), "microbatch": 1}),
    "dp2 tp2 sp": (
        replace(LLAMA, tie_embeddings=True),
        {"data": 2, "tensor": 2, "data_shares": (3, 1), "sequence_parallel": True},
    ),
    "dp2 pp2": (replace(GPT2, layers=3), {"data": 2, "pipeline": 2, "data_shares": (3, 1)}),
    "dp3 pp2 gpipe": (
        replace(LLAMA, layers=3),
        {"data": 3, "pipeline": 2, "schedule": "gpipe", "data_shares": (3, 1, 2)},
    ),
    "dp2 tp2 pp2": (
        replace(GPT2, layers=3),
        {"data": 2, "tensor": 2, "pipeline": 2, "data_shares": (1, 3), "bucket_bytes": 2048},
    ),
}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_unevenly_dealt_batch_is_the_same_model(parity, layout, level):
    model, degrees = LAYOUTS[layout]
    parity.holds(model, CLIPPED, plan(layers=model.layers, zero=level, **degrees))
