"""ZeRO at every level: gradients, optimizer and weights in pieces are the same model, with every other axis."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.parity.harness import BITING, GPT2, LLAMA, TRAINING, plan

CLIPPED = replace(TRAINING, clip_norm=BITING)
LEVELS = (1, 2, 3)
DISPLACED = replace(LLAMA, bias=True)  # four tensor ranks, two kv heads: rows of a bias can't be shared out alike

LAYOUTS = {
    "dp2": (GPT2, {"data": 2}),
    "dp3, dropout": (replace(LLAMA, dropout=0.1), {"data": 3}),
    "dp2 tp2": (GPT2, {"data": 2, "tensor": 2}),
    "dp2 tp2 sp": (replace(LLAMA, tie_embeddings=True), {"data": 2, "tensor": 2, "sequence_parallel": True}),
    "dp2 tp4": (DISPLACED, {"data": 2, "tensor": 4, "microbatch": 3}),
    "dp2 pp2": (replace(GPT2, layers=3), {"data": 2, "pipeline": 2}),
    "dp2 pp2 gpipe": (replace(LLAMA, layers=3), {"data": 2, "pipeline": 2, "schedule": "gpipe"}),
    "dp2 tp2 pp2": (replace(GPT2, layers=3), {"data": 2, "tensor": 2, "pipeline": 2, "sequence_parallel": True}),
}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_sharded_layout_is_the_same_model(parity, layout, level):
    model, degrees = LAYOUTS[layout]
    parity.holds(model, CLIPPED, plan(layers=model.layers, zero=level, **degrees))


@pytest.mark.parametrize("level", LEVELS)
def test_more_ranks_than_rows(parity, level):
    model = replace(GPT2, hidden=4, heads=1, kv_heads=1, ffn=3, layers=1)
    parity.holds(model, replace(TRAINING, optimizer="sgd"), plan(data=6, layers=1, microbatch=1, zero=level))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("bucket_bytes", [1, 2**30])
def test_any_size_of_bucket(parity, level, bucket_bytes):
    parity.holds(LLAMA, CLIPPED, plan(data=2, zero=level, bucket_bytes=bucket_bytes))
