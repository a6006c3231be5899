"""The pace of every step of a run: dense for three warm-ups of the learning rate, then alone, meeting every H steps."""

from __future__ import annotations

from dataclasses import replace

import pytest

from plait.plans.meetings import (
    DELAY,
    OUTER_RATE,
    arrives_late,
    as_dense,
    begins_dense,
    dense_steps,
    meetings,
    outer_momentum,
    pace_of,
)
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


@pytest.mark.parametrize("every", [1, 2, 3, 4, 5, 11, 14, 100])
@pytest.mark.parametrize("warm_up", range(6))
def test_meetings_are_counted_as_they_happen(every, warm_up):
    training = replace(TRAINING, warmup_steps=warm_up)
    for plan in (replace(ALONE, local_steps=every), replace(PLAN, compression="powersgd:4"), PLAN):
        told = paces(plan, training)
        assert meetings(plan, training) == told.count("m") + told.count("s")


@pytest.mark.parametrize(
    "keys",
    [
        {"synchronisation": "local-sgd", "local_steps": 4},
        {"synchronisation": "diloco", "local_steps": 4, "compression": "int8"},
        {"compression": "powersgd:4"},
        {"compression": "topk:0.01"},
    ],
)
def test_what_is_done_first_is_what_a_dense_plan_does(keys):
    plan = replace(PLAN, **keys)
    assert begins_dense(plan)
    assert as_dense(plan) == PLAN
    rounding = replace(PLAN, compression="int8")
    assert as_dense(rounding) == rounding


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
