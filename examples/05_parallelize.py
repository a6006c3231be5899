"""Your own loop: cut a plain decoder by a plan, on every rank, and take the steps yourself.

    python examples/05_parallelize.py

Two replicas of a two-stage pipeline, four processes. Nothing of the model's code knows about it.
"""

from __future__ import annotations

import torch

import plait
from plait.collectives.process_groups import build_mesh
from plait.launchers import RankPool
from plait.models.gpt import Decoder
from plait.models.sequences import Sequences
from plait.plans.plan import Plan
from plait.specs.model import ModelSpec

SPEC = ModelSpec(layers=4, hidden=64, heads=4, kv_heads=4, ffn=128, vocab=100, max_positions=32)
PLAN = Plan(data=2, pipeline=2, stages=(2, 2), microbatch=2, data_shares=(1, 1))
BATCH = 8


def learn(steps: int) -> list[float]:
    """What every rank does; returns the losses on the ranks of the last stage."""
    with torch.device("meta"):  # no rank ever holds the whole model
        decoder = Decoder(SPEC, seed=0)
    model = plait.parallelize(decoder, PLAN, build_mesh(PLAN.mesh))
    optimizer = torch.optim.SGD(model.weights.values(), lr=0.5)
    share = BATCH // PLAN.data
    first = model.mesh.coordinate("data") * share
    losses: list[float] = []
    for step in range(steps):
        text = (torch.arange(33) + torch.arange(BATCH)[:, None]) % 100  # counting upwards, from 8 places
        rows = Sequences.of(text[:, :-1], text[:, 1:], step=step).rows(first, first + share)
        loss = model.forward_backward(rows, target_count=BATCH * 32)
        model.sum_gradients()
        model.clip_gradients(1.0)
        optimizer.step()  # each weight's .grad is its gradient of the whole global batch
        losses += [] if loss is None else [loss]
    return losses


def main() -> None:
    """Start four ranks and print what the last stage saw."""
    with RankPool(PLAN.ranks) as ranks:
        losses = ranks.run(learn, 20)[-1]
    print("loss", " ".join(f"{loss:.3f}" for loss in losses[::4]), f"-> {losses[-1]:.3f}")


if __name__ == "__main__":
    main()
