"""One step against the loop that anybody would write, and what it says of itself."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from plait.collectives.process_groups import build_mesh
from plait.devices.device import Device
from plait.layers.gpt import describe_gpt
from plait.models.gpt import Decoder
from plait.models.init import initialise
from plait.models.sequences import Sequences
from plait.parallel.apply import parallelize
from plait.plans.plan import Plan
from plait.sharding.mesh_shape import AXES
from plait.specs.model import ModelSpec
from plait.specs.training import TrainingSpec
from plait.training.learning_rate import learning_rate_at
from plait.training.optimizer import Optimizer
from plait.training.step import train_step

MODEL = ModelSpec(layers=2, hidden=8, heads=2, kv_heads=2, ffn=20, vocab=31, max_positions=6, dropout=0.1)
TRAINING = TrainingSpec(
    steps=10, global_batch=6, sequence_length=6, learning_rate=0.05, warmup_steps=2, clip_norm=0.3, precision="fp64"
)
TARGETS = 36
STEPS = 3
DECAYS = {weight.name: weight.decays for layer in describe_gpt(MODEL) for weight in layer.weights}


def batch(step):
    tokens = torch.randint(31, (6, 7), generator=torch.Generator().manual_seed(step))
    return Sequences.of(tokens[:, :-1], tokens[:, 1:], first_sample=6 * step, step=step)


def prepared(plan):
    with torch.device("meta"):
        decoder = Decoder(MODEL).double()
    model = parallelize(decoder, plan, build_mesh(plan.mesh))
    return model, Optimizer(model.weights, model.gradients, DECAYS, TRAINING)


ONE_RANK = Plan(stages=(2,), microbatch=2)


def plain_loop(training):
    """Three steps of one plain model: losses, norms, weights."""
    decoder = Decoder(MODEL).double()
    initialise(decoder, MODEL, 0)
    weights = dict(decoder.named_parameters())
    groups = [
        {"params": [weights[name] for name in weights if DECAYS[name] is decays], "weight_decay": decay}
        for decays, decay in ((True, training.weight_decay), (False, 0.0))
    ]
    optimizer = torch.optim.AdamW(groups, betas=training.betas, fused=True)
    losses, norms = [], []
    for step in range(STEPS):
        optimizer.zero_grad()
        parts = [decoder(batch(step).rows(start, start + 2)) for start in (0, 2, 4)]
        for loss in parts:
            (loss / TARGETS).backward()
        losses.append(sum(part.item() for part in parts) / TARGETS)
        if training.clip_norm:
            norms.append(torch.nn.utils.clip_grad_norm_(weights.values(), training.clip_norm).item())
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(step, training)
        optimizer.step()
    return losses, norms, weights


@pytest.mark.parametrize("clip_norm", [0.3, 0.0])
def test_one_rank_is_the_plain_loop(clip_norm):
    training = replace(TRAINING, clip_norm=clip_norm)
    losses, norms, weights = plain_loop(training)
    model, optimizer = prepared(ONE_RANK)
    results = [train_step(model, optimizer, batch(step), TARGETS, training) for step in range(STEPS)]
    assert [result.loss for result in results] == pytest.approx(losses, rel=1e-14)
    assert [result.norm for result in results] == (pytest.approx(norms, rel=1e-12) if norms else [None] * STEPS)
    for name, weight in weights.items():
        assert torch.equal(model.weights[name], weight)
    assert not norms or min(norms) > clip_norm, "clipping should bite"


def test_gradients_are_shown_whole_and_not_yet_clipped():
    model, optimizer = prepared(ONE_RANK)
    shown = []

    def look():
        flat = torch.cat([gradient.flatten() for gradient in model.gradients.values()])
        shown.append(flat.norm().item())

    result = train_step(model, optimizer, batch(0), TARGETS, TRAINING, on_gradients=look)
    assert shown == pytest.approx([result.norm], rel=1e-14)
    look()
    assert shown[1] == pytest.approx(TRAINING.clip_norm, rel=1e-5)  # torch's clipping adds 1e-6 to the norm


def test_the_step_of_the_rows_sets_the_rate():
    moved = []
    for step in (0, 1):  # half the rate, and the full one
        model, optimizer = prepared(ONE_RANK)
        before = model.weights["transformer.ln_f.bias"].detach().clone()
        train_step(model, optimizer, replace(batch(0), step=step), TARGETS, TRAINING)
        moved.append((model.weights["transformer.ln_f.bias"] - before).abs().mean().item())
    assert moved[1] == pytest.approx(2 * moved[0], rel=1e-3)  # AdamW's first step is the rate, but for its epsilon


def test_no_look_at_the_clock_before_the_device_is_done(monkeypatch):
    seen = []

    def clock():
        seen.append("clock")
        return float(len(seen))

    model, optimizer = prepared(ONE_RANK)
    monkeypatch.setattr(Device, "synchronize", lambda device: seen.append(device))
    monkeypatch.setattr("plait.training.step.perf_counter", clock)
    result = train_step(model, optimizer, batch(0), TARGETS, TRAINING)
    assert seen == [Device(), "clock"] * 3
    assert result.seconds == 4.0


def describe_steps(plan):
    model, optimizer = prepared(plan)
    share = 6 // plan.data
    first = model.mesh.coordinate("data") * share
    rows = [batch(step).rows(first, first + share) for step in range(STEPS)]
    return [train_step(model, optimizer, one, TARGETS, TRAINING) for one in rows]


ALL_AXES = Plan(data=2, tensor=2, pipeline=2, stages=(1, 1), tensor_shares=(1, 1), data_shares=(1, 1), microbatch=1)


def test_seconds_are_accounted_for_on_every_rank(run_on_ranks):
    losses, norms, _ = plain_loop(TRAINING)
    for rank, results in enumerate(run_on_ranks(8, describe_steps, ALL_AXES)):
        for step, result in enumerate(results):
            terms = result.terms
            parts = [terms.compute, terms.bubble, terms.optimizer, *terms.exposed.values()]
            assert sum(parts) == pytest.approx(result.seconds, rel=1e-9)
            assert min(parts) >= 0
            assert set(terms.exposed) == set(AXES)
            assert result.loss == (pytest.approx(losses[step], rel=1e-10) if rank >= 4 else None)
            assert result.norm == pytest.approx(norms[step], rel=1e-10)
