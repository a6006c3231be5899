"""A synchronous parameter server is the same model, and its sums are dense all-reduce's to the bit.

The classes stand where the model puts ZeRO 1's: what they are given is the same.
"""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest

from plait.plans.plan import Plan
from plait.specs.model import ModelSpec
from plait.specs.training import TrainingSpec
from plait.verification.trace import RankTrace
from tests.parity import harness
from tests.parity.harness import BITING, GPT2, LLAMA, TRAINING, plan

CLIPPED = replace(TRAINING, clip_norm=BITING)
LAYOUTS = {
    "dp2": (GPT2, {"data": 2}),
    "dp3, dropout": (replace(LLAMA, dropout=0.1), {"data": 3}),
    "dp2 tp2 sp": (replace(LLAMA, tie_embeddings=True), {"data": 2, "tensor": 2, "sequence_parallel": True}),
    "dp2 pp2": (replace(GPT2, layers=3), {"data": 2, "pipeline": 2}),
}
run_unserved = harness.run_candidate


def run_served(model: ModelSpec, training: TrainingSpec, chosen: Plan) -> RankTrace:
    """On every rank of a pool."""
    from plait.parallel.synchronous_server import PulledWeights, PushedGradients

    with (
        patch("plait.parallel.model.GradientBuffers", PushedGradients),
        patch("plait.parallel.model.SpreadWeights", PulledWeights),
    ):
        return run_unserved(model, training, chosen)


@pytest.fixture
def served(monkeypatch):
    monkeypatch.setattr(harness, "run_candidate", run_served)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_served_layout_is_the_same_model(parity, served, layout):
    model, degrees = LAYOUTS[layout]
    parity.holds(model, CLIPPED, plan(layers=model.layers, zero=1, **degrees))


def test_more_servers_than_rows_with_momentum(parity, served):
    model = replace(GPT2, hidden=4, heads=1, kv_heads=1, ffn=3, layers=1)
    training = replace(TRAINING, optimizer="sgd")
    parity.holds(model, training, plan(data=6, layers=1, microbatch=1, zero=1, bucket_bytes=1))


def test_three_workers_gradients_are_those_of_a_dense_sum_to_the_bit(parity, monkeypatch):
    dense = parity.performed(LLAMA, TRAINING, plan(data=3))
    monkeypatch.setattr(harness, "run_candidate", run_served)
    pushed = parity.performed(LLAMA, TRAINING, plan(data=3, zero=1))
    gradients = [entry for entry in dense if entry.kind == "gradient" and entry.step == 1]
    assert len(gradients) > 10
    assert all(np.array_equal(dense[entry], pushed[entry]) for entry in gradients)
