"""Plait takes the peers' steps: from their weights and batches it comes to the loss that their own systems end with."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))  # the ranks get this path too

from beside_peers import plans
from peer_job import decoder_of, last_losses

from plait.plans.plan import Plan

LOSS_AFTER_50_STEPS = 4.82348  # of every native peer, "tiny": benchmarks/peers/README.md


def test_their_weights_fit_under_published_names():
    block = 4 * 128 * 128 + 3 * 128 * 352 + 2 * 128  # q k v o, gate up down, two norms
    whole = 4 * block + 128 + 2 * 512 * 128  # the last norm; embedding and head
    assert sum(weight.numel() for weight in decoder_of("tiny").parameters()) == whole


@pytest.mark.parametrize("name", ["one rank", "plait dp2", "plait tp2", "plait pp2"])
def test_it_ends_at_the_peers_loss(run_on_ranks, name):
    plan = {"one rank": Plan(stages=(4,), microbatch=8), **plans("tiny")}[name]
    *_, losses = run_on_ranks(plan.ranks, last_losses, "tiny", plan, 50)
    assert losses[-1] == pytest.approx(LOSS_AFTER_50_STEPS, abs=1e-4)
