"""The learning rate of every step, for any job: up a straight line, down to nothing, never above the full rate."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.specs.training import TrainingSpec
from plait.training.learning_rate import learning_rate_at


@st.composite
def trainings(draw, decays=("cosine", "linear", "none")):
    return TrainingSpec(
        steps=draw(st.integers(1, 300)),
        warmup_steps=draw(st.integers(0, 100)),
        learning_rate=draw(st.floats(1e-6, 10.0)),
        decay=draw(st.sampled_from(decays)),
    )


def rates(training, first, stop):
    return [learning_rate_at(step, training) for step in range(first, stop)]


@given(trainings())
def test_warm_up_is_a_straight_line_to_the_full_rate(training):
    warm = training.warmup_steps
    for step, rate in enumerate(rates(training, 0, warm)):
        assert rate == pytest.approx(training.learning_rate * (step + 1) / warm, rel=1e-15)
    assert learning_rate_at(warm, training) == training.learning_rate  # the first step of the decay


@given(trainings())
def test_after_warm_up_it_never_rises(training):
    after = rates(training, training.warmup_steps, training.warmup_steps + training.steps + 5)
    assert all(later <= earlier for earlier, later in pairwise(after))


@given(trainings())
def test_it_stays_between_nothing_and_the_full_rate(training):
    assert all(0.0 <= rate <= training.learning_rate for rate in rates(training, 0, training.steps + 5))


@given(trainings(decays=("cosine", "linear")))
def test_it_ends_at_nothing_after_the_last_step(training):
    end = max(training.steps, training.warmup_steps + 1)
    assert rates(training, end, end + 3) == [0.0] * 3
    assert all(rate > 0.0 for rate in rates(training, 0, training.steps))


@given(trainings(decays=("none",)))
def test_without_decay_it_stays(training):
    first = training.warmup_steps
    assert set(rates(training, first, first + 50)) == {training.learning_rate}


@pytest.mark.parametrize(("decay", "quarter", "half"), [("cosine", 0.5 + 0.5**1.5, 0.5), ("linear", 0.75, 0.5)])
def test_the_shape_of_the_decay(decay, quarter, half):
    training = TrainingSpec(steps=120, warmup_steps=20, learning_rate=1.0, decay=decay)
    assert learning_rate_at(45, training) == pytest.approx(quarter, rel=1e-15)
    assert learning_rate_at(70, training) == pytest.approx(half, rel=1e-15)
