"""The one process: what it leaves, that its orders differ in rounding alone, and that it watches without touching."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from plait.plans.plan import Plan
from plait.specs.model import ModelSpec
from plait.specs.training import TrainingSpec
from plait.verification.compare import largest, largest_difference
from plait.verification.trace import EPSILON, Entry, Trace

GPT2 = ModelSpec(layers=2, hidden=12, heads=3, kv_heads=3, ffn=18, vocab=31, max_positions=9, dropout=0.2)
LLAMA = replace(
    GPT2, heads=6, kv_heads=2, hidden=24, positions="rope", norm="rms", activation="swiglu", bias=False,
    tie_embeddings=False,
)  # fmt: skip
TRAINING = TrainingSpec(global_batch=6, sequence_length=8, learning_rate=1e-2, warmup_steps=0, clip_norm=0.1)


def run(model: ModelSpec, training: TrainingSpec, **how) -> Trace:
    from plait.verification.reference import reference_trace
    from plait.verification.source import Experiment

    experiment = Experiment.of(model, training, Plan(stages=(model.layers,), microbatch=2))
    return reference_trace(experiment, **how).trace


def by_hand() -> dict[str, object]:
    """Loss and gradients of the first step, from the model alone: no microbatches, no watch, no optimizer."""

    from plait.models.gpt import Decoder
    from plait.models.init import initialise
    from plait.verification.probe import probe_batch

    decoder = Decoder(GPT2).double()
    initialise(decoder, GPT2, TRAINING.seed)
    batch = probe_batch(GPT2, TRAINING, 0)
    loss = decoder(batch) / int((batch.targets != -100).sum())
    loss.backward()
    return {
        "loss": loss.item(),
        **{name: w.grad.numpy() for name, w in decoder.named_parameters() if w.grad is not None},
    }


def draw_probes() -> list[tuple[object, object, list[int], int]]:
    from plait.verification.probe import probe_batch

    batches = [probe_batch(GPT2, TRAINING, step) for step in (0, 0, 1)]
    return [(b.tokens.numpy(), b.targets.numpy(), b.samples.tolist(), b.step) for b in batches]


@pytest.fixture
def traced(run_on_ranks):
    def one(model=GPT2, training=TRAINING, **how) -> Trace:
        return run_on_ranks(1, _run, model, training, how)[0]

    return one


def _run(model, training, how) -> Trace:
    return run(model, training, **how)


def test_it_leaves_every_tensor_of_every_step(traced):
    trace = traced(precision="fp64")
    values = {entry for entry in trace if entry.kind == "value"}
    layers, parts = ("embedding", "block 0", "block 1"), ("", "/gradient", "/evaluated")
    assert values == {Entry(s, "value", f"{n}{g}") for s in (1, 2) for n in layers for g in parts}
    weights = {entry.name for entry in trace if entry.kind == "weight"}
    assert "transformer.wte.weight" in weights
    assert "lm_head.weight" not in weights  # tied
    for step in (1, 2):
        assert {entry.name for entry in trace if entry.kind == "gradient" and entry.step == step} == weights
        assert trace[step, "norm", "norm"] > trace[step, "norm", "norm/clipped"] > 0
        assert trace[step, "norm", "norm/clipped"] == pytest.approx(0.1, rel=1e-4)
        states = {entry.name for entry in trace if entry.kind == "optimizer" and entry.step == step}
        assert states == {f"{w}/{key}" for w in weights for key in ("step", "exp_avg", "exp_avg_sq")}
    assert trace[Entry(1, "value", "block 0")].shape == (6, 8, 12)


def test_an_evaluation_follows_each_step_with_what_it_has_learnt(traced):
    trace = traced(replace(GPT2, dropout=0.0), training=replace(TRAINING, learning_rate=0.1), precision="fp64")
    loss, after = (trace[Entry(1, "loss", name)] for name in ("loss", "loss/evaluated"))
    targets = int(trace[Entry(1, "loss", "loss/evaluated")] / loss)  # it is a sum, the loss is a mean
    assert 6 * 8 / 4 < targets < 6 * 8
    assert not np.array_equal(trace[Entry(1, "value", "block 0")], trace[Entry(1, "value", "block 0/evaluated")])
    assert after != loss


def test_an_evaluation_drops_nothing(traced):
    still = traced(replace(GPT2, dropout=0.5), training=replace(TRAINING, learning_rate=1e-30), precision="fp64")
    plain = traced(replace(GPT2, dropout=0.0), training=replace(TRAINING, learning_rate=1e-30), precision="fp64")
    same = Entry(2, "value", "block 0/evaluated")
    assert largest_difference(plain[same], still[same]) == 0
    assert largest_difference(plain[Entry(2, "value", "block 0")], still[Entry(2, "value", "block 0")]) > 0


def test_microbatches_add_up_to_the_whole_batch(traced, run_on_ranks):
    trace, whole = traced(precision="fp64"), run_on_ranks(1, by_hand)[0]
    assert trace[Entry(1, "loss", "loss")] == pytest.approx(whole.pop("loss"), rel=1e-14)
    for name, gradient in whole.items():
        found = trace[Entry(1, "gradient", name)]
        assert largest_difference(found, gradient) <= 1e-13 * largest(gradient), name


@pytest.mark.parametrize("order", ["backwards", "renumbered"])
@pytest.mark.parametrize("model", [GPT2, LLAMA, replace(GPT2, kv_heads=1), replace(LLAMA, dropout=0.0)])
def test_another_order_is_the_same_model_up_to_rounding(traced, model, order):
    plain, other = traced(model, precision="fp64"), traced(model, precision="fp64", order=order)
    assert plain.keys() == other.keys()
    apart = {e: largest_difference(plain[e], other[e]) / (largest(plain[e]) or 1) for e in plain}
    assert max(apart.values()) < 1e-10
    gradients = [error for entry, error in apart.items() if entry.kind == "gradient" and entry.step == 1]
    assert np.median(gradients) > EPSILON["fp64"] / 4  # it is another order


def test_renumbering_reaches_what_microbatches_do_not(traced):
    plain, other = traced(precision="fp64"), traced(precision="fp64", order="renumbered")
    value = Entry(1, "value", "block 1")
    assert largest_difference(plain[value], other[value]) > 0
    assert largest_difference(plain[value], traced(precision="fp64", order="backwards")[value]) == 0


def test_it_repeats_itself_to_the_bit(traced):
    one, other = traced(precision="fp32"), traced(precision="fp32")
    assert all(np.array_equal(one[entry], other[entry]) for entry in one)
    assert one[Entry(1, "gradient", "transformer.wte.weight")].dtype == np.float32


def test_sgd_without_clipping(traced):
    trace = traced(training=replace(TRAINING, optimizer="sgd", clip_norm=0.0), precision="fp64")
    assert {entry.kind for entry in trace} == {"value", "loss", "gradient", "weight", "optimizer"}
    name = "transformer.ln_f.weight"
    assert np.array_equal(trace[Entry(1, "optimizer", f"{name}/momentum_buffer")], trace[Entry(1, "gradient", name)])


def test_probes_are_the_same_for_everyone_and_new_each_step(run_on_ranks):
    (tokens, targets, samples, step), again, later = run_on_ranks(1, draw_probes)[0]
    assert tokens.shape == targets.shape == (6, 8)
    learnt = targets[:, :-1] != -100
    assert np.array_equal(tokens[:, 1:][learnt], targets[:, :-1][learnt])
    counts = (targets != -100).sum(axis=1)
    assert 0 < counts.sum() < targets.size
    assert (np.diff(counts) < 0).all()  # of no two equal shares of the rows one has as many targets as the other
    assert np.array_equal(tokens, again[0])
    assert not np.array_equal(tokens, later[0])
    assert (samples, step, later[2], later[3]) == ([0, 1, 2, 3, 4, 5], 0, [6, 7, 8, 9, 10, 11], 1)
    assert tokens.min() >= 0
    assert tokens.max() < 31
