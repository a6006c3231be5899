"""Sums travel while backward computes: on a link that takes its time and no core, little of it is waited for.

    backward   ▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓            each layer sleeps its time
    link            ░░░░ ░░░░ ░░░░ ░░░░ ░░░░ ░░░░        each bucket too; one at a time
                                                ^^^^ exposed: the last bucket, and no more

A start that waits at once exposes all of it. Whole models, with weights that travel too: `test_exposed_models`.
"""

from __future__ import annotations

import time

import pytest
import torch

from plait.collectives.process_groups import Group
from plait.collectives.recorder import record
from plait.parallel import data_parallel
from plait.parallel.data_parallel import GradientBuffers
from plait.parallel.local_sgd import Averaging, LocalGradients
from plait.parallel.sharded_gradients import ShardedGradients
from plait.plans.holdings import Piece
from plait.plans.meetings import pace_of
from plait.plans.plan import Plan
from plait.specs.training import TrainingSpec
from tests.parallel.sleeping_link import SleepingLink

pytestmark = pytest.mark.clock

LAYERS, WIDTH = 8, 6
COMPUTE, TRANSFER = 0.015, 0.010  # seconds of a layer's backward, of a bucket on the link
MOST_EXPOSED = 0.3


class Layer(torch.autograd.Function):
    """x + weight, whose backward sleeps."""

    @staticmethod
    def forward(ctx, x, weight):
        return x + weight

    @staticmethod
    def backward(ctx, gradient):
        time.sleep(COMPUTE)
        return gradient, gradient.clone()


def exposed_share(level: int) -> float:
    """Of the time that the sums of one step's backward take on the link, what is waited for."""
    link = SleepingLink(message_seconds=TRANSFER)
    group = Group(axis="data", ranks=(0, 1), index=0, wire=link)
    weights = {str(number): torch.nn.Parameter(torch.ones(WIDTH)) for number in range(LAYERS)}
    pieces = {name: [Piece(name=name, dim=0, start=0, stop=3), Piece(name=name, dim=0, start=3, stop=6)]
              for name in weights}  # fmt: skip
    buckets = [[name] for name in reversed(weights)]
    match level:
        case 0:
            gradients = GradientBuffers(weights, buckets, group, torch.float32)
        case 1:
            gradients = GradientBuffers(weights, buckets, group, torch.float32, pieces)
        case _:
            gradients = ShardedGradients(weights, buckets, group, torch.float32, pieces)
    with record() as recorder:
        gradients.begin()
        gradients.before_backward(turn=0, last=list(weights))
        x = torch.zeros(WIDTH, requires_grad=True)
        for weight in weights.values():
            x = Layer.apply(x, weight)
        x.sum().backward()
        gradients.finish()
    assert link.transfers == LAYERS
    assert all(torch.equal(kept, torch.ones_like(kept)) for kept in gradients.kept.values())
    return recorder.blocked_seconds["data"] / (LAYERS * TRANSFER)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_most_of_the_link_s_time_hides_behind_backward(level):
    assert exposed_share(level) < MOST_EXPOSED


def test_a_start_that_waits_exposes_everything(monkeypatch):
    start = data_parallel.all_reduce

    def impatient(flat, group):
        handle = start(flat, group)
        handle.wait()
        return handle

    monkeypatch.setattr(data_parallel, "all_reduce", impatient)
    assert exposed_share(0) > 2 * MOST_EXPOSED


H, STEP = 4, 0.05  # steps of local SGD, and seconds of one


def test_an_average_hides_behind_the_next_step():
    """Of three meetings the first two hide behind the step after them; the last one, which settles, can't."""
    link = SleepingLink(message_seconds=TRANSFER)
    group = Group(axis="data", ranks=(0, 1), index=0, wire=link)
    weights = {str(number): torch.nn.Parameter(torch.ones(WIDTH)) for number in range(3)}
    gradients = LocalGradients(weights, [[name] for name in weights], group, torch.float32)
    plan = Plan(data=2, data_shares=(1, 1), stages=(1,), synchronisation="local-sgd", local_steps=H)
    averaging = Averaging(plan, gradients, weights, group, [], [])
    training = TrainingSpec(steps=3 * H, warmup_steps=0)
    blocked = []
    for step in range(training.steps):
        time.sleep(STEP)
        with record() as recorder:
            averaging.attend(weights, pace_of(plan, training, step))
        blocked.append(recorder.blocked_seconds["data"])
    assert link.transfers == 3 * len(weights)
    assert sum(blocked[:-1]) < MOST_EXPOSED * 2 * len(weights) * TRANSFER
    assert blocked[-1] > 0.9 * len(weights) * TRANSFER
