"""The optimizer in host memory is the same model, under every level of ZeRO and along every axis."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.parity.harness import BITING, GPT2, LLAMA, TRAINING, plan

CLIPPED = replace(TRAINING, clip_norm=BITING)
LAYOUTS = {
    "alone": (GPT2, {}),
    "dp2": (GPT2, {"data": 2}),
    "dp3, dropout": (replace(LLAMA, dropout=0.1), {"data": 3}),
    "dp2 tp2 sp": (replace(LLAMA, tie_embeddings=True), {"data": 2, "tensor": 2, "sequence_parallel": True}),
    "dp2 tp4": (replace(LLAMA, bias=True), {"data": 2, "tensor": 4, "microbatch": 3}),
    "dp2 pp2": (replace(GPT2, layers=3), {"data": 2, "pipeline": 2}),
}


@pytest.mark.parametrize("level", [0, 1, 2, 3])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_offloaded_layout_is_the_same_model(parity, layout, level):
    model, degrees = LAYOUTS[layout]
    parity.holds(model, CLIPPED, plan(layers=model.layers, zero=level, offload="optimizer", **degrees))


@pytest.mark.parametrize("level", [0, 1, 3])
def test_with_sgd_where_some_ranks_update_nothing(parity, level):
    model = replace(GPT2, hidden=4, heads=1, kv_heads=1, ffn=3, layers=1)
    training = replace(TRAINING, optimizer="sgd")
    parity.holds(model, training, plan(data=6, layers=1, microbatch=1, zero=level, offload="optimizer"))


def test_served(parity):
    served = {"synchronisation": "parameter-server", "servers": 1, "offload": "optimizer"}
    parity.holds(LLAMA, CLIPPED, plan(data=3, **served))
