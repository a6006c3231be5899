"""The pace of every step of a run: dense for three warm-ups of the learning rate, then alone, meeting every H steps."""

from __future__ import annotations

from dataclasses import replace

import pytest

from plait.plans.meetings import DELAY, OUTER_RATE, arrives_late, dense_steps, outer_momentum, pace_of
from plait.plans.plan import Plan
from plait.specs.training import TrainingSpec

PLAN = Plan(data=2, data_shares=(1, 1), stages=(2,))
ALONE = replace(PLAN, synchronisation="diloco", local_steps=4)
TRAINING = TrainingSpec(steps=14, warmup_steps=1)


def paces(plan: Plan, training: TrainingSpec = TRAINING) -> str:
    """The first letters."""
    return "".join(pace_of(plan, training, step)[0] for step in range(training.steps))


@pytest.mark.parametrize("how", ["local-sgd", "diloco"])
def test_replicas_that_learn_alone(how):
    plan = replace(ALONE, synchronisation=how)
    assert paces(plan) == "dddmaaamaaamas"
    assert paces(plan, replace(TRAINING, warmup_steps=0)) == "aaamaaamaaamas"
    assert paces(replace(plan, local_steps=1)) == "dddmmmmmmmmmms"
    assert paces(replace(plan, local_steps=100)) == "dddaaaaaaaaaas"
    assert paces(plan, replace(TRAINING, steps=12)) == "dddmaaamaaas"
    assert paces(plan, replace(TRAINING, steps=2)) == "dd"


@pytest.mark.parametrize(
    ("form", "steps"),
    [("none", 0), ("fp16", 0), ("bf16", 0), ("int8", 0), ("powersgd:4", 3), ("topk:0.01", 3)],
)
def test_only_what_is_coarse_begins_dense(form, steps):
    plan = replace(PLAN, compression=form)
    assert dense_steps(plan, TRAINING) == steps
    assert paces(plan) == "d" * steps + "m" * (14 - steps)
    assert dense_steps(replace(plan, data=1, data_shares=(1,)), TRAINING) == 0


def test_the_outer_momentum_takes_the_weights_as_far_as_the_noise_of_parts_of_a_batch_left_them_short():
    for replicas in (1, 2, 4, 9, 16):
        assert OUTER_RATE / (1 - outer_momentum(replicas)) == pytest.approx(replicas**0.5)
    assert outer_momentum(49) == pytest.approx(0.9)
    assert outer_momentum(1000) == 0.9


def test_who_is_late():
    assert arrives_late(ALONE, in_background=True)
    assert not arrives_late(ALONE, in_background=False)
    assert not arrives_late(replace(ALONE, local_steps=DELAY), in_background=True)
    assert not arrives_late(PLAN, in_background=True)
