"""One rank's part, driven from outside: the loss that it reports, and an evaluation that leaves no trace."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from plait.models.gpt import Decoder
from plait.models.init import initialise
from plait.models.loss import IGNORED
from plait.models.sequences import Sequences
from plait.schedules.forward_only import forward_only
from plait.schedules.registry import build_schedule
from tests.parallel.cases import FP64, GPT2, Case, plan
from tests.parallel.measured import build

MODEL = replace(GPT2, dropout=0.2)
PLANS = {
    "one rank": plan(),
    "dp2": plan(data=2),
    "pp2": plan(pipeline=2),
    "all axes": plan(data=2, tensor=2, pipeline=2),
}
CASES = [Case(name=name, model=MODEL, plan=chosen, training=FP64) for name, chosen in PLANS.items()]
LENGTH = 9


def whole_batch(samples):
    generator = torch.Generator().manual_seed(samples)
    tokens, targets = (torch.randint(MODEL.vocab, (samples, LENGTH), generator=generator) for _ in range(2))
    targets[0, :4] = IGNORED
    return Sequences.of(tokens, targets)


def own_rows(model, whole):
    share = len(whole.samples) // model.plan.data
    first = model.mesh.coordinate("data") * share
    return whole.rows(first, first + share)


def plain_loss(whole, *, learning):
    decoder = Decoder(MODEL).double().train(learning)
    initialise(decoder, MODEL, 0)
    return decoder(whole).item()


def learn_once(case):
    model, whole = build(case), whole_batch(6)
    targets = int((whole.targets != IGNORED).sum())
    loss = model.forward_backward(own_rows(model, whole), targets)
    actions = [timed.action for timed in model.timeline]
    return loss, actions, model.is_last_stage, targets


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_last_stage_knows_the_mean_over_all_targets(run_on_ranks, case):
    expected = plain_loss(whole_batch(6), learning=True) / (6 * LENGTH - 4)
    schedule = build_schedule("1f1b", case.plan.pipeline, 3)
    for rank, (loss, actions, is_last, targets) in enumerate(run_on_ranks(case.plan.ranks, learn_once, case)):
        place = case.plan.mesh.coordinate(rank, "pipeline")
        assert targets == 6 * LENGTH - 4
        assert is_last == (place == case.plan.pipeline - 1)
        assert loss == (pytest.approx(expected, rel=1e-13) if is_last else None)
        assert actions == [action for step in schedule.programs[place] for action in step]


def evaluate_between(case, samples):
    model, whole = build(case), whole_batch(samples)
    for gradient in model.gradients.values():
        gradient.fill_(3.0)
    loss = model.evaluate(own_rows(model, whole))
    untouched = all((gradient == 3.0).all() for gradient in model.gradients.values())
    clean = all(weight.grad is None for weight in model.weights.values())
    return loss, untouched and clean, [timed.action for timed in model.timeline]


@pytest.mark.parametrize("samples", [6, 10])  # 10: one, 2 and 5 of them a microbatch, the last of which is short
@pytest.mark.parametrize("case", CASES, ids=str)
def test_evaluation_sums_without_dropout_and_leaves_no_trace(run_on_ranks, case, samples):
    expected = plain_loss(whole_batch(samples), learning=False)
    chosen = replace(case, plan=replace(case.plan, microbatch=2))
    microbatches = -(-samples // case.plan.data // 2)
    for rank, (loss, untouched, actions) in enumerate(run_on_ranks(case.plan.ranks, evaluate_between, chosen, samples)):
        place = case.plan.mesh.coordinate(rank, "pipeline")
        assert loss == (pytest.approx(expected, rel=1e-13) if place == case.plan.pipeline - 1 else None)
        assert untouched
        program = forward_only(range(case.plan.pipeline), microbatches).programs[place]
        assert actions == [action for step in program for action in step]
