"""A synchronous parameter server is the same model, and its sums are dense all-reduce's to the bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.parity.harness import BITING, GPT2, LLAMA, TRAINING, plan

CLIPPED = replace(TRAINING, clip_norm=BITING)
SERVED = {"synchronisation": "parameter-server"}
LAYOUTS = {
    "dp2": (GPT2, {"data": 2}),
    "dp3, dropout": (replace(LLAMA, dropout=0.1), {"data": 3}),
    "dp3, two serve alone": (GPT2, {"data": 3, "servers": 2}),
    "dp2 tp2 sp": (replace(LLAMA, tie_embeddings=True), {"data": 2, "tensor": 2, "sequence_parallel": True}),
    "dp3 tp2, one serves alone": (LLAMA, {"data": 3, "tensor": 2, "servers": 1, "sequence_parallel": True}),
    "dp2 tp4": (replace(LLAMA, bias=True), {"data": 2, "tensor": 4, "microbatch": 3}),
    "dp2 pp2": (replace(GPT2, layers=3), {"data": 2, "pipeline": 2}),
    "dp3 pp2, one serves alone": (replace(GPT2, layers=3), {"data": 3, "pipeline": 2, "servers": 1}),
    "dp3, shares, one serves alone": (GPT2, {"data": 3, "data_shares": (3, 1, 1), "servers": 1}),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_served_layout_is_the_same_model(parity, layout):
    model, degrees = LAYOUTS[layout]
    parity.holds(model, CLIPPED, plan(layers=model.layers, **SERVED, **degrees))


@pytest.mark.parametrize("servers", [0, 5])
def test_more_servers_than_rows_with_momentum(parity, servers):
    model = replace(GPT2, hidden=4, heads=1, kv_heads=1, ffn=3, layers=1)
    training = replace(TRAINING, optimizer="sgd")
    parity.holds(model, training, plan(data=6, layers=1, microbatch=1, servers=servers, bucket_bytes=1, **SERVED))


@pytest.mark.parametrize("servers", [0, 1])
def test_workers_gradients_are_those_of_a_dense_sum_to_the_bit(parity, servers):
    dense = parity.performed(LLAMA, TRAINING, plan(data=3))
    pushed = parity.performed(LLAMA, TRAINING, plan(data=3 + servers, servers=servers, **SERVED))
    gradients = [entry for entry in dense if entry.kind == "gradient" and entry.step == 1]
    assert len(gradients) > 10
    assert all(np.array_equal(dense[entry], pushed[entry]) for entry in gradients)
