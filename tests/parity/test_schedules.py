"""Pipelines: every number of stages, schedule and number of microbatches on one shape of 7 layers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.parity.harness import BITING, GPT2, LLAMA, TRAINING, distance, plan

SEVEN = replace(GPT2, layers=7)
UNTIED = replace(LLAMA, layers=7)
MICROBATCHES = range(1, 10)


@pytest.mark.parametrize("microbatches", MICROBATCHES)
@pytest.mark.parametrize("schedule", ["gpipe", "1f1b"])
@pytest.mark.parametrize("stages", [2, 4])
def test_a_pipeline_is_the_same_model(parity, stages, schedule, microbatches):
    training = replace(TRAINING, global_batch=microbatches, clip_norm=BITING)
    chosen = plan(pipeline=stages, layers=7, schedule=schedule, microbatch=1)
    parity.holds(SEVEN, training, chosen, exact=["value"])


@pytest.mark.parametrize("schedule", ["gpipe", "1f1b"])
def test_without_ties_every_gradient_is_equal_to_the_bit(parity, schedule):
    chosen = plan(pipeline=4, layers=7, schedule=schedule)
    parity.holds(UNTIED, TRAINING, chosen, exact=["value", "gradient"])


@pytest.mark.parametrize("schedule", ["gpipe", "1f1b"])
def test_stages_equal_one_rank_of_the_same_runtime_to_the_bit(parity, schedule):
    alone = parity.performed(UNTIED, TRAINING, plan(layers=7))
    staged = parity.performed(UNTIED, TRAINING, plan(pipeline=4, layers=7, schedule=schedule))
    assert alone.keys() == staged.keys()
    assert {entry for entry in alone if distance(alone, staged, entry) > 0} == set()


@pytest.mark.parametrize("stages", [(1, 6), (6, 1), (1, 1, 1, 4)])
def test_stages_may_be_as_uneven_as_one_likes(parity, stages):
    chosen = plan(pipeline=len(stages), layers=7, stages=stages)
    parity.holds(SEVEN, replace(TRAINING, clip_norm=BITING), chosen, exact=["value"])


def test_a_tied_pipeline_of_replicas_counts_its_embedding_once_in_the_norm(parity):
    chosen = plan(data=2, pipeline=2, layers=3, microbatch=3)
    parity.holds(replace(GPT2, layers=3), replace(TRAINING, clip_norm=BITING), chosen)
